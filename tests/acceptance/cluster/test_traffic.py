"""Servers in use: while requests come through the router, tests and upgrades are proven, and caches are shared.

If not, "run helm test whenever you like" is a lie, every upgrade of a busy release is marked failed, and a cache is
left out just when it is needed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cluster.harness import CHANGED, STORED_BYTES, Release, ask, metrics
from tests.patience import CEILING_S, eventually

pytestmark = pytest.mark.cluster

EVERY_S = 1.0
SYSTEM_PROMPTS, SYSTEM_WORDS, MOST_WORDS = 4, 60, 100
HELM_TESTS, TRIES = 3, 20
PROMPT_WORDS = 700
BLOCK_TOKENS = 32


def words(seed: object, count: int) -> str:
    source = random.Random(str(seed))
    return " ".join(f"{source.randrange(10**4)}" for _ in range(count))


class Traffic:
    """A request every EVERY_S through the router: a few system prompts, questions of any length behind them."""

    def __init__(self, url: str) -> None:
        self._url, self._ended, self._source = url, threading.Event(), random.Random(7)
        self._threads: list[threading.Thread] = []
        self.failed: list[str] = []
        self.asked = 0
        self.began = time.monotonic()
        self._timer = threading.Thread(target=self._send, daemon=True)
        self._timer.start()

    def _send(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) < 4:  # what two cores can take: more would only queue
                self._threads.append(threading.Thread(target=self._one, args=(self.asked,), daemon=True))
                self.asked += 1
                self._threads[-1].start()

    def _one(self, number: int) -> None:
        system = words(number % SYSTEM_PROMPTS, SYSTEM_WORDS)
        question = words(f"q{number}", self._source.randrange(5, MOST_WORDS))
        try:
            ask(self._url, f"{system} {question}", max_tokens=4)
        except (AssertionError, httpx.HTTPError) as error:
            self.failed.append(f"{number}: {error!r}")

    def end(self) -> None:
        self._ended.set()
        for thread in (self._timer, *self._threads):
            thread.join(CEILING_S)


@pytest.fixture(scope="module")
def traffic(release: Release) -> Iterator[Traffic]:
    release.wait_deployed()
    with release.cluster.forward(release.namespace, f"deploy/{release.name}-router", 8080) as url:
        one = Traffic(url)
        yield one
        one.end()


def test_helm_test_passes_on_servers_in_use(release: Release, traffic: Traffic, figures: Callable[..., None]) -> None:
    seconds = []
    for _ in range(HELM_TESTS):
        asked, began = traffic.asked, time.monotonic()
        release.test()
        seconds.append(round(time.monotonic() - began, 1))
        assert traffic.asked > asked, "nobody asked meanwhile: this proves nothing"
        report = release.report("proof")
        assert report["verdict"] == "pass" or {one["id"] for one in report["findings"] if one["verdict"] == "warn"} <= {
            "proof.ttft",
            "proof.logprobs",
        }, report["findings"]
        assert report["proof"]["reusedFraction"] >= 0.95
    figures(helm_test_s=seconds, helm_tests=len(seconds))


def test_what_one_server_stored_the_other_reads(
    release: Release, traffic: Traffic, figures: Callable[..., None]
) -> None:
    """A request like any other: nothing in it says that it would wait."""
    pods, shares, ratios = release.wait_ready(), [], []
    with release.vllm(pods[0]) as a, release.vllm(pods[1]) as b:
        for number in range(TRIES):
            prompt = words(f"try {number} {time.time()}", PROMPT_WORDS)
            before = metrics(a).get(STORED_BYTES, 0.0)
            cold = ask(a, prompt, max_tokens=4)
            eventually(lambda: metrics(a).get(STORED_BYTES, 0.0) > before, "A to store", every_s=0.5)  # noqa: B023
            time.sleep(2)  # A stores what others ask for too: until all of this prompt is out
            warm = ask(b, prompt, max_tokens=4)
            full = (cold.prompt_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
            shares.append(round((warm.cached_tokens or 0) / full, 3))
            ratios.append(round(cold.ttft_s / warm.ttft_s, 2))
            assert warm.tokens == cold.tokens
        left_out = sum(metrics(url).get(SLOWER, 0.0) for url in (a, b))
    figures(
        tries=TRIES, answered_from_storage=sum(share >= 0.95 for share in shares), shares=shares, times_as_fast=ratios,
        left_out_as_slower=left_out, asked_meanwhile=traffic.asked,
    )  # fmt: skip
    assert min(shares) >= 0.95


SLOWER = 'vllm:kv_offload_llmd_storage_lookup_misses_total{tier="1:llmd_storage",reason="slower"}'


def test_a_rolling_upgrade_is_proven(release: Release, traffic: Traffic, figures: Callable[..., None]) -> None:
    asked, proved = traffic.asked, release.report("proof")["startedAt"]
    done = release.upgrade(*CHANGED).ok()
    release.wait_deployed()
    assert release.report("proof")["startedAt"] > proved
    assert release.report("proof")["proof"]["reusedFraction"] >= 0.95
    figures(
        upgrade_s=round(done.seconds, 1), asked_during_upgrade=traffic.asked - asked, failed=len(traffic.failed),
        traffic_s=round(time.monotonic() - traffic.began),
    )  # fmt: skip
    assert not traffic.failed
