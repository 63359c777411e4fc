# SPDX-License-Identifier: Apache-2.0
"""The probe's two pods: how they meet over the volume, and the steps they take together."""
