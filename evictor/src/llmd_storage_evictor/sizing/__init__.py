# SPDX-License-Identifier: Apache-2.0
"""Whether a shared cache pays off: KV bytes of a model, speed of a storage."""
