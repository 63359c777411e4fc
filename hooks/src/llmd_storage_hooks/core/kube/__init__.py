# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API: calls, the objects that more than one hook reads, and how they are read."""
