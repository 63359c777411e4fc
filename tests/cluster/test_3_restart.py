"""A cache that outlives the pods."""

from __future__ import annotations

import pytest

from tests.cluster.harness import REUSED_TOKENS, STORAGE_HITS, STORED_BYTES, Release, ask, metrics
from tests.patience import eventually

pytestmark = pytest.mark.cluster

PROMPT = "Every block of this prompt is kept on shared storage, and read back by a server that never saw it. " * 24


def test_after_both_servers_are_killed_the_new_ones_are_warm_from_storage(release: Release) -> None:
    pods = release.wait_ready()
    with release.vllm(pods[0]) as url:
        stored = metrics(url).get(STORED_BYTES, 0.0)
        first = ask(url, PROMPT)
        eventually(lambda: metrics(url).get(STORED_BYTES, 0.0) > stored, "the blocks to be stored")
    release.cluster.kubectl(*("delete", "pod", "-n", release.namespace, "--grace-period=0", "--force", *pods)).ok()
    fresh = release.wait_ready()
    assert not set(fresh) & set(pods)
    for pod in fresh:
        with release.vllm(pod) as url:
            before = metrics(url)
            again = ask(url, PROMPT)
            after = metrics(url)
        assert again.tokens == first.tokens
        assert after[STORAGE_HITS] > before.get(STORAGE_HITS, 0.0)
        reused = after[REUSED_TOKENS] - before.get(REUSED_TOKENS, 0.0)
        assert reused >= 0.95 * ((again.prompt_tokens - 1) // 32 * 32)


def test_a_killed_server_leaves_nothing_in_shared_memory(release: Release) -> None:
    pod = release.wait_ready()[0]
    left = release.cluster.kubectl("exec", "-n", release.namespace, pod, "-c", "vllm", "--", "ls", "/dev/shm").ok().out
    assert "vllm_offload" not in left
