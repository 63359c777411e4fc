"""Series of a release that is well, and of one fault after another, in promtool's notation. One sample a minute."""

from __future__ import annotations

from collections.abc import Mapping

FAULT_AT = 120  # minutes; what comes before is as in a healthy world
END = 300
Series = Mapping[str, str | None]

_POD, _OTHER = 'namespace="inference",pod="kv-modelserver-5f-a"', 'namespace="inference",pod="kv-modelserver-5f-b"'
_LEADER, _WAITING = 'namespace="inference",pod="kv-evictor-7c-a"', 'namespace="inference",pod="kv-evictor-7c-b"'
_PICKER = 'namespace="inference",pod="kv-epp-9d-a"'
_TIER = 'tier="1:llmd_storage"'
_OWN = "vllm:kv_offload_llmd_storage_"
_EVICTOR = "llmd_storage_evictor_"
_JOB = 'kube_job_failed{namespace="inference",job_name="kv-proof",condition="true"}'
# Of another release and another namespace: sick, and not ours to warn of.
_FOREIGN = 'namespace="inference",pod="other-modelserver-5f-a"'
_ELSEWHERE = 'namespace="elsewhere",pod="kv-modelserver-5f-a"'


def always(value: float) -> str:
    return f"{value:g}x{END}"


def growing(a_minute: float) -> str:
    return f"0+{a_minute:g}x{END}"


def then(before: float, after: float) -> str:
    """A gauge that changes at FAULT_AT."""
    return f"{before:g}x{FAULT_AT} {after:g}x{END - FAULT_AT - 1}"


def then_growing(before: float, after: float) -> str:
    """A counter whose rate changes at FAULT_AT."""
    return f"0+{before:g}x{FAULT_AT} {before * FAULT_AT:g}+{after:g}x{END - FAULT_AT - 1}"


def gone(text: str) -> str:
    """A series that ends at FAULT_AT."""
    return f"{text}x{FAULT_AT} stale"


HEALTHY: dict[str, str] = {
    **{
        series: text
        for pod in (_POD, _OTHER)
        for series, text in {
            f"vllm:num_requests_running{{{pod}}}": always(3),
            f"vllm:external_prefix_cache_queries_total{{{pod}}}": growing(10000),
            f"vllm:external_prefix_cache_hits_total{{{pod}}}": growing(6000),
            f"{_OWN}breaker_open{{{pod},{_TIER}}}": always(0),
            f"{_OWN}usable{{{pod},{_TIER}}}": always(1),
            f"{_OWN}writes_paused{{{pod},{_TIER}}}": always(0),
            f"{_OWN}lookup_hits_total{{{pod},{_TIER}}}": growing(60),
            f'{_OWN}lookup_misses_total{{{pod},{_TIER},reason="absent"}}': growing(40),
            # One request every 30 s tries storage that was slow: now and then is no fault.
            f'{_OWN}lookup_misses_total{{{pod},{_TIER},reason="slower"}}': growing(1),
        }.items()
    },
    # Damage that was found long ago.
    f'{_OWN}corrupt_blocks_total{{{_POD},{_TIER},rule="length"}}': always(4),
    f"{_EVICTOR}leader{{{_LEADER}}}": always(1),
    f"{_EVICTOR}leader{{{_WAITING}}}": always(0),
    f"{_EVICTOR}last_scan_timestamp_seconds{{{_LEADER}}}": growing(60),
    f"{_EVICTOR}last_scan_timestamp_seconds{{{_WAITING}}}": always(0),
    f"{_EVICTOR}budget_bytes{{{_LEADER}}}": always(1000),
    f"{_EVICTOR}budget_bytes{{{_WAITING}}}": always(0),
    f"{_EVICTOR}filesystem_free_bytes{{{_LEADER}}}": always(150),
    # It led once, when the volume was full.
    f"{_EVICTOR}filesystem_free_bytes{{{_WAITING}}}": always(3),
    f'{_EVICTOR}cache_bytes{{{_LEADER},cache_namespace="a"}}': always(600),
    f"{_EVICTOR}floor_given_up{{{_LEADER}}}": always(0),
    f'inference_pool_ready_pods{{{_PICKER},name="kv-pool"}}': always(2),
    _JOB.replace("proof", "proof-of-another"): always(1),
    **{f"{_OWN}breaker_open{{{pod},{_TIER}}}": always(1) for pod in (_FOREIGN, _ELSEWHERE)},
}

