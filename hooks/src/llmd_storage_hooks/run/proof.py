# SPDX-License-Identifier: Apache-2.0
"""Proof: wait, ask, compare, report."""

from __future__ import annotations

import os
from typing import Any

from llmd_storage_hooks.checks import answers
from llmd_storage_hooks.checks import pods as pod_checks
from llmd_storage_hooks.checks import proof as checks
from llmd_storage_hooks.clock import Clock, SystemClock
from llmd_storage_hooks.collect.kube import Kube, KubeApi
from llmd_storage_hooks.collect.server import Server
from llmd_storage_hooks.config import ProofConfig
from llmd_storage_hooks.errors import Unreachable
from llmd_storage_hooks.facts import PodState
from llmd_storage_hooks.output import say
from llmd_storage_hooks.proving import pods, waiting
from llmd_storage_hooks.proving.exchange import Servers, ask_router, prove, store
from llmd_storage_hooks.proving.seen import Answer, Awaited, Prompt, Round
from llmd_storage_hooks.run.outcome import Outcome
from llmd_storage_hooks.verdicts import Finding


def run(config: ProofConfig, kube: KubeApi | None = None, clock: Clock | None = None) -> Outcome:
    clock = clock or SystemClock()
    try:
        kube = kube or Kube.connect()
    except Unreachable as error:  # no credentials
        return Outcome([pod_checks.check(config, Awaited(waiting.Wait("no cluster"), failure=str(error)))])
    awaited = pods.wait(config, kube, clock, say)
    ready = pod_checks.check(config, awaited)
    if awaited.log_tail:
        say(f"--- last lines of the log of {_name(awaited)}")
        say(awaited.log_tail)
    if isinstance(awaited.result, waiting.Alone):
        pod = awaited.result.pod
        half = store(config, Round(pod, pod, Prompt("", None, None)), _server(config, pod), clock, say)
        numbers = {"waitedSeconds": round(awaited.waited_seconds, 1), **_numbers(half)}
        return Outcome([ready, *checks.check_alone(config, half)], numbers)
    if not isinstance(awaited.result, waiting.Pair):
        return Outcome([ready], {"waitedSeconds": round(awaited.waited_seconds, 1)})
    pair = awaited.result
    servers = Servers(_server(config, pair.first), _server(config, pair.second))
    result = prove(config, pair, servers, clock, say)
    findings = [ready, *checks.check(config, result)]
    if silent(result):
        findings += _aftermath(config, kube, clock, pair)
    routed = None
    if config.router_url and result.first is not None and result.first.good:
        routed = ask_router(config, _at(config, config.router_url), result.prompt.text, clock, say)
        findings += answers.router(config.router_url, result.first, routed)
    numbers = {"waitedSeconds": round(awaited.waited_seconds, 1), **_numbers(result)}
    return Outcome(findings, numbers, _proof(config, result, routed))


def silent(result: Round) -> bool:
    """Whether a server failed to answer at all: then it is worth a look whether it still lives."""
    answers = [one for one in (result.first, result.second) if one is not None]
    return bool(result.trouble or result.asleep) or not all(one.good for one in answers)


def _aftermath(config: ProofConfig, kube: KubeApi, clock: Clock, pair: waiting.Pair) -> list[Finding]:
    findings = []
    for before, now, log in pods.look_again(config, kube, clock, (pair.first, pair.second)):
        finding = pod_checks.died(before, now, log)
        if finding is None:
            continue
        findings.append(finding)
        if log:
            say(f"--- last lines of the log of {before.name}")
            say(log)
    return findings


def _name(awaited: Awaited) -> str:
    return awaited.result.pod.name if isinstance(awaited.result, waiting.Hopeless) else "the pod"


def _server(config: ProofConfig, pod: PodState) -> Server:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return _at(config, f"http://{host}:{config.port}")


def _at(config: ProofConfig, url: str) -> Server:
    key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
    return Server(url, config.model, config.request_timeout_seconds, key)


def _numbers(result: Round) -> dict[str, Any]:
    if result.stored is None:
        return {}
    return {
        "storedBytes": result.stored.delta.storage_write_bytes,
        "storedAfterSeconds": round(result.stored.waited_seconds, 2),
    }


def _proof(config: ProofConfig, result: Round, routed: Answer | None) -> dict[str, Any]:
    """The report's `proof` block; null where a step was not reached."""
    first, second, reused = result.first, result.second, result.reused
    facts: dict[str, Any] = {
        "podA": result.pod_a.name,
        "podB": result.pod_b.name,
        "nodeA": result.pod_a.node,
        "nodeB": result.pod_b.node,
        "promptTokens": first.prompt_tokens if first else None,
        "ttftColdSeconds": _seconds(first),
        "ttftWarmSeconds": _seconds(second),
        "ttftRouterSeconds": _seconds(routed),
        "reusedFraction": None,
        "reusedTokens": None,
        "tokensEqual": None,
        "logprobsMaxDelta": None,
        "source": None,
        "bytesRead": None,
    }
    if first is None or second is None or reused is None:
        return facts
    facts["reusedFraction"] = checks.reused_fraction(config, second, reused)
    facts["reusedTokens"] = checks.reused_tokens(second, reused)
    facts["tokensEqual"] = answers.same_tokens(first, second)
    facts["logprobsMaxDelta"] = answers.logprobs_delta(first, second)
    facts["source"] = checks.source(config, reused)
    facts["bytesRead"] = int(reused.storage_read_bytes)
    return facts


def _seconds(answer: Answer | None) -> float | None:
    if answer is None or answer.ttft_seconds is None:
        return None
    return round(answer.ttft_seconds, 4)
