# SPDX-License-Identifier: Apache-2.0
"""Proof: wait, ask, compare, report."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from llmd_storage_hooks.core.clock import Clock, SystemClock
from llmd_storage_hooks.core.errors import CollectError, Unreachable
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.kube.objects import NotYet, PodState
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof import checks, readiness
from llmd_storage_hooks.proof.checks import answers, readers, reuse
from llmd_storage_hooks.proof.checks import pods as pod_checks
from llmd_storage_hooks.proof.checks.identity import differences
from llmd_storage_hooks.proof.collect import gateway, wait
from llmd_storage_hooks.proof.collect.exchange import Reader, Servers, ask_router, prefill, prove, read_back
from llmd_storage_hooks.proof.collect.manifests import last_two
from llmd_storage_hooks.proof.collect.server import Credentials, Server
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Answer, PodPair, Prompt, SinglePod, Trial, Unrecoverable, WaitResult


def run(config: ProofConfig, kube: KubeApi | None = None, clock: Clock | None = None) -> HookResult:
    clock = clock or SystemClock()
    try:
        if config.url_a:
            pair = PodPair(_named(config.url_a), _named(config.url_b))
            return _prove(config, pair, (), clock)
        return _on_cluster(config, kube, clock)
    except CollectError as error:  # what every server is asked with cannot be used
        said = f"Could not check: {error}."
        return HookResult([Finding("proof.servers", Verdict.INCONCLUSIVE, said, "Correct caFile, a PEM file.")])


def _named(url: str) -> PodState:
    """A server that is known by its address alone."""
    return PodState(url, "", "", "Running", True, False, 0, "", "", "", "")


def _on_cluster(config: ProofConfig, kube: KubeApi | None, clock: Clock) -> HookResult:
    try:
        kube = kube or Kube.connect()
    except Unreachable as error:  # no credentials
        return HookResult([pod_checks.check(config, WaitResult(NotYet("no cluster"), failure=str(error)))])
    wait_result = wait.wait_for_servers(config, kube, clock, say)
    ready = pod_checks.check(config, wait_result)
    if wait_result.log_tail:
        say(f"--- last lines of the log of {_name(wait_result)}")
        say(wait_result.log_tail)
    waited = {"waitedSeconds": round(wait_result.waited_seconds, 1)}
    if isinstance(wait_result.result, SinglePod):
        pod = wait_result.result.pod
        half = prefill(config, Trial(pod, pod, Prompt("", None, None)), _server(config, pod), clock, say)
        return HookResult([ready, *checks.check_single_pod(config, half)], {**waited, **_numbers(half)})
    if not isinstance(wait_result.result, PodPair):
        return HookResult([ready], waited)
    pair = wait_result.result
    further = readiness.further(wait_result.pods, pair)
    proven = _prove(config, pair, further, clock, kube)
    return replace(proven, findings=[ready, *proven.findings], numbers={**waited, **proven.numbers})


def _prove(
    config: ProofConfig,
    pair: PodPair,
    further: tuple[PodState, ...],
    clock: Clock,
    kube: KubeApi | None = None,
) -> HookResult:
    """further: ready pods beyond the pair. kube: to look after a silent server, and to find the Gateway."""
    servers = Servers(_server(config, pair.first), _server(config, pair.second))
    result = _with_differences(config, prove(config, pair, servers, clock, say))
    findings = checks.check(config, result)
    if kube is not None and unanswered(result):
        findings += _exited_since(config, kube, clock, pair)
    if result.stored is not None:
        others = [Reader(pod.name, pod, _server(config, pod)) for pod in further[: config.max_readers]]
        trials = [_with_differences(config, read_back(config, result, one, clock, say)) for one in others]
        findings += readers.check(config, trials, len(further) - len(trials))
    routed = None
    if result.first is not None and result.first.good:
        routed, said = _through_the_router(config, kube, clock, result.prompt.text, result.first)
        findings += said
    return HookResult(findings, _numbers(result), _proof(config, result, routed))


def _with_differences(config: ProofConfig, result: Trial) -> Trial:
    """With what keeps the namespaces apart, when nothing was found and the claim is here to look at."""
    reused = result.reused
    if not config.claim_path or reused is None or reused.storage_hits > 0 or reused.external_tokens > 0:
        return result
    found = last_two(config.claim_path)
    return replace(result, differences=differences(*found)) if len(found) == 2 else result


def _through_the_router(
    config: ProofConfig, kube: KubeApi | None, clock: Clock, prompt: str, first: Answer
) -> tuple[Answer | None, list[Finding]]:
    """The router's answer to A's prompt; none when there is no router, or no way to it."""
    url, host = config.router_url, None
    if not url and config.gateway.name and kube is not None:
        observed = gateway.find(config, kube, clock, say)
        if not observed.url:
            return None, [answers.gateway_unusable(config.gateway.name, observed)]
        url, host = observed.url, config.gateway.host
    if not url:
        return None, []
    routed = ask_router(config, _at(config, url, host), prompt, clock, say)
    return routed, answers.router(url, first, routed)


def unanswered(result: Trial) -> bool:
    """Whether a server failed to answer at all: then it is worth a look whether it still lives."""
    answers = [one for one in (result.first, result.second) if one is not None]
    return bool(result.error or result.unresponsive) or not all(one.good for one in answers)


def _exited_since(config: ProofConfig, kube: KubeApi, clock: Clock, pair: PodPair) -> list[Finding]:
    findings = []
    for before, now, log in wait.find_changed(config, kube, clock, (pair.first, pair.second)):
        finding = pod_checks.died(before, now, log)
        if finding is None:
            continue
        findings.append(finding)
        if log:
            say(f"--- last lines of the log of {before.name}")
            say(log)
    return findings


def _name(wait_result: WaitResult) -> str:
    return wait_result.result.pod.name if isinstance(wait_result.result, Unrecoverable) else "the pod"


def _server(config: ProofConfig, pod: PodState) -> Server:
    if not pod.ip:
        return _at(config, pod.name)
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return _at(config, f"{config.scheme}://{host}:{config.port}")


def _at(config: ProofConfig, url: str, at_address: str | None = None) -> Server:
    key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
    credentials = Credentials(key, config.ca_file, config.server_name, at_address)
    return Server(url, config.model, config.request_timeout_seconds, credentials)


def _numbers(result: Trial) -> dict[str, Any]:
    if result.stored is None:
        return {}
    return {
        "storedBytes": result.stored.delta.storage_write_bytes,
        "storedAfterSeconds": round(result.stored.waited_seconds, 2),
    }


def _proof(config: ProofConfig, result: Trial, routed: Answer | None) -> dict[str, Any]:
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
    facts["reusedFraction"] = reuse.reused_fraction(config, second, reused)
    facts["reusedTokens"] = reuse.reused_tokens(second, reused)
    facts["tokensEqual"] = answers.same_tokens(first, second)
    facts["logprobsMaxDelta"] = answers.logprobs_delta(first, second)
    facts["source"] = reuse.source(config, reused)
    facts["bytesRead"] = int(reused.storage_read_bytes)
    return facts


def _seconds(answer: Answer | None) -> float | None:
    if answer is None or answer.ttft_seconds is None:
        return None
    return round(answer.ttft_seconds, 4)
