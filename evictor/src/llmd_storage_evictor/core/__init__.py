# SPDX-License-Identifier: Apache-2.0
"""What is decided, without touching files, network, threads or clocks."""
