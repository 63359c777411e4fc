# SPDX-License-Identifier: Apache-2.0
"""What a user would lose: right answers, to blocks made under another setting; or every hit, if harmless ones counted.

No engine is started: vLLM's own configuration classes.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs the engine environment")

import vllm.config as vllm_config
from vllm.config import CacheConfig, ParallelConfig

from llmd_storage_connector.config import parse
from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.vllm import config_adapter, connector
from llmd_storage_connector.vllm.engine_settings import ELSEWHERE, HARMLESS, RELEVANT, settings_of, unjudged

pytestmark = pytest.mark.engine

CLASSES = sorted({*ELSEWHERE, *HARMLESS, *RELEVANT})


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_vllm_is_judged(name: str) -> None:
    """A new one counts until somebody has looked at it: look whether it can change a block, and put it into a table."""
    assert unjudged(getattr(vllm_config, name)) == set()


@pytest.mark.parametrize(
    "changed",
    [
        {"mamba_cache_dtype": "float32"},
        {"mamba_ssm_cache_dtype": "float32"},
        {"kv_cache_dtype_skip_layers": ["0"]},
        {"sliding_window": 4096},
        {"kv_sharing_fast_prefill": True},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_changes_blocks_counts(changed: dict[str, Any]) -> None:
    name = next(iter(changed))
    assert set(settings_of(CacheConfig(**changed))) - set(settings_of(CacheConfig())) == {f"CacheConfig.{name}"}


@pytest.mark.parametrize("error", [OSError("no such file"), KeyError("rope"), RecursionError(), Misconfigured("odd")])
def test_whatever_a_models_configuration_raises_the_engine_starts(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not knowing whose cache it is costs the cache, not the engine."""

    def identity_of(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(connector, "identity_of", identity_of)
    settings = {"root_dir": "/unused", "cpu_bytes_to_use": 1}
    engine: Any = SimpleNamespace(parallel_config=SimpleNamespace(worker_extension_cls=""))
    fault = connector._tier(engine, None, parse(settings))["identity_fault"]
    assert fault
    with pytest.raises(type(error)):
        connector._tier(engine, None, parse(settings | {"fail_fast": True}))


def test_code_that_can_change_weights_without_a_word_is_refused() -> None:
    engine: Any = SimpleNamespace(parallel_config=SimpleNamespace(worker_extension_cls="my.Extension"))
    fault = connector._tier(engine, None, parse({"root_dir": "/unused", "cpu_bytes_to_use": 1}))["identity_fault"]
    assert "worker_extension_cls my.Extension" in fault


def test_what_differs_between_the_pods_of_a_release_does_not() -> None:
    one, other = CacheConfig(gpu_memory_utilization=0.5), CacheConfig(gpu_memory_utilization=0.9)
    one.num_gpu_blocks, other.num_gpu_blocks = 100, 200
    assert settings_of(one) == settings_of(other)
    here, there = ParallelConfig(master_port=1, master_addr="a"), ParallelConfig(master_port=2, master_addr="b")
    assert settings_of(here) == settings_of(there)


def test_a_field_that_nobody_has_judged_counts_and_is_not_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a token, and the manifest is read by whoever mounts the claim."""
    monkeypatch.setitem(RELEVANT, "CacheConfig", RELEVANT["CacheConfig"] - {"mamba_cache_dtype"})
    found = settings_of(CacheConfig(mamba_cache_dtype="float32"))
    assert set(found["CacheConfig.mamba_cache_dtype"]) == {"sha256"}
    assert "float32" not in json.dumps(found["CacheConfig.mamba_cache_dtype"])


def dcp(*, explicit: bool = True, **settings: int) -> ParallelConfig:
    made = ParallelConfig(tensor_parallel_size=2, decode_context_parallel_size=2, **settings)
    made._allow_auto_resolve_cp_interleave_size = not explicit
    return made


def test_how_context_parallel_ranks_share_a_block_is_what_the_workers_make_of_it() -> None:
    """Up to vLLM 0.32 the scheduler's own configuration never hears of what the workers rewrite."""
    assert config_adapter._interleave(ParallelConfig()) is None
    assert config_adapter._interleave(dcp()) == 1
    assert config_adapter._interleave(dcp(cp_kv_cache_interleave_size=16)) == 16
    for asked in (dcp(dcp_kv_cache_interleave_size=16), dcp(cp_kv_cache_interleave_size=16)):
        alone = SimpleNamespace(is_kv_transfer_instance=True, has_connector=lambda name: False)
        workers = SimpleNamespace(parallel_config=asked, kv_transfer_config=alone)
        told = config_adapter._interleave(asked)
        vllm_config.VllmConfig.adjust_dcp_kv_cache_interleave_size(workers, [SimpleNamespace()])
        assert told == asked.cp_kv_cache_interleave_size == 16


def test_what_a_connector_beside_this_one_would_decide_has_to_be_said() -> None:
    """Blocks of 1 token in a row and of 16 would have one name: a wrong answer."""
    with pytest.raises(Misconfigured, match="set --cp-kv-cache-interleave-size"):
        config_adapter._interleave(dcp(explicit=False))


def test_vllm_has_what_says_where_weights_come_from() -> None:
    """Names that model_files goes by. Of a load format that vLLM brings one day the weights are refused."""
    from vllm.config import LoadConfig, ModelConfig, SpeculativeConfig

    assert {"model", "model_weights", "revision", "trust_remote_code"} <= set(ModelConfig.__dataclass_fields__)
    assert isinstance(ModelConfig.is_multimodal_model, property)
    assert {"load_format", "download_dir"} <= set(LoadConfig.__dataclass_fields__)
    assert "draft_load_config" in SpeculativeConfig.__dataclass_fields__
