# SPDX-License-Identifier: Apache-2.0
"""Proof: what was observed of pods, answers and counters, to findings."""

from __future__ import annotations

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import answers, reuse, stored
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Trial


def check(config: ProofConfig, trial: Trial) -> list[Finding]:
    """All findings about the pair, in the order of the report. What was not reached is left out."""
    findings = [nodes(trial), *([api(trial)] if trial.chat else [])]
    if trial.unresponsive:
        names = {"A": trial.pod_a.name, "B": trial.pod_b.name}
        return [
            *findings,
            *(
                answers.answered(f"proof.answer.{who.lower()}", who, names[who], answer)
                for who, answer in trial.unresponsive
            ),
        ]
    if trial.error:
        return [*findings, _unread(trial)]
    if not trial.prompt.text:
        return [*findings, _prompt_does_not_fit(config, trial)]
    if trial.first is not None:
        findings.append(answers.answered("proof.answer.a", "A", trial.pod_a.name, trial.first))
    if trial.first is None or not trial.first.good:
        return findings
    findings += [stored.length(config, trial.first), stored.stored(config, trial)]
    if trial.second is not None:
        findings.append(answers.answered("proof.answer.b", "B", trial.pod_b.name, trial.second))
    if trial.second is None or not trial.second.good or trial.reused is None:
        return findings
    return [
        *findings,
        reuse.quiet(trial),
        reuse.reuse(config, trial),
        reuse.origin(config, trial),
        answers.tokens("proof.tokens", "B", trial.first, trial.second),
        answers.logprobs(trial.first, trial.second),
        answers.speed(trial.first, trial.second, trial.reused_tokens or 0),
    ]


def check_single_pod(config: ProofConfig, trial: Trial) -> list[Finding]:
    """What one server can prove by itself: that it stores. Whether another one can read it stays unknown."""
    if trial.error:
        return [_unread(trial)]
    if not trial.prompt.text:
        return [_prompt_does_not_fit(config, trial)]
    if trial.first is None:
        return []
    answered = answers.answered("proof.answer.a", "A", trial.pod_a.name, trial.first)
    return [
        *([api(trial)] if trial.chat else []),
        answered,
        *([stored.length(config, trial.first), stored.stored(config, trial)] if trial.first.good else []),
    ]


def nodes(trial: Trial) -> Finding:
    """A and B are on two nodes."""
    check_id = "proof.nodes"
    a, b = trial.pod_a, trial.pod_b
    observed = {"podA": a.name, "nodeA": a.node, "podB": b.name, "nodeB": b.node}
    if not (a.node and b.node):
        sentence = f"A is {a.name}, B is {b.name}; on which nodes is not known, as they were named by address."
        return Finding(check_id, Verdict.SKIPPED, sentence, observed=observed)
    if a.node != b.node:
        return Finding(
            check_id, Verdict.PASS, f"A is {a.name} on {a.node}, B is {b.name} on {b.node}.", observed=observed
        )
    return Finding(
        check_id,
        Verdict.WARN,
        f"All ready pods are on node {a.node}, so the proof says nothing about sharing between nodes.",
        "Make a second node schedulable for the model servers, and prove again: helm test.",
        observed=observed,
    )


def api(trial: Trial) -> Finding:
    """A server has no completions: then all are asked through chat. Requires: trial.chat."""
    if any(answer.no_endpoint for _, answer in trial.unresponsive):
        return Finding(
            "proof.api",
            Verdict.FAIL,
            "The servers have neither /v1/completions nor /v1/chat/completions in common, so nothing can be proven.",
            "Serve a model that generates text; for any other there is no prefix cache: set hooks.proof.enabled=false.",
        )
    sentence = "A server has no /v1/completions, so the proof asks through /v1/chat/completions."
    return Finding("proof.api", Verdict.PASS, sentence)


def _unread(trial: Trial) -> Finding:
    return Finding(
        "proof.servers",
        Verdict.INCONCLUSIVE,
        f"Could not check: {trial.error}.",
        "See the pods' logs, and that the hook's pod may reach them (NetworkPolicy, port).",
    )


def _prompt_does_not_fit(config: ProofConfig, trial: Trial) -> Finding:
    return Finding(
        "proof.prompt",
        Verdict.FAIL,
        f"The model's context of {trial.prompt.max_model_len} tokens has no room for one block of "
        f"{config.block_tokens} tokens: a prompt shorter than a block is never stored.",
        "Lower modelserver.storageTier.blockTokens, or raise the model's context (--max-model-len).",
        observed={"maxModelLen": trial.prompt.max_model_len, "blockTokens": config.block_tokens},
    )
