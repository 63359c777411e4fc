# SPDX-License-Identifier: Apache-2.0
"""Proof: wait for two model servers, send both the same prompt, compare, report."""

from __future__ import annotations

import os
from dataclasses import replace

from llmd_storage_hooks.core.clock import Clock, SystemClock
from llmd_storage_hooks.core.errors import CollectError, Unreachable
from llmd_storage_hooks.core.kube import read
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.kube.image_errors import lacks_image
from llmd_storage_hooks.core.kube.objects import NotYet, PodState, Unknown
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof import checks, readiness
from llmd_storage_hooks.proof.checks import answers, figures, readers
from llmd_storage_hooks.proof.checks import pods as pod_checks
from llmd_storage_hooks.proof.checks.identity import differences
from llmd_storage_hooks.proof.collect import gateway, wait
from llmd_storage_hooks.proof.collect.exchange import Reader, Servers, ask_router, prefill, prove, read_back
from llmd_storage_hooks.proof.collect.manifests import last_two
from llmd_storage_hooks.proof.collect.server import Credentials, Server
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Answer, PodPair, Prompt, SinglePod, Trial, Unrecoverable, WaitResult

INSTANCE_LABEL = "app.kubernetes.io/instance"  # which all pods of the release carry


def run(config: ProofConfig, kube: KubeApi | None = None, clock: Clock | None = None) -> HookResult:
    """With `url_a`, `url_b` those two servers, without a cluster; else two pods of `pod_selector`."""
    clock = clock or SystemClock()
    try:
        if config.url_a:
            pair = PodPair(_pod_of(config.url_a), _pod_of(config.url_b))
            return _prove(config, pair, (), clock)
        return _on_cluster(config, kube, clock)
    except CollectError as error:  # the credentials for all servers cannot be used
        sentence = f"Could not check: {error}."
        remedy = (
            "Correct the Secret of global.modelserverTls (caKey) or the ConfigMap of global.caBundle, PEM text both "
            "(as a tool: --ca-file)."
        )
        return HookResult([Finding("proof.servers", Verdict.INCONCLUSIVE, sentence, remedy)])


def _pod_of(url: str) -> PodState:
    """A server of which only the address is known, as a pod."""
    return PodState(url, "", "", "Running", True, False, 0, "", "", "", "")


def _on_cluster(config: ProofConfig, kube: KubeApi | None, clock: Clock) -> HookResult:
    try:
        kube = kube or Kube.connect()
    except Unreachable as error:  # no credentials
        return HookResult([pod_checks.check(config, WaitResult(NotYet("no cluster"), failure=str(error)))])
    waiting = wait.wait_for_servers(config, kube, clock, say)
    ready = pod_checks.check(config, waiting)
    if waiting.log_tail:
        say(f"--- last lines of the log of {_log_owner(waiting)}")
        say(waiting.log_tail)
    waited = {"waitedSeconds": round(waiting.waited_seconds, 1)}
    if isinstance(waiting.result, SinglePod):
        pod = waiting.result.pod
        trial = prefill(config, Trial(pod, pod, Prompt("", None, None)), _server(config, pod), clock, say)
        return HookResult([ready, *checks.check_single_pod(config, trial)], {**waited, **figures.numbers(trial)})
    if not isinstance(waiting.result, PodPair):
        return HookResult([ready], waited)
    pair = waiting.result
    further = readiness.further(waiting.pods, pair)
    pair_result = _prove(config, pair, further, clock, kube)
    return replace(pair_result, findings=[ready, *pair_result.findings], numbers={**waited, **pair_result.numbers})


def _prove(
    config: ProofConfig,
    pair: PodPair,
    further: tuple[PodState, ...],
    clock: Clock,
    kube: KubeApi | None = None,
) -> HookResult:
    """further: ready pods beyond the pair. kube: to see whether a server has exited, and to find the Gateway."""
    servers = Servers(_server(config, pair.first), _server(config, pair.second))
    trial = _with_differences(config, prove(config, pair, servers, clock, say))
    findings = checks.check(config, trial)
    if kube is not None and unanswered(trial):
        findings += _exited_since(config, kube, clock, pair)
    if trial.stored is not None:
        others = [Reader(pod.name, pod, _server(config, pod)) for pod in further[: config.max_readers]]
        for one in others if trial.chat else ():
            one.server.use_chat()
        trials = [_with_differences(config, read_back(config, trial, one, clock, say)) for one in others]
        findings += readers.check(config, trials, len(further) - len(trials))
    routed = None
    if trial.first is not None and trial.first.good:
        routed, router_findings = _through_the_router(config, kube, clock, trial, trial.first)
        findings += router_findings
    return HookResult(findings, figures.numbers(trial), figures.proof_block(config, trial, routed))


def _with_differences(config: ProofConfig, trial: Trial) -> Trial:
    """Add how the namespaces differ, when B found no block and the claim is mounted here."""
    reused = trial.reused
    if not config.claim_path or reused is None or reused.storage_hits > 0 or reused.external_tokens > 0:
        return trial
    found = last_two(config.claim_path)
    return replace(trial, differences=differences(*found)) if len(found) == 2 else trial


def _through_the_router(
    config: ProofConfig, kube: KubeApi | None, clock: Clock, trial: Trial, first: Answer
) -> tuple[Answer | None, list[Finding]]:
    """The router's answer to A's prompt; None when there is no router, or it has no address."""
    url, host = config.router_url, None
    if not url and config.gateway.name and kube is not None:
        observed = gateway.find(config, kube, clock, say)
        if not observed.url:
            return None, [answers.gateway_unusable(config.gateway.name, observed)]
        url, host = observed.url + config.gateway.path, config.gateway.host
    if not url:
        return None, []
    server = _at(config, url, config.router_server_name, host)
    if trial.chat:
        server.use_chat()
    routed = ask_router(config, server, trial.prompt.text, clock, say)
    imageless = None if routed.good or kube is None else _without_image(config, kube)
    return routed, [answers.way_without_image(imageless)] if imageless else answers.router(url, first, routed)


def _without_image(config: ProofConfig, kube: KubeApi) -> PodState | None:
    """A pod of the release, the picker's or the router's, that waits for its image."""
    instance = {key: value for key, value in config.pod_selector.items() if key == INSTANCE_LABEL}
    found = read.pods(kube, config.namespace, instance)
    return None if isinstance(found, Unknown) else next((pod for pod in found if lacks_image(pod)), None)


def unanswered(trial: Trial) -> bool:
    """Whether a server failed to answer: then its pod is looked at again, since it may have exited."""
    answers = [one for one in (trial.first, trial.second) if one is not None]
    return bool(trial.error or trial.unresponsive) or not all(one.good for one in answers)


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


def _log_owner(waiting: WaitResult) -> str:
    return waiting.result.pod.name if isinstance(waiting.result, Unrecoverable) else "the pod"


def _server(config: ProofConfig, pod: PodState) -> Server:
    if not pod.ip:
        return _at(config, pod.name, config.server_name)
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    return _at(config, f"{config.scheme}://{host}:{config.port}", config.server_name)


def _at(config: ProofConfig, url: str, name: str, at_address: str | None = None) -> Server:
    key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
    credentials = Credentials(key, config.ca_files, name, at_address)
    return Server(url, config.model, config.request_timeout_seconds, credentials)
