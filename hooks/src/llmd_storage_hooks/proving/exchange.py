# SPDX-License-Identifier: Apache-2.0
"""The exchange itself: a fresh prompt, A's answer, storage, B's answer, the router's answer."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llmd_storage_hooks import prompts
from llmd_storage_hooks.collect.server import Server
from llmd_storage_hooks.config import ProofConfig
from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.facts import PodState
from llmd_storage_hooks.metrics import CONNECTORS, Reading, delta, reading
from llmd_storage_hooks.proving.seen import Answer, Prompt, Round, Stored
from llmd_storage_hooks.proving.waiting import Pair

STORE_S = 60.0  # a healthy tier writes a prompt's blocks within a second or two
UNCOUNTED_S = 5.0  # what a connector that counts no bytes is given to write them
SETTLED_READS = 3
POLL_S = 0.5
COUNTED_S = 10.0  # counters may lag the answer by a scheduler step
ROUTER_S = 120.0  # the router may come up later than the servers it fronts
ATTEMPTS = 3
TRIED_AGAIN_S = 31.0  # the own connector tries storage that it leaves out again with one request in 30 s (worth.py)
WAKE = "Hello"  # shorter than any block: never stored, never looked up

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Servers:
    a: Server
    b: Server


def prove(config: ProofConfig, pair: Pair, servers: Servers, clock: Clock, say: Say) -> Round:
    """One round, and another one with another prompt where the first told nothing.

    That is where other traffic on B blurred its counters, or B did not wait for storage: loading was slower than
    computing lately, as after an outage, or a lookup missed its deadline, as while everything starts at once.
    """
    # A server's first answer pays for things that have nothing to do with prefill; one that cannot give even
    # that answer needs no longer prompt.
    woken = (("A", servers.a.complete(WAKE, 2)), ("B", servers.b.complete(WAKE, 2)))
    asleep = tuple((who, answer) for who, answer in woken if not answer.good)
    if asleep:
        return Round(pair.first, pair.second, Prompt("", None, None), asleep)
    result = _round(config, pair, servers, clock, say)
    waited = False
    for _ in range(ATTEMPTS - 1):
        if disturbed(result):
            say("B answered others at the same time, so its counters prove nothing: once more with a new prompt")
        elif result.reused is not None and result.reused.unawaited > 0 and not waited:
            say(
                "B did not wait for storage, which was slower than computing or missed a deadline. It gives storage "
                f"another try each half minute: once more with a new prompt in {TRIED_AGAIN_S:.0f} s"
            )
            clock.sleep(TRIED_AGAIN_S)
            waited = True
        else:
            break
        result = _round(config, pair, servers, clock, say)
    return result


def store(config: ProofConfig, result: Round, server: Server, clock: Clock, say: Say) -> Round:
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
        say(f"A ({result.pod_a.name}) answered: {_told(first)}")
        stored = _await_stored(config, server, before, clock)
        if stored.delta.storage_write_bytes > 0:
            say(f"A wrote {stored.delta.storage_write_bytes / 2**20:.1f} MiB to storage")
        return replace(result, stored=stored)
    except CollectError as error:
        return replace(result, trouble=str(error))


def disturbed(result: Round) -> bool:
    if result.second is None or result.reused is None or not result.second.good:
        return False
    return result.reused.prompt_tokens > result.second.prompt_tokens


def _round(config: ProofConfig, pair: Pair, servers: Servers, clock: Clock, say: Say) -> Round:
    result = store(config, Round(pair.first, pair.second, Prompt("", None, None)), servers.a, clock, say)
    return result if result.stored is None else read_by(config, result, Other("B", pair.second, servers.b), clock, say)


@dataclass(frozen=True, slots=True)
class Other:
    """A server that is to answer from storage, and what it is called in the log."""

    who: str
    pod: PodState
    server: Server


def read_by(config: ProofConfig, result: Round, other: Other, clock: Clock, say: Say) -> Round:
    """The other half: A's prompt, answered by a server that has never seen it."""
    result = replace(result, pod_b=other.pod, second=None, reused=None)
    try:
        # It may have taken other requests meanwhile; only what it counts from here on is this prompt's.
        before = _read(config, other.server)
        result = replace(result, second=other.server.complete(result.prompt.text, config.max_tokens))
        if result.second is None or not result.second.good:
            return result
        say(f"{other.who} ({other.pod.name}) answered: {_told(result.second)}")
        counted = _await_counted(config, other.server, before, result.second.prompt_tokens, clock)
        return replace(result, reused=counted)
    except CollectError as error:
        return replace(result, trouble=str(error))


