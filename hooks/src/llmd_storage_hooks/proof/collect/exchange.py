# SPDX-License-Identifier: Apache-2.0
"""Send a fresh prompt to A, wait until its blocks are stored, send the prompt to B, and to the router."""

from __future__ import annotations

import math
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
from llmd_storage_hooks.proof.ties import near_tie

STORE_S = 60.0  # a healthy tier writes a prompt's blocks within a second or two
SETTLED_READS = 3
FIRST_STEPS = 3  # of an engine, after which all blocks of an answer wait to be written
POLL_S = 0.5
COUNTED_S = 10.0  # counters may lag the answer by a scheduler step
ROUTER_S = 120.0  # the router may come up later than the servers it fronts
ATTEMPTS = 3
NEXT_TRY_S = 10.0  # storage that missed a deadline, as while everything starts, may answer in time by then

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of the pair."""

    a: Server
    b: Server


def prove(config: ProofConfig, pair: PodPair, servers: Servers, clock: Clock, say: Say) -> Trial:
    """One trial, and another with a new prompt where the first is inconclusive.

    That is: B took too little from storage, or does not say how much, while it answered others; or it did not wait for
    storage, because a lookup missed its deadline, as while everything starts at once; or it took another token where
    A's own best two were nearly as probable.
    """
    # A server's first answer includes warm-up, which must not count as prefill; a server that cannot give even this
    # one gets no longer prompt.
    replies = _greeted(servers)
    if any(answer.no_endpoint for _, answer in replies):
        say("a server has no /v1/completions: asking all of them through /v1/chat/completions")
        servers.a.use_chat()
        servers.b.use_chat()
        replies = _greeted(servers)
    unresponsive = tuple((who, answer) for who, answer in replies if not answer.good)
    if unresponsive:
        return Trial(pair.first, pair.second, Prompt("", None, None), unresponsive, chat=servers.a.chat)
    trial = _trial(config, pair, servers, clock, say)
    waited = False
    for _ in range(ATTEMPTS - 1):
        tied = trial.first is not None and trial.second is not None and near_tie(trial.first, trial.second)
        if trial.reused_fraction(config.block_tokens) >= config.min_reused_fraction:
            if not tied:
                break
            say("B's answer differs from A's at a near-tie of A's: once more with a new prompt")
        elif trial.with_others:
            say("B answered others at the same time: once more with a new prompt")
        elif trial.reused is not None and trial.reused.not_waited_for > 0 and not waited:
            say(
                "B did not wait for storage, which was slower than computing or missed a deadline: once more with a "
                f"new prompt in {NEXT_TRY_S:.0f} s"
            )
            clock.sleep(NEXT_TRY_S)
            waited = True
        else:
            break
        trial = _trial(config, pair, servers, clock, say)
    return trial


def _greeted(servers: Servers) -> tuple[tuple[str, Answer], ...]:
    """What each says to two tokens' worth of work."""
    return (("A", servers.a.complete(WARM_UP, 2)), ("B", servers.b.complete(WARM_UP, 2)))


def prefill(config: ProofConfig, trial: Trial, server: Server, clock: Clock, say: Say) -> Trial:
    """A's half: a fresh prompt, A's answer, its blocks on storage. Errors of the server are in the trial."""
    try:
        if not server.chat and server.complete(WARM_UP, 1, logprobs=False).no_endpoint:
            server.use_chat()
        trial = replace(trial, prompt=make_prompt(config, server), chat=server.chat)
        if not trial.prompt.text:
            return trial
        before = _read(config, server)
        first = server.complete(trial.prompt.text, config.max_tokens)
        trial = replace(trial, first=first)
        if not first.good:
            return trial
        say(f"A ({trial.pod_a.name}) answered: {_in_words(first)}")
        stored = _await_stored(config, server, before, first, clock)
        if stored.delta.storage_write_bytes > 0:
            say(f"A wrote {stored.delta.storage_write_bytes / 2**20:.1f} MiB to storage")
        return replace(trial, stored=stored)
    except CollectError as error:
        return replace(trial, error=str(error))