# By alert: what is different, and after how many minutes of the fault it must not fire yet, and must fire.
FAULTS: dict[str, list[tuple[Series, int, int]]] = {
    "LlmdStorageHitRateFell": [
        (
            {f"vllm:external_prefix_cache_hits_total{{{pod}}}": then_growing(6000, 100) for pod in (_POD, _OTHER)},
            10,
            60,
        ),
    ],
    "LlmdStorageCorruptBlocks": [
        # The first that is ever found: a counter that was not there, and is 1 at once.
        (
            {f'{_OWN}corrupt_blocks_total{{{_OTHER},{_TIER},rule="payload_checksum"}}': f"_x{FAULT_AT} 1x20"},
            -1,
            2,
        ),
        ({f'{_OWN}corrupt_blocks_total{{{_POD},{_TIER},rule="length"}}': then(4, 6)}, -1, 3),
    ],
    "LlmdStorageNotUsed": [
        ({f"{_OWN}breaker_open{{{_POD},{_TIER}}}": then(0, 1)}, 1, 5),
        ({f"{_OWN}usable{{{_POD},{_TIER}}}": then(1, 0)}, 1, 5),
    ],
    "LlmdStorageWritesPaused": [
        ({f"{_OWN}writes_paused{{{_OTHER},{_TIER}}}": then(0, 1)}, 4, 8),
    ],
    "LlmdStorageNotFaster": [
        (
            {f"{_OWN}lookup_hits_total{{{pod},{_TIER}}}": then_growing(60, 0) for pod in (_POD, _OTHER)}
            | {
                f'{_OWN}lookup_misses_total{{{pod},{_TIER},reason="slower"}}': then_growing(1, 60)
                for pod in (_POD, _OTHER)
            },
            10,
            40,
        ),
    ],
    "LlmdStorageBudgetNear": [
        ({f'{_EVICTOR}cache_bytes{{{_LEADER},cache_namespace="a"}}': then(600, 980)}, 10, 20),
    ],
    "LlmdStorageVolumeFull": [
        ({f"{_EVICTOR}filesystem_free_bytes{{{_LEADER}}}": then(150, 15)}, 8, 13),
        ({f"{_EVICTOR}floor_given_up{{{_LEADER}}}": then(0, 1)}, 8, 13),
    ],
    "LlmdStorageEvictorStalled": [
        ({f"{_EVICTOR}last_scan_timestamp_seconds{{{_LEADER}}}": f"0+60x{FAULT_AT} {60 * FAULT_AT}x{END}"}, 5, 10),
        ({f"{_EVICTOR}leader{{{_LEADER}}}": then(1, 0)}, 1, 5),
        ({f"{_EVICTOR}leader{{{pod}}}": gone(text) for pod, text in ((_LEADER, "1"), (_WAITING, "0"))}, 1, 5),
    ],
    "LlmdStorageHookFailed": [
        ({_JOB: f"_x{FAULT_AT} 1x{END}"}, -1, 1),
    ],
    "LlmdStoragePickerDown": [
        ({f'inference_pool_ready_pods{{{_PICKER},name="kv-pool"}}': gone("2")}, 1, 4),
    ],
    "LlmdStorageNoMetrics": [
        ({f"vllm:num_requests_running{{{pod}}}": gone("3") for pod in (_POD, _OTHER)}, 9, 12),
    ],
}
