# SPDX-License-Identifier: Apache-2.0
"""llmd-kv: what is in a shared KV cache, and whether it is well."""
