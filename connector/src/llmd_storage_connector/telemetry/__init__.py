# SPDX-License-Identifier: Apache-2.0
"""What the outside sees: metrics, and log lines that cannot become a flood."""
