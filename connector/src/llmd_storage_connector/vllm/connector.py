# SPDX-License-Identifier: Apache-2.0
"""The face of this package: what `--kv-transfer-config` names.

vLLM's OffloadingConnector with everything but root_dir, cpu_bytes_to_use and tuning set by itself. Only
here is the whole model configuration known, so here the blocks' identity is computed.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Iterable
from typing import Any

import vllm
from vllm.config import VllmConfig
from vllm.distributed.kv_events import KVCacheEvent
from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory
from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata
from vllm.distributed.kv_transfer.kv_connector.v1.metrics import (
    KVConnectorPromMetrics,
    PromMetric,
    PromMetricT,
)
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import (
    OffloadingConnector as VllmOffloadingConnector,
)
from vllm.platforms import current_platform
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, MLAAttentionSpec
from vllm.v1.outputs import KVConnectorOutput
from vllm.v1.request import Request

from llmd_storage_connector.config import Config, check_topology, parse
from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.transfer.step_timer import StepTimer
from llmd_storage_connector.vllm.bypass import bypass_reason, is_handed_over, without_looking, without_offloading
from llmd_storage_connector.vllm.config_adapter import identity_of
from llmd_storage_connector.vllm.internals import before_weight_change, secondary_tiers
from llmd_storage_connector.vllm.model_files import model_name, weights_of
from llmd_storage_connector.vllm.shared_memory import EngineFile
from llmd_storage_connector.vllm.spec import TIER_TYPE, LlmdStorageSpec
from llmd_storage_connector.vllm.tier import LlmdStorageTier
from llmd_storage_connector.vllm.weight_change import weights_changed

TESTED_VLLM = ("0.32.", "0.33.")

logger = logging.getLogger("vllm.llmd_storage_connector.vllm.connector")


class LlmdStorageConnector(VllmOffloadingConnector):  # type: ignore[misc]  # vLLM is untyped here
    """OffloadingConnector over a CPU tier and the shared storage tier."""

    def __init__(self, vllm_config: VllmConfig, role: KVConnectorRole, kv_cache_config: KVCacheConfig) -> None:
        """Raises: Misconfigured, one sentence a fault, for settings that can never work."""
        config = parse(_settings(vllm_config))
        _check_engine(vllm_config, config)
        # Tiers live with the scheduler; workers only move bytes and need no identity.
        tier = _tier(vllm_config, kv_cache_config, config) if role == KVConnectorRole.SCHEDULER else {}
        # Held before any memory is made, so that it is known whose that is.
        self._engine_file = EngineFile(str(vllm_config.kv_transfer_config.engine_id))
        super().__init__(_with_spec(vllm_config, config, tier), role, kv_cache_config)
        self._config = config
        if role == KVConnectorRole.WORKER:
            before_weight_change(self._engine_file.mark)
        self._weights_changed = False
        self._loading: set[str] = set()  # ids of requests
        self._step_timer = StepTimer()
        self._tiers = [tier for tier in secondary_tiers(self) if isinstance(tier, LlmdStorageTier)]

    def on_new_request(self, request: Request) -> None:
        """Take a request on; one whose blocks' names do not say all that is in them meets no cache."""
        self._heed_weight_change()
        reason = bypass_reason(request, self._config)
        if not reason:
            super().on_new_request(request)
            return
        for tier in self._tiers:
            tier.bypass(request.request_id, reason)
        with without_offloading(request):
            super().on_new_request(request)

    def get_num_new_matched_tokens(self, request: Request, num_computed_tokens: int) -> tuple[int | None, bool]:
        """What the tiers have of a waiting request; asked after anything that changed weights.

        MultiConnector asks all of its connectors and waits for each, whichever it then takes: a prompt that another one
        brings would wait for storage, and be read from there, for nothing.
        """
        self._heed_weight_change()
        handed_over = is_handed_over(request)
        if not handed_over and any(tier.is_waiting(request.request_id) for tier in self._tiers):
            return None, False
        matched: tuple[int | None, bool]
        with without_looking(request) if handed_over else contextlib.nullcontext():
            matched = super().get_num_new_matched_tokens(request, num_computed_tokens)
        return matched

    def update_state_after_alloc(self, request: Request, blocks: Any, num_external_tokens: int) -> None:
        """A request has its blocks; none of its tokens are external where another connector brings them."""
        if num_external_tokens:
            self._loading.add(request.request_id)
        super().update_state_after_alloc(request, blocks, num_external_tokens)

    def update_connector_output(self, connector_output: KVConnectorOutput) -> None:
        """Workers are through with copies, which now go on to the tiers; or with what another connector brought."""
        self._heed_weight_change()
        received = connector_output.finished_recving or set()
        if received - self._loading:
            for tier in self._tiers:
                tier.only_read()
        self._loading -= received
        super().update_connector_output(connector_output)

    def shutdown(self) -> None:
        """End this process' half."""
        super().shutdown()
        self._engine_file.release(remove=self.connector_scheduler is not None)

    def _heed_weight_change(self) -> None:
        if self._weights_changed or not self._engine_file.is_marked:
            return
        self._weights_changed = True
        for tier in self._tiers:
            tier.retire(weights_changed())

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> KVConnectorMetadata:
        """A step is handed out: its time, and so what computing costs, is measured from here."""
        self._step_timer.begin(scheduler_output.total_num_scheduled_tokens, time.monotonic())
        for tier in self._tiers:
            tier.step_begun(len(scheduler_output.num_scheduled_tokens))
        return super().build_connector_meta(scheduler_output)

    def take_events(self) -> Iterable[KVCacheEvent]:
        """A step came back: vLLM asks for events once for each, whatever else the step had to say."""
        step = self._step_timer.end(time.monotonic())
        if step is not None:
            for tier in self._tiers:
                tier.step_done(*step)
        events: Iterable[KVCacheEvent] = super().take_events()
        return events

    @classmethod
    def build_prom_metrics(
        cls,
        vllm_config: VllmConfig,
        metric_types: dict[type[PromMetric], type[PromMetricT]],
        labelnames: list[str],
        per_engine_labelvalues: dict[int, list[object]],
    ) -> KVConnectorPromMetrics:
        """Declare this tier's metrics too; the API server's process never makes a connector."""
        filled = _with_spec(vllm_config, parse(_settings(vllm_config)), {})
        return super().build_prom_metrics(filled, metric_types, labelnames, per_engine_labelvalues)


