# SPDX-License-Identifier: Apache-2.0
"""Proof, figures: what the report carries besides the findings."""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.proof.checks import answers, reuse
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Answer, Trial
from llmd_storage_hooks.proof.ties import same_tokens


def numbers(trial: Trial) -> dict[str, Any]:
    """The report's `numbers`."""
    if trial.stored is None:
        return {}
    return {
        "storedBytes": trial.stored.delta.storage_write_bytes,
        "storedAfterSeconds": round(trial.stored.waited_seconds, 2),
    }


def proof_block(config: ProofConfig, trial: Trial, routed: Answer | None) -> dict[str, Any]:
    """The report's `proof` block; null where a step was not reached."""
    first, second, reused = trial.first, trial.second, trial.reused
    figures: dict[str, Any] = {
        "podA": trial.pod_a.name,
        "podB": trial.pod_b.name,
        "nodeA": trial.pod_a.node,
        "nodeB": trial.pod_b.node,
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
        return figures
    figures["reusedFraction"] = round(trial.reused_fraction(config.block_tokens), 4)
    figures["reusedTokens"] = trial.reused_tokens
    figures["tokensEqual"] = same_tokens(first, second)
    figures["logprobsMaxDelta"] = answers.logprobs_delta(first, second)
    figures["source"] = reuse.source(config, trial)
    figures["bytesRead"] = None if trial.with_others else int(reused.storage_read_bytes)
    return figures


def _seconds(answer: Answer | None) -> float | None:
    if answer is None or answer.ttft_seconds is None:
        return None
    return round(answer.ttft_seconds, 4)
