# SPDX-License-Identifier: Apache-2.0
"""Probe: two pods on two nodes try what a shared cache needs of the filesystem."""