# Under MultiConnector vLLM looks the class of a connector's statistics up by name. Registering twice is an error.
with contextlib.suppress(ValueError):
    KVConnectorFactory.register_connector(LlmdStorageConnector.__name__, __name__, LlmdStorageConnector.__name__)


def __getattr__(name: str) -> Any:
    """Refuse to be replaced: --kv-offloading-size makes vLLM look for its own connector's name in this module.

    Found here, that class would serve without this project's tier, and without a word.
    """
    if name == "OffloadingConnector":
        raise Misconfigured(
            "--kv-offloading-size puts vLLM's own connector in the place of LlmdStorageConnector: remove it, and set "
            "cpu_bytes_to_use in kv_connector_extra_config instead"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _settings(vllm_config: VllmConfig) -> dict[str, Any]:
    assert vllm_config.kv_transfer_config is not None
    return dict(vllm_config.kv_transfer_config.kv_connector_extra_config)


def _check_engine(vllm_config: VllmConfig, config: Config) -> None:
    if not vllm.__version__.startswith(TESTED_VLLM):
        # vLLM calls its offloading interfaces experimental: they change with minor versions.
        made_for = " and ".join(f"{minor}*" for minor in TESTED_VLLM)
        logger.warning("made for vLLM %s, this is %s: watch the cache", made_for, vllm.__version__)
    parallel = vllm_config.parallel_config
    # Ray may place ranks anywhere; the others say how many nodes they use.
    ray = parallel.distributed_executor_backend == "ray"
    devices = current_platform.device_count() if ray and not current_platform.is_cpu() else None
    check_topology(parallel.world_size, parallel.nnodes_within_dp, devices)
    if config.canonical_layout and current_platform.is_cpu():
        raise Misconfigured(
            "kv_connector_extra_config: canonical_layout needs an accelerator; on CPU blocks are copied as "
            "they are: remove it"
        )


def _tier(vllm_config: VllmConfig, kv_cache_config: KVCacheConfig, config: Config) -> dict[str, Any]:
    """The tier's own arguments. Not knowing whose cache it is costs the cache, not the engine."""
    try:
        if extension := vllm_config.parallel_config.worker_extension_cls:
            raise Misconfigured(
                f"worker_extension_cls {extension} can change the weights without a word, so nothing says whose KV "
                "cache this would be: serve without it"
            )
        return {
            "identity": identity_of(vllm_config, kv_cache_config, weights={}).facts(),
            "weights": weights_of(vllm_config, config.weights_id),
            "model_name": model_name(vllm_config),
            "needs_full_prefix": _needs_full_prefix(kv_cache_config),
        }
    except Exception as error:  # models bring code of their own, and files of any kind
        if config.fail_fast:
            raise
        if not isinstance(error, Misconfigured | OSError):
            logger.exception("reading the model's configuration failed unexpectedly")
        return {"identity_fault": f"{error}" or type(error).__name__}


def _needs_full_prefix(kv_cache_config: KVCacheConfig) -> bool:
    """Whether every layer looks at all tokens before: then a block is of use only with all blocks before it."""
    kinds = {type(group.kv_cache_spec) for group in kv_cache_config.kv_cache_groups}
    return kinds <= {FullAttentionSpec, MLAAttentionSpec}


def _with_spec(vllm_config: VllmConfig, config: Config, tier: dict[str, Any]) -> VllmConfig:
    """A copy of the configuration with everything vLLM needs to find this package's classes.

    A copy, because both roles and the API server start from the operator's own settings, some in one process.
    """
    filled = copy.copy(vllm_config)
    filled.kv_transfer_config = copy.copy(vllm_config.kv_transfer_config)
    filled.kv_transfer_config.kv_connector_extra_config = {
        **config.vllm_options,
        "spec_name": LlmdStorageSpec.__name__,
        "spec_module_path": LlmdStorageSpec.__module__,
        # The first, which is part of its label in metrics. A copy, because vLLM writes into what it is given.
        "secondary_tiers": copy.deepcopy(
            [{"type": TIER_TYPE, "settings": _settings(vllm_config), **tier}, *config.secondary_tiers]
        ),
    }
    return filled
