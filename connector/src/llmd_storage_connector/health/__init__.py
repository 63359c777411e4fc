# SPDX-License-Identifier: Apache-2.0
"""Whether storage is used (breaker), and whether it is written to (write_backoff)."""
