# SPDX-License-Identifier: Apache-2.0
"""What the proof observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmd_storage_hooks.core.kube.objects import NotYet, PodState


@dataclass(frozen=True, slots=True)
class Gateway:
    """Whether a Gateway is programmed, and its address."""

    programmed: bool
    message: str
    url: str = ""  # "" = no address yet, or no listener for HTTP


@dataclass(frozen=True, slots=True)
class PodPair:
    """A (prefills) and B (answers from storage)."""

    first: PodState
    second: PodState


@dataclass(frozen=True, slots=True)
class SinglePod:
    """There is one model server only, and it is ready."""

    pod: PodState


@dataclass(frozen=True, slots=True)
class Unrecoverable:
    """This pod will not become ready by waiting."""

    pod: PodState


@dataclass(frozen=True, slots=True)
class Counters:
    """One scrape of a server's metrics. What a connector does not count is 0."""

    prompt_tokens: float
    external_tokens: float  # of the prompts, by KV transfer: storage tier or CPU tier
    local_tokens: float  # of the prompts, from the server's own device memory
    disk_tokens: float  # of the prompts, as vLLM attributes them to storage
    storage_queries: float
    storage_hits: float
    storage_read_bytes: float
    storage_write_bytes: float
    storage_read_failures: float
    storage_write_failures: float
    storage_stores_dropped: float
    # By connector llmd-storage alone: blocks it did not find or did not store, by reason; files it refused as damaged.
    misses: Mapping[str, float]
    refusals: Mapping[str, float]
    damaged: float
    active_writes: float
    queued_bytes: float  # by connector llmd-storage: that wait to be written
    usable: float  # gauges of connector llmd-storage: 1 or 0
    breaker_open: float
    writes_paused: float
    pauses: tuple[str, ...]  # errors for which writing was paused, since the start
    connector_loaded: bool
    attributes_sources: bool  # vLLM says which tier a cached token came from

    @property
    def not_waited_for(self) -> float:
        """Blocks that llmd-storage did not wait for: computing was quicker, or storage missed its deadline."""
        return sum(self.misses.get(reason, 0.0) for reason in ("slower", "slow", "deadline"))


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion. `status` 0 = no HTTP answer; `error` is "" when the stream ended well."""

    status: int
    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()  # by token: how far its log probability is above the second best one's
    prompt_tokens: int = 0
    cached_tokens: int | None = None  # of the prompt, not computed; None = the server does not say
    ttft_seconds: float | None = None
    total_seconds: float = 0.0
    error: str = ""
    no_endpoint: bool = False  # the server has no such endpoint

    @property
    def good(self) -> bool:
        return self.status == 200 and not self.error


@dataclass(frozen=True, slots=True)
class Prompt:
    """text: "" when not even one block fits the model's context."""

    text: str
    tokens: int | None  # None = the server has no /tokenize
    max_model_len: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What A wrote to storage after its answer, by its counters."""

    delta: Counters
    settled: bool  # nothing was left to be written
    waited_seconds: float
    with_others: bool = False  # A answered other requests meanwhile, and counted what it wrote for them


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt on its way from A over storage to B. What was not reached is None."""

    pod_a: PodState
    pod_b: PodState
    prompt: Prompt
    unresponsive: tuple[tuple[str, Answer], ...] = ()  # who ("A", "B") did not answer a one-token request, and how
    first: Answer | None = None  # A's
    stored: Stored | None = None
    second: Answer | None = None  # B's
    reused: Counters | None = None  # B's counters for its answer
    error: str = ""  # a server that could not be read, and why
    chat: bool = False  # asked through /v1/chat/completions, for want of completions
    differences: tuple[str, ...] = ()  # of the two namespaces that were used last, by their manifests

    @property
    def with_others(self) -> bool:
        """Whether B answered other requests meanwhile, so that its counters are not of this prompt alone."""
        if self.second is None or self.reused is None or not self.second.good:
            return False
        return self.reused.prompt_tokens > self.second.prompt_tokens

    @property
    def reused_tokens(self) -> int | None:
        """Prompt tokens that B did not compute: by its counters, or, if it answered others too, by its own answer.

        None: not reached, or not known.
        """
        if self.second is None or self.reused is None:
            return None
        if not self.with_others:
            return int(min(self.reused.external_tokens, self.second.prompt_tokens))
        return self.second.cached_tokens

    def reused_fraction(self, block_tokens: int) -> float:
        """Of the tokens in the prompt's full blocks, 0 to 1; 0 where none is full, or it is not known."""
        full = full_block_tokens(self.second.prompt_tokens, block_tokens) if self.second else 0
        return min(1.0, (self.reused_tokens or 0) / full) if full else 0.0


@dataclass(frozen=True, slots=True)
class WaitResult:
    """How waiting for the model servers ended. failure: why the pods could not be listed; log_tail: of the pod in
    `Unrecoverable`."""

    result: PodPair | SinglePod | Unrecoverable | NotYet
    pods: tuple[PodState, ...] = ()
    waited_seconds: float = 0.0
    failure: str = ""
    log_tail: str = ""


def full_block_tokens(prompt_tokens: int, block_tokens: int) -> int:
    """Tokens that can come from the cache: whole blocks, and never the last token."""
    return max(0, (prompt_tokens - 1) // block_tokens * block_tokens)
