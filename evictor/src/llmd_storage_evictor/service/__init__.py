# SPDX-License-Identifier: Apache-2.0
"""The evictor as one process: threads, signals, HTTP, logs."""
