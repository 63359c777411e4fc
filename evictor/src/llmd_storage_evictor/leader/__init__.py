# SPDX-License-Identifier: Apache-2.0
"""Which process may remove files: a Kubernetes Lease, and a lease file on the storage itself."""
