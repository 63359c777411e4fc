# SPDX-License-Identifier: Apache-2.0
"""Which blocks storage has. Its face is service.LookupService."""
