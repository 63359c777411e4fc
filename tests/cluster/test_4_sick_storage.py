"""Sick storage costs a few deadlines once; then the engine serves as if there were none, and comes back by itself."""

from __future__ import annotations

import signal

import pytest

from tests.cluster.harness import STORAGE_HITS, Release, ask, metrics
from tests.lab import faults
from tests.lab.cluster import target
from tests.lab.paths import lab
from tests.patience import eventually

OURS = "vllm:kv_offload_llmd_storage_"
BREAKER_OPEN = OURS + 'breaker_open{tier="1:llmd_storage"}'
LATE_LOOKUPS = OURS + 'deadline_misses_total{operation="lookup",tier="1:llmd_storage"}'

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not target(start=False).is_lab, reason="stops the lab's own CephFS clients"),
]


def prompt(number: int) -> str:
    return f"Question {number}: what does an engine do while its storage hangs? " * 8


def test_a_hung_filesystem_costs_few_deadlines_then_nothing_and_is_used_again(release: Release) -> None:
    release.wait_ready()
    pod = release.ready_pods()[0]
    node = pod["spec"]["nodeName"]
    with release.vllm(pod["metadata"]["name"]) as url:
        known = ask(url, prompt(0), max_tokens=4)
        faults.send(lab(), f"{node}/ceph-fuse", signal.SIGSTOP)
        try:
            for number in range(1, 4):
                ask(url, prompt(number), max_tokens=1)
            eventually(lambda: metrics(url)[BREAKER_OPEN] == 1, "the breaker to open")
            waited = metrics(url)[LATE_LOOKUPS]
            for number in range(4, 10):
                ask(url, prompt(number), max_tokens=1)
            assert metrics(url)[LATE_LOOKUPS] == waited, "a request waited for storage that is known to be sick"
            assert ask(url, prompt(0), max_tokens=4).tokens == known.tokens
        finally:
            faults.send(lab(), f"{node}/ceph-fuse", signal.SIGCONT)

        def used_again() -> bool:
            ask(url, "Are you well again?", max_tokens=1)  # gauges travel with the engine's steps
            return metrics(url)[BREAKER_OPEN] == 0

        eventually(used_again, "the breaker to close")
    later = range(20, 25)
    other = release.ready_pods()[1]["metadata"]["name"]
    with release.vllm(other) as url:
        for number in later:
            ask(url, prompt(number), max_tokens=1)
    with release.vllm(pod["metadata"]["name"]) as url:
        before = metrics(url).get(STORAGE_HITS, 0.0)
        for number in later:  # each once: an answer stays in the server's own cache
            ask(url, prompt(number), max_tokens=1)
        assert metrics(url).get(STORAGE_HITS, 0.0) > before, "storage is not used again"
