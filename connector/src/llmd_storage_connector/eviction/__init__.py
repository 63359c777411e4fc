# SPDX-License-Identifier: Apache-2.0
"""The talk with the evictor, by files on the claim (docs/evictor.md has their formats)."""
