# SPDX-License-Identifier: Apache-2.0
"""Block files, one a block. Its face is store.BlockStore; docs/FORMAT.md is the format."""
