# SPDX-License-Identifier: Apache-2.0
"""Proof: pod A prefills a prompt, pod B answers it from the shared storage."""
