# SPDX-License-Identifier: Apache-2.0
"""A user would lose: blocks that are found again, and files of others that are left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.blocks import layout
from llmd_storage_core.scratch import scratch_name


@given(key=st.binary(min_size=1, max_size=100))
def test_names_lead_back_to_keys(key: bytes) -> None:
    assert layout.key_of(layout.block_name(key)) == key
    assert layout.block_folder(key) in set(layout.fanout_names())


@pytest.mark.parametrize(
    "name",
    ["", ".kvb", "manifest.json", "abc.kvb", "AB.kvb", "a b.kvb", "ab.kvb.tmp", scratch_name("w", 1)],
)
def test_other_names_are_not_blocks(name: str) -> None:
    assert layout.key_of(name) is None
