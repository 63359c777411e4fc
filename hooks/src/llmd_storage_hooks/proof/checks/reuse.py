# SPDX-License-Identifier: Apache-2.0
"""Proof, reuse: did B take the prompt's blocks from the cache, and from storage?"""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import diagnosis
from llmd_storage_hooks.proof.checks.stored import full_block_tokens
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.connectors import CONNECTORS
from llmd_storage_hooks.proof.facts import Answer, Counters, Trial

# Share of the reused tokens that must have come from storage.
_MOSTLY = 0.95


def quiet(second: Answer, reused: Counters) -> Finding:
    """B counted this prompt's tokens only."""
    check_id = "proof.quiet"
    observed = {"countedPromptTokens": reused.prompt_tokens, "promptTokens": second.prompt_tokens}
    if reused.prompt_tokens <= second.prompt_tokens:
        return Finding(check_id, Verdict.PASS, "B answered nothing else meanwhile.", observed=observed)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE,
        f"B answered other requests at the same time ({reused.prompt_tokens:.0f} prompt tokens were counted, "
        f"{second.prompt_tokens} were asked for), so its counters say nothing about this prompt.",
        "Run the proof again when B is idle: helm test.",
        observed=observed,
    )


def reused_tokens(second: Answer, reused: Counters) -> int:
    """Prompt tokens that B did not compute."""
    return int(min(reused.external_tokens, second.prompt_tokens))


def reused_fraction(config: ProofConfig, second: Answer, reused: Counters) -> float:
    """Of the tokens in the prompt's full blocks; 0 to 1."""
    full = full_block_tokens(second.prompt_tokens, config.block_tokens)
    return round(min(1.0, reused_tokens(second, reused) / full), 4) if full else 0.0


def reuse(config: ProofConfig, trial: Trial) -> Finding:
    """B took enough of the prompt from the cache; else why not."""
    check_id = "proof.reuse"
    second, reused = trial.second, trial.reused
    assert second is not None and reused is not None
    fraction = reused_fraction(config, second, reused)
    count = reused_tokens(second, reused)
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


def source(config: ProofConfig, reused: Counters) -> str:
    """Where B's reused tokens came from: storage, cpu_tier, local_cache, mixed or none."""
    if reused.external_tokens <= 0:
        return "local_cache" if reused.local_tokens > 0 else "none"
    connector_metrics = CONNECTORS[config.connector]
    if not connector_metrics.counts_bytes:
        # A prompt that was never sent to B cannot be in any tier of its own.
        return "storage"
    if reused.storage_read_bytes <= 0:
        return "cpu_tier"
    if not connector_metrics.counts_blocks:
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


def origin(config: ProofConfig, reused: Counters) -> Finding:
    """The reused tokens came from storage."""
    check_id = "proof.source"
    where = source(config, reused)
    observed = {"source": where, **_counters(reused)}
    if where == "storage":
        mib = reused.storage_read_bytes / 2**20
        connector_metrics = CONNECTORS[config.connector]
        sentence = f"They came from storage: B read {mib:.1f} MiB"
        sentence += f", {reused.storage_hits:.0f} blocks." if connector_metrics.counts_blocks else "."
        if not connector_metrics.counts_bytes:
            sentence = "They came from outside B, which had never seen this prompt; the connector counts no bytes."
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
