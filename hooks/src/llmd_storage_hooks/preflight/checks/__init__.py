# SPDX-License-Identifier: Apache-2.0
"""Pure: from what was read of the cluster to findings."""