def _trial(config: ProofConfig, pair: PodPair, servers: Servers, clock: Clock, say: Say) -> Trial:
    trial = prefill(config, Trial(pair.first, pair.second, Prompt("", None, None)), servers.a, clock, say)
    return trial if trial.stored is None else read_back(config, trial, Reader("B", pair.second, servers.b), clock, say)


@dataclass(frozen=True, slots=True)
class Reader:
    """A server that is to answer from storage. who: its name in progress lines."""

    who: str
    pod: PodState
    server: Server


def read_back(config: ProofConfig, trial: Trial, reader: Reader, clock: Clock, say: Say) -> Trial:
    """B's half: A's prompt, answered by a server that has not had it before. Errors of the server are in the trial."""
    trial = replace(trial, pod_b=reader.pod, second=None, reused=None)
    try:
        # It may have taken other requests meanwhile; only what it counts from here on is this prompt's.
        before = _read(config, reader.server)
        trial = replace(trial, second=reader.server.complete(trial.prompt.text, config.max_tokens))
        if trial.second is None or not trial.second.good:
            return trial
        say(f"{reader.who} ({reader.pod.name}) answered: {_in_words(trial.second)}")
        counted = _await_counted(config, reader.server, before, trial.second.prompt_tokens, clock)
        return replace(trial, reused=counted)
    except CollectError as error:
        return replace(trial, error=str(error))


def _in_words(answer: Answer) -> str:
    return f"{answer.prompt_tokens} prompt tokens, first token after {answer.ttft_seconds or 0:.3f} s"


def _read(config: ProofConfig, server: Server) -> Counters:
    return read_counters(server.metrics(), config.connector)


def _await_stored(config: ProofConfig, server: Server, before: Counters, first: Answer, clock: Clock) -> Stored:
    """Wait until A has written and nothing is left to write.

    vLLM advances its tiers, and counts, only in scheduler steps; so an idle engine gets a one-token request at each
    poll. A busy one writes all the time: there it is enough that as much was written as waited after the first of
    these steps, since what came first is written first. A connector that counts at intervals is given one more, as the
    first may have ended in the middle of the write. Blocks up to: STORE_S.
    """
    interval = CONNECTORS[config.connector].counted_every_s
    settled_reads = SETTLED_READS + math.ceil(interval / POLL_S)
    began, deadline = clock.now(), Deadline.after(clock, STORE_S)
    last, still, polls, enough, own_tokens = -1.0, 0, 0, float("inf"), first.prompt_tokens
    while True:
        observed = delta(before, _read(config, server))
        still = still + 1 if observed.storage_write_bytes == last and observed.active_writes == 0 else 0
        last, polls = observed.storage_write_bytes, polls + 1
        with_others = observed.prompt_tokens > own_tokens
        if polls == FIRST_STEPS:
            enough = last + observed.queued_bytes
        in_use = with_others and last >= enough and clock.now() - began >= interval
        settled = last > 0 and (still >= settled_reads or in_use)
        if settled or deadline.passed():
            return Stored(observed, settled, clock.now() - began, with_others)
        clock.sleep(POLL_S)
        own_tokens += server.complete(WARM_UP, 1, logprobs=False).prompt_tokens


def _await_counted(config: ProofConfig, server: Server, before: Counters, prompt_tokens: int, clock: Clock) -> Counters:
    interval = CONNECTORS[config.connector].counted_every_s
    deadline = Deadline.after(clock, COUNTED_S + interval)
    while True:
        observed = delta(before, _read(config, server))
        counted = observed.prompt_tokens >= prompt_tokens
        late = interval > 0 and observed.external_tokens > 0 and observed.storage_read_bytes == 0
        if (counted and not late) or deadline.passed():
            return observed
        clock.sleep(0.1)


def ask_router(config: ProofConfig, server: Server, prompt: str, clock: Clock, say: Say) -> Answer:
    """The same prompt through the router. Blocks up to: ROUTER_S, as the router may still be starting."""
    deadline = Deadline.after(clock, min(ROUTER_S, config.ready_timeout_seconds))
    said = ""
    while True:
        answer = server.complete(prompt, config.max_tokens)
        if answer.good or deadline.passed():
            return answer
        if answer.error != said:
            said = answer.error
            say(f"the router is not ready yet (status {answer.status}: {said})")
        clock.sleep(2.0)
