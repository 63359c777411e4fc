# SPDX-License-Identifier: Apache-2.0
"""The exchange itself: a fresh prompt, A's answer, storage, B's answer, the router's answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube.objects import PodState
from llmd_storage_hooks.proof.collect.counters import delta, read_counters
from llmd_storage_hooks.proof.collect.prompts import WARM_UP, make_prompt
from llmd_storage_hooks.proof.collect.server import Server
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.connectors import CONNECTORS
from llmd_storage_hooks.proof.facts import Answer, Counters, PodPair, Prompt, Stored, Trial

STORE_S = 60.0  # a healthy tier writes a prompt's blocks within a second or two
UNCOUNTED_S = 5.0  # what a connector that counts no bytes is given to write them
SETTLED_READS = 3
POLL_S = 0.5
COUNTED_S = 10.0  # counters may lag the answer by a scheduler step
ROUTER_S = 120.0  # the router may come up later than the servers it fronts
ATTEMPTS = 3
TRIED_AGAIN_S = 31.0  # the own connector tries storage that it leaves out again with one request in 30 s (worth.py)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Servers:
    a: Server
    b: Server


def prove(config: ProofConfig, pair: PodPair, servers: Servers, clock: Clock, say: Say) -> Trial:
    """One round, and another one with another prompt where the first told nothing.

    That is where other traffic on B blurred its counters, or B did not wait for storage: loading was slower than
    computing lately, as after an outage, or a lookup missed its deadline, as while everything starts at once.
    """
    # A server's first answer pays for things that have nothing to do with prefill; one that cannot give even
    # that answer needs no longer prompt.
    replies = (("A", servers.a.complete(WARM_UP, 2)), ("B", servers.b.complete(WARM_UP, 2)))
    unresponsive = tuple((who, answer) for who, answer in replies if not answer.good)
    if unresponsive:
        return Trial(pair.first, pair.second, Prompt("", None, None), unresponsive)
    result = _trial(config, pair, servers, clock, say)
    waited = False
    for _ in range(ATTEMPTS - 1):
        if disturbed(result):
            say("B answered others at the same time, so its counters prove nothing: once more with a new prompt")
        elif result.reused is not None and result.reused.not_waited_for > 0 and not waited:
            say(
                "B did not wait for storage, which was slower than computing or missed a deadline. It gives storage "
                f"another try each half minute: once more with a new prompt in {TRIED_AGAIN_S:.0f} s"
            )
            clock.sleep(TRIED_AGAIN_S)
            waited = True
        else:
            break
        result = _trial(config, pair, servers, clock, say)
    return result


def prefill(config: ProofConfig, result: Trial, server: Server, clock: Clock, say: Say) -> Trial:
    """The half that one server does by itself: a fresh prompt, its answer, its blocks on storage."""
    try:
        result = replace(result, prompt=make_prompt(config, server))
        if not result.prompt.text:
            return result
        before = _read(config, server)
        first = server.complete(result.prompt.text, config.max_tokens)
        result = replace(result, first=first)
        if not first.good:
            return result
        say(f"A ({result.pod_a.name}) answered: {_in_words(first)}")
        stored = _await_stored(config, server, before, clock)
        if stored.delta.storage_write_bytes > 0:
            say(f"A wrote {stored.delta.storage_write_bytes / 2**20:.1f} MiB to storage")
        return replace(result, stored=stored)
    except CollectError as error:
        return replace(result, error=str(error))


def disturbed(result: Trial) -> bool:
    if result.second is None or result.reused is None or not result.second.good:
        return False
    return result.reused.prompt_tokens > result.second.prompt_tokens


def _trial(config: ProofConfig, pair: PodPair, servers: Servers, clock: Clock, say: Say) -> Trial:
    result = prefill(config, Trial(pair.first, pair.second, Prompt("", None, None)), servers.a, clock, say)
    return (
        result if result.stored is None else read_back(config, result, Reader("B", pair.second, servers.b), clock, say)
    )


@dataclass(frozen=True, slots=True)
class Reader:
    """A server that is to answer from storage, and what it is called in the log."""

    who: str
    pod: PodState
    server: Server


def read_back(config: ProofConfig, result: Trial, other: Reader, clock: Clock, say: Say) -> Trial:
    """The other half: A's prompt, answered by a server that has never seen it."""
    result = replace(result, pod_b=other.pod, second=None, reused=None)
    try:
        # It may have taken other requests meanwhile; only what it counts from here on is this prompt's.
        before = _read(config, other.server)
        result = replace(result, second=other.server.complete(result.prompt.text, config.max_tokens))
        if result.second is None or not result.second.good:
            return result
        say(f"{other.who} ({other.pod.name}) answered: {_in_words(result.second)}")
        counted = _await_counted(config, other.server, before, result.second.prompt_tokens, clock)
        return replace(result, reused=counted)
    except CollectError as error:
        return replace(result, error=str(error))


def _in_words(answer: Answer) -> str:
    return f"{answer.prompt_tokens} prompt tokens, first token after {answer.ttft_seconds or 0:.3f} s"


def _read(config: ProofConfig, server: Server) -> Counters:
    return read_counters(server.metrics(), config.connector)


def _await_stored(config: ProofConfig, server: Server, before: Counters, clock: Clock) -> Stored:
    """Until A's storage counters have grown and stand still; for one that counts no bytes, a fixed while.

    vLLM moves its tiers on, and counts, only while its scheduler steps; an idle engine is therefore given a
    one-token request now and then.
    """
    counted = CONNECTORS[config.connector].counts_bytes
    began, deadline = clock.now(), Deadline.after(clock, STORE_S if counted else UNCOUNTED_S)
    last, still = -1.0, 0
    while True:
        observed = delta(before, _read(config, server))
        still = still + 1 if observed.storage_write_bytes == last else 0
        last = observed.storage_write_bytes
        settled = counted and last > 0 and still >= SETTLED_READS and observed.active_writes == 0
        if settled or deadline.passed():
            return Stored(observed, settled, clock.now() - began)
        clock.sleep(POLL_S)
        server.complete(WARM_UP, 1, logprobs=False)


def _await_counted(config: ProofConfig, server: Server, before: Counters, prompt_tokens: int, clock: Clock) -> Counters:
    deadline = Deadline.after(clock, COUNTED_S)
    while True:
        observed = delta(before, _read(config, server))
        if observed.prompt_tokens >= prompt_tokens or deadline.passed():
            return observed
        clock.sleep(0.1)


def ask_router(config: ProofConfig, server: Server, prompt: str, clock: Clock, say: Say) -> Answer:
    """The same prompt through the router; it is given time to come up."""
    deadline = Deadline.after(clock, min(ROUTER_S, config.ready_timeout_seconds))
    told = ""
    while True:
        answer = server.complete(prompt, config.max_tokens)
        if answer.good or deadline.passed():
            return answer
        if answer.error != told:
            told = answer.error
            say(f"the router is not ready yet (status {answer.status}: {told})")
        clock.sleep(2.0)
