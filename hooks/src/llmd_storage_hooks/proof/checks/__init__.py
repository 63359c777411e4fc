# SPDX-License-Identifier: Apache-2.0
"""Proof: what was observed of pods, answers and counters, to findings."""

from __future__ import annotations

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import answers, reuse, stored
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Trial


def check(config: ProofConfig, result: Trial) -> list[Finding]:
    """Everything about the pair; a step that was not reached is left out, the one that failed says why."""
    findings = [nodes(result)]
    if result.unresponsive:
        names = {"A": result.pod_a.name, "B": result.pod_b.name}
        return [
            *findings,
            *(
                answers.answered(f"proof.answer.{who.lower()}", who, names[who], answer)
                for who, answer in result.unresponsive
            ),
        ]
    if result.error:
        return [*findings, _unread(result)]
    if not result.prompt.text:
        return [*findings, _prompt_does_not_fit(config, result)]
    if result.first is not None:
        findings.append(answers.answered("proof.answer.a", "A", result.pod_a.name, result.first))
    if result.first is None or not result.first.good:
        return findings
    findings += [stored.length(config, result.first), stored.stored(config, result)]
    if result.second is not None:
        findings.append(answers.answered("proof.answer.b", "B", result.pod_b.name, result.second))
    if result.second is None or not result.second.good or result.reused is None:
        return findings
    return [
        *findings,
        reuse.quiet(result.second, result.reused),
        reuse.reuse(config, result),
        reuse.origin(config, result.reused),
        answers.tokens("proof.tokens", "B", result.first, result.second),
        answers.logprobs(result.first, result.second),
        answers.speed(result.first, result.second),
    ]


def check_single_pod(config: ProofConfig, result: Trial) -> list[Finding]:
    """What one server can show by itself: that it writes. That another one reads it stays unknown."""
    if result.error:
        return [_unread(result)]
    if not result.prompt.text:
        return [_prompt_does_not_fit(config, result)]
    if result.first is None:
        return []
    answered = answers.answered("proof.answer.a", "A", result.pod_a.name, result.first)
    return [
        answered,
        *([stored.length(config, result.first), stored.stored(config, result)] if result.first.good else []),
    ]


def nodes(result: Trial) -> Finding:
    check_id = "proof.nodes"
    a, b = result.pod_a, result.pod_b
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


def _unread(result: Trial) -> Finding:
    return Finding(
        "proof.servers",
        Verdict.INCONCLUSIVE,
        f"Could not check: {result.error}.",
        "See the pods' logs, and that the hook's pod may reach them (NetworkPolicy, port).",
    )


def _prompt_does_not_fit(config: ProofConfig, result: Trial) -> Finding:
    return Finding(
        "proof.prompt",
        Verdict.FAIL,
        f"The model's context of {result.prompt.max_model_len} tokens has no room for one block of "
        f"{config.block_tokens} tokens: a prompt shorter than a block is never stored.",
        "Lower modelserver.storageTier.blockTokens, or raise the model's context (--max-model-len).",
        observed={"maxModelLen": result.prompt.max_model_len, "blockTokens": config.block_tokens},
    )
