# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers, to an adapter's or an image's blocks under a name that does not say which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmd_storage_connector.vllm.bypass import EXPLANATIONS, bypass_reason, without_offloading
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
