# SPDX-License-Identifier: Apache-2.0
"""Preflight: what was read of the cluster, to findings."""
