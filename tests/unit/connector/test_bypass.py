# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers, to an adapter's or an image's blocks under a name that does not say which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmd_storage_connector.vllm.bypass import (
    EXPLANATIONS,
    bypass_reason,
    is_handed_over,
    without_looking,
    without_offloading,
)
from tests.unit.connector.conftest import make_config


def request(**fields: Any) -> Any:
    plain = {"lora_request": None, "mm_features": [], "resumable": False, "kv_transfer_params": None}
    return SimpleNamespace(**(plain | fields))


@pytest.mark.parametrize(
    ("fields", "settings", "reason"),
    [
        ({}, {}, ""),
        ({"lora_request": object()}, {}, "adapter"),
        ({"lora_request": object()}, {"media_by_id": True}, "adapter"),
        ({"lora_request": object()}, {"adapters_by_name": True}, ""),
        ({"mm_features": [object()]}, {}, "media"),
        ({"mm_features": [object()]}, {"adapters_by_name": True}, "media"),
        ({"mm_features": [object()]}, {"media_by_id": True}, ""),
        ({"lora_request": object(), "mm_features": [object()]}, {"adapters_by_name": True}, "media"),
        ({"resumable": True}, {"adapters_by_name": True, "media_by_id": True}, "session"),
    ],
)
def test_only_what_its_name_says_all_of_meets_the_cache(fields: Any, settings: Any, reason: str) -> None:
    assert bypass_reason(request(**fields), make_config(**settings)) == reason
    assert not reason or EXPLANATIONS[reason]


@pytest.mark.parametrize("given", [None, {"max_load_tokens": 7, "ours": 1}])
def test_a_clients_own_parameters_cannot_let_it_in_and_are_not_lost(given: Any) -> None:
    one = request(kv_transfer_params=given)
    with pytest.raises(ZeroDivisionError), without_offloading(one):
        assert one.kv_transfer_params == {**(given or {}), "max_load_tokens": 0, "max_offload_tokens": 0}
        raise ZeroDivisionError
    assert one.kv_transfer_params is given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, False),
        ({"do_remote_decode": True, "do_remote_prefill": False, "remote_block_ids": None}, False),
        ({"do_remote_prefill": True, "remote_block_ids": [[1, 2]]}, True),
        ({"do_remote_prefill": False, "remote_block_ids": [[1, 2]]}, False),  # it was tried
    ],
)
def test_a_prompt_is_left_to_who_brings_it_until_that_was_tried(given: Any, expected: bool) -> None:
    assert is_handed_over(request(kv_transfer_params=given)) is expected


@pytest.mark.parametrize("given", [False, True])
def test_nobody_looks_for_such_a_prompt_and_its_own_wish_is_not_lost(given: bool) -> None:
    one = request(skip_reading_prefix_cache=given)
    with pytest.raises(ZeroDivisionError), without_looking(one):
        assert one.skip_reading_prefix_cache
        raise ZeroDivisionError
    assert one.skip_reading_prefix_cache is given
