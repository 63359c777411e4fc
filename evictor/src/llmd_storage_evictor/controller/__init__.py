# SPDX-License-Identifier: Apache-2.0
"""The control loop: scan, decide, remove, publish."""
