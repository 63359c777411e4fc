# SPDX-License-Identifier: Apache-2.0
"""What the proof observed."""

from __future__ import annotations

from dataclasses import dataclass

from llmd_storage_hooks.facts import PodState
from llmd_storage_hooks.metrics import Reading
from llmd_storage_hooks.proving import waiting


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion. `status` 0 = no HTTP answer; `error` is "" when the stream ended well."""

    status: int
    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    prompt_tokens: int = 0
    ttft_seconds: float | None = None
    total_seconds: float = 0.0
    error: str = ""

    @property
    def good(self) -> bool:
        return self.status == 200 and not self.error


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: int | None  # None = the server has no /tokenize
    max_model_len: int | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What A wrote to storage after its answer, as far as its counters said within the time given."""

    delta: Reading
    settled: bool  # the counters stood still at the end
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """One prompt on its way A -> storage -> B. What was not reached is None."""

    pod_a: PodState
    pod_b: PodState
    prompt: Prompt
    asleep: tuple[tuple[str, Answer], ...] = ()  # who ("A", "B") did not answer a one-token request, and how
    first: Answer | None = None  # A's
    stored: Stored | None = None
    second: Answer | None = None  # B's
    reused: Reading | None = None  # B's counters for its answer
    trouble: str = ""  # a server that could not be read, and why
    differences: tuple[str, ...] = ()  # of the two namespaces that were used last, by their manifests


@dataclass(frozen=True, slots=True)
class Awaited:
    """How the waiting ended. `failure`: the pods could not be listed, and why."""

    result: waiting.Pair | waiting.Alone | waiting.Hopeless | waiting.Wait
    pods: tuple[PodState, ...] = ()
    waited_seconds: float = 0.0
    failure: str = ""
    log_tail: str = ""
