# SPDX-License-Identifier: Apache-2.0
"""Proof, reuse: did B take the prompt's blocks from the cache, and from storage?"""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import diagnosis
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.connectors import CONNECTORS
from llmd_storage_hooks.proof.facts import Counters, Trial, full_block_tokens

# Share of the reused tokens that must have come from storage.
_MOSTLY = 0.95


def quiet(trial: Trial) -> Finding:
    """What B reused of this prompt is known: it counted nothing else, or its answer says so."""
    check_id = "proof.quiet"
    second, reused = trial.second, trial.reused
    assert second is not None and reused is not None
    observed = {
        "countedPromptTokens": reused.prompt_tokens,
        "promptTokens": second.prompt_tokens,
        "cachedTokens": second.cached_tokens,
    }
    if not trial.with_others:
        return Finding(check_id, Verdict.PASS, "B answered nothing else meanwhile.", observed=observed)
    if second.cached_tokens is not None:
        sentence = "B answered other requests at the same time; what it reused of this prompt is in its answer."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE,
        f"B answered other requests at the same time ({reused.prompt_tokens:.0f} prompt tokens were counted, "
        f"{second.prompt_tokens} were asked for), so its counters say nothing about this prompt.",
        "Start vLLM with --enable-prompt-tokens-details, or run the proof again when B is idle: helm test.",
        observed=observed,
    )


def reuse(config: ProofConfig, trial: Trial) -> Finding:
    """B took enough of the prompt from the cache; else why not."""
    check_id = "proof.reuse"
    second, reused = trial.second, trial.reused
    assert second is not None and reused is not None
    fraction, count = trial.reused_fraction(config.block_tokens), trial.reused_tokens or 0
    observed = _counters(reused)
    full = full_block_tokens(second.prompt_tokens, config.block_tokens)
    share = f"{fraction:.1%} of the {full} tokens in full blocks"
    if fraction >= config.min_reused_fraction:
        sentence = f"B took {count} of {second.prompt_tokens} prompt tokens from the cache: {share}."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    cause, remedy = diagnosis.why_not_reused(reused, config.connector, (trial.pod_a, trial.pod_b), trial.differences)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE if diagnosis.skipped_as_slower(reused) else Verdict.FAIL,
        f"B took only {count} of {second.prompt_tokens} prompt tokens from the cache: {share}, and "
        f"{config.min_reused_fraction:.0%} is asked for. {cause}",
        remedy,
        observed=observed,
    )


def source(config: ProofConfig, trial: Trial) -> str:
    """Where B's reused tokens came from: storage, cpu_tier, local_cache, mixed or none."""
    reused = trial.reused
    assert reused is not None
    if trial.with_others and trial.reused_tokens is not None:
        # The counters are of others, too. A fresh prompt was in no tier of B's own.
        return "storage" if trial.reused_tokens > 0 else "none"
    if reused.external_tokens <= 0:
        return "local_cache" if reused.local_tokens > 0 else "none"
    if reused.storage_read_bytes <= 0:
        return "cpu_tier"
    if not CONNECTORS[config.connector].counts_blocks:
        return "storage"
    by_hits = reused.storage_hits * config.block_tokens
    from_storage = max(reused.disk_tokens, by_hits) if reused.attributes_sources else by_hits
    return "storage" if from_storage >= _MOSTLY * reused.external_tokens else "mixed"


_SOURCE_WORDS = {
    "cpu_tier": "B's own CPU tier, not from storage: it had seen this prompt before",
    "local_cache": "B's own device memory, not from storage: it had seen this prompt before",
    "mixed": "B's own CPU tier in part",
    "none": "nowhere: B computed the whole prompt",
}


def origin(config: ProofConfig, trial: Trial) -> Finding:
    """The reused tokens came from storage."""
    check_id = "proof.source"
    reused, where = trial.reused, source(config, trial)
    assert reused is not None
    observed = {"source": where, **_counters(reused)}
    if where == "storage":
        mib = reused.storage_read_bytes / 2**20
        sentence = f"They came from storage: B read {mib:.1f} MiB"
        sentence += f", {reused.storage_hits:.0f} blocks." if CONNECTORS[config.connector].counts_blocks else "."
        if trial.with_others:
            sentence = "They came from storage: B had never seen this prompt."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE if where == "none" and diagnosis.skipped_as_slower(reused) else Verdict.FAIL,
        f"B's cached tokens came from {_SOURCE_WORDS[where]}.",
        "Prove again with a fresh prompt: helm test." if where != "none" else "See proof.reuse.",
        observed=observed,
    )


def _counters(reused: Counters) -> dict[str, Any]:
    return {
        "externalTokens": reused.external_tokens,
        "localTokens": reused.local_tokens,
        "storageQueries": reused.storage_queries,
        "storageHits": reused.storage_hits,
        "storageReadBytes": reused.storage_read_bytes,
        "misses": dict(reused.misses),
    }
