# SPDX-License-Identifier: Apache-2.0
"""Preflight, probe and proof: what the chart's hook Jobs run."""

__version__ = "0.1.0"
__all__ = ["__version__"]