def _told(answer: Answer) -> str:
    return f"{answer.prompt_tokens} prompt tokens, first token after {answer.ttft_seconds or 0:.3f} s"


def make_prompt(config: ProofConfig, server: Server) -> Prompt:
    """Random words, or a file's text behind a few random words (so that no server has it yet).

    Returns: an empty text when not even one block fits the model's context. Raises: CollectError.
    """
    seed = secrets.randbits(48)
    try:
        _, max_len = server.tokenize(WAKE)
    except NotFound:
        return _uncounted_prompt(config, seed)
    wanted = prompts.target_tokens(config.prompt_blocks, config.block_tokens, max_len, config.max_tokens)
    if wanted == 0:
        return Prompt("", 0, max_len)
    if config.prompt_file:
        words = prompts.random_words(8, seed) + _file_words(config.prompt_file)
        # As much of the document as the context takes, not only promptBlocks of it.
        most = (max_len or wanted) - config.max_tokens - 1
        text, tokens = prompts.fit(words, most, lambda text: server.tokenize(text)[0])
        if tokens > most:
            text, tokens = _shorten(text, most, server)
        return Prompt(text, tokens, max_len)
    words = prompts.random_words(wanted, seed)  # a word is at least one token
    text, tokens = prompts.fit(words, wanted, lambda text: server.tokenize(text)[0])
    return Prompt(text, tokens, max_len)


def _shorten(text: str, most: int, server: Server) -> tuple[str, int]:
    words = text.split(" ")
    while len(words) > 1:
        words.pop()
        tokens = server.tokenize(" ".join(words))[0]
        if tokens <= most:
            return " ".join(words), tokens
    return "", 0


def _uncounted_prompt(config: ProofConfig, seed: int) -> Prompt:
    wanted = prompts.target_tokens(config.prompt_blocks, config.block_tokens, None, config.max_tokens)
    words = _file_words(config.prompt_file) if config.prompt_file else []
    return Prompt(" ".join(prompts.random_words(8, seed) + (words or prompts.random_words(wanted, seed))), None, None)


def _file_words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").split(" ")
    except OSError as error:
        raise CollectError(f"promptFile {path} cannot be read ({error.strerror})") from error


def _read(config: ProofConfig, server: Server) -> Reading:
    return reading(server.metrics(), config.connector)


def _await_stored(config: ProofConfig, server: Server, before: Reading, clock: Clock) -> Stored:
    """Until A's storage counters have grown and stand still; for one that counts no bytes, a fixed while.

    vLLM moves its tiers on, and counts, only while its scheduler steps; an idle engine is therefore given a
    one-token request now and then.
    """
    counted = CONNECTORS[config.connector].counts_bytes
    began, deadline = clock.now(), Deadline.after(clock, STORE_S if counted else UNCOUNTED_S)
    last, still = -1.0, 0
    while True:
        seen = delta(before, _read(config, server))
        still = still + 1 if seen.storage_write_bytes == last else 0
        last = seen.storage_write_bytes
        settled = counted and last > 0 and still >= SETTLED_READS and seen.active_writes == 0
        if settled or deadline.passed():
            return Stored(seen, settled, clock.now() - began)
        clock.sleep(POLL_S)
        server.complete(WAKE, 1, logprobs=False)


def _await_counted(config: ProofConfig, server: Server, before: Reading, prompt_tokens: int, clock: Clock) -> Reading:
    deadline = Deadline.after(clock, COUNTED_S)
    while True:
        seen = delta(before, _read(config, server))
        if seen.prompt_tokens >= prompt_tokens or deadline.passed():
            return seen
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
