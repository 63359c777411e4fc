# SPDX-License-Identifier: Apache-2.0
"""Proof: what was observed of pods, answers and counters, to findings."""

from __future__ import annotations

from typing import Any

from llmd_storage_hooks.checks import answers, causes
from llmd_storage_hooks.config import ProofConfig
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.metrics import CONNECTORS, Reading
from llmd_storage_hooks.prompts import full_block_tokens
from llmd_storage_hooks.proving.seen import Answer, Round

# Of the reused tokens, what the storage tier's own hits must explain.
_MOSTLY = 0.95


def check(config: ProofConfig, result: Round) -> list[Finding]:
    """Everything about the pair; a step that was not reached is left out, the one that failed says why."""
    findings = [spread(result)]
    if result.asleep:
        names = {"A": result.pod_a.name, "B": result.pod_b.name}
        return [
            *findings,
            *(
                answers.answered(f"proof.answer.{who.lower()}", who, names[who], answer)
                for who, answer in result.asleep
            ),
        ]
    if result.trouble:
        return [*findings, _unread(result)]
    if not result.prompt.text:
        return [*findings, _no_room(config, result)]
    if result.first is not None:
        findings.append(answers.answered("proof.answer.a", "A", result.pod_a.name, result.first))
    if result.first is None or not result.first.good:
        return findings
    findings += [length(config, result.first), stored(config, result)]
    if result.second is not None:
        findings.append(answers.answered("proof.answer.b", "B", result.pod_b.name, result.second))
    if result.second is None or not result.second.good or result.reused is None:
        return findings
    return [
        *findings,
        quiet(result.second, result.reused),
        reuse(config, result),
        origin(config, result.reused),
        answers.tokens("proof.tokens", "B", result.first, result.second),
        answers.logprobs(result.first, result.second),
        answers.speed(result.first, result.second),
    ]


def check_alone(config: ProofConfig, result: Round) -> list[Finding]:
    """What one server can show by itself: that it writes. That another one reads it stays unknown."""
    if result.trouble:
        return [_unread(result)]
    if not result.prompt.text:
        return [_no_room(config, result)]
    if result.first is None:
        return []
    answered = answers.answered("proof.answer.a", "A", result.pod_a.name, result.first)
    return [answered, *([length(config, result.first), stored(config, result)] if result.first.good else [])]


def spread(result: Round) -> Finding:
    check_id = "proof.nodes"
    a, b = result.pod_a, result.pod_b
    seen = {"podA": a.name, "nodeA": a.node, "podB": b.name, "nodeB": b.node}
    if not (a.node and b.node):
        said = f"A is {a.name}, B is {b.name}; on which nodes is not known, as they were named by address."
        return Finding(check_id, Verdict.SKIPPED, said, seen=seen)
    if a.node != b.node:
        return Finding(check_id, Verdict.PASS, f"A is {a.name} on {a.node}, B is {b.name} on {b.node}.", seen=seen)
    return Finding(
        check_id,
        Verdict.WARN,
        f"All ready pods are on node {a.node}, so the proof says nothing about sharing between nodes.",
        "Make a second node schedulable for the model servers, and prove again: helm test.",
        seen=seen,
    )


def _unread(result: Round) -> Finding:
    return Finding(
        "proof.servers",
        Verdict.INCONCLUSIVE,
        f"Could not check: {result.trouble}.",
        "See the pods' logs, and that the hook's pod may reach them (NetworkPolicy, port).",
    )


def _no_room(config: ProofConfig, result: Round) -> Finding:
    return Finding(
        "proof.prompt",
        Verdict.FAIL,
        f"The model's context of {result.prompt.max_model_len} tokens has no room for one block of "
        f"{config.block_tokens} tokens: a prompt shorter than a block is never stored.",
        "Lower modelserver.storageTier.blockTokens, or raise the model's context (--max-model-len).",
        seen={"maxModelLen": result.prompt.max_model_len, "blockTokens": config.block_tokens},
    )


def length(config: ProofConfig, first: Answer) -> Finding:
    check_id = "proof.prompt"
    full = full_block_tokens(first.prompt_tokens, config.block_tokens)
    seen = {"promptTokens": first.prompt_tokens, "fullBlockTokens": full}
    if full == 0:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The prompt has {first.prompt_tokens} tokens, not one full block of {config.block_tokens}: a prompt "
            "shorter than a block is never stored.",
            "Use a longer promptFile, or lower modelserver.storageTier.blockTokens.",
            seen=seen,
        )
    said = f"The prompt has {first.prompt_tokens} tokens, {full // config.block_tokens} full blocks."
    return Finding(check_id, Verdict.PASS, said, seen=seen)


def stored(config: ProofConfig, result: Round) -> Finding:
    check_id = "proof.stored"
    counting = CONNECTORS[config.connector]
    if result.stored is None:
        return Finding(check_id, Verdict.SKIPPED, "Not reached.")
    one = result.stored.delta
    seen = {
        "writeBytes": one.storage_write_bytes,
        "writeFailures": one.storage_write_failures,
        "storesDropped": one.storage_stores_dropped,
        "refusals": dict(one.refusals),
        "settled": result.stored.settled,
    }
    if one.storage_write_bytes > 0 and result.stored.settled:
        mib = one.storage_write_bytes / 2**20
        return Finding(check_id, Verdict.PASS, f"A wrote {mib:.1f} MiB to the storage tier.", seen=seen)
    if one.storage_write_bytes > 0:
        return Finding(
            check_id,
            Verdict.WARN,
            f"A was still writing to the storage tier {result.stored.waited_seconds:.0f} s after its answer.",
            "The volume is slow to write, or A serves others at the same time; see the probe's throughput.",
            seen=seen,
        )
    if not counting.counts_bytes:
        said = f"The connector {config.connector} does not count what it writes to storage; what B finds will tell."
        return Finding(check_id, Verdict.SKIPPED, said, seen=seen)
    if not one.connector_loaded:
        cause, remedy = causes.not_loaded(config.connector)
        return Finding(check_id, Verdict.FAIL, f"A ({result.pod_a.name}): {cause}", remedy, seen=seen)
    cause, remedy = causes.why_not_stored(one)
    return Finding(
        check_id,
        Verdict.FAIL,
        f"A ({result.pod_a.name}) wrote nothing to the storage tier within "
        f"{result.stored.waited_seconds:.0f} s of its answer. {cause}".rstrip(),
        remedy,
        seen=seen,
    )


def quiet(second: Answer, reused: Reading) -> Finding:
    check_id = "proof.quiet"
    seen = {"countedPromptTokens": reused.prompt_tokens, "promptTokens": second.prompt_tokens}
    if reused.prompt_tokens <= second.prompt_tokens:
        return Finding(check_id, Verdict.PASS, "B answered nothing else meanwhile.", seen=seen)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE,
        f"B answered other requests at the same time ({reused.prompt_tokens:.0f} prompt tokens were counted, "
        f"{second.prompt_tokens} were asked for), so its counters cannot be laid to this prompt.",
        "Prove again in a quiet moment: helm test.",
        seen=seen,
    )


def reused_tokens(second: Answer, reused: Reading) -> int:
    return int(min(reused.external_tokens, second.prompt_tokens))


def reused_fraction(config: ProofConfig, second: Answer, reused: Reading) -> float:
    full = full_block_tokens(second.prompt_tokens, config.block_tokens)
    return round(min(1.0, reused_tokens(second, reused) / full), 4) if full else 0.0


def reuse(config: ProofConfig, result: Round) -> Finding:
    check_id = "proof.reuse"
    second, reused = result.second, result.reused
    assert second is not None and reused is not None
    fraction = reused_fraction(config, second, reused)
    count = reused_tokens(second, reused)
    seen = _counters(reused)
    full = full_block_tokens(second.prompt_tokens, config.block_tokens)
    share = f"{fraction:.1%} of the {full} tokens in full blocks"
    if fraction >= config.min_reused_fraction:
        said = f"B took {count} of {second.prompt_tokens} prompt tokens from the cache: {share}."
        return Finding(check_id, Verdict.PASS, said, seen=seen)
    cause, remedy = causes.why_not_reused(reused, config.connector, (result.pod_a, result.pod_b), result.differences)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE if causes.left_out(reused) else Verdict.FAIL,
        f"B took only {count} of {second.prompt_tokens} prompt tokens from the cache: {share}, and "
        f"{config.min_reused_fraction:.0%} is asked for. {cause}",
        remedy,
        seen=seen,
    )


def source(config: ProofConfig, reused: Reading) -> str:
    """Where B's reused tokens came from: storage, cpu_tier, local_cache, mixed or none."""
    if reused.external_tokens <= 0:
        return "local_cache" if reused.local_tokens > 0 else "none"
    counting = CONNECTORS[config.connector]
    if not counting.counts_bytes:
        # A prompt that was never sent to B cannot be in any tier of its own.
        return "storage"
    if reused.storage_read_bytes <= 0:
        return "cpu_tier"
    if not counting.counts_blocks:
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


def origin(config: ProofConfig, reused: Reading) -> Finding:
    check_id = "proof.source"
    where = source(config, reused)
    seen = {"source": where, **_counters(reused)}
    if where == "storage":
        mib = reused.storage_read_bytes / 2**20
        counting = CONNECTORS[config.connector]
        said = f"They came from storage: B read {mib:.1f} MiB"
        said += f", {reused.storage_hits:.0f} blocks." if counting.counts_blocks else "."
        if not counting.counts_bytes:
            said = "They came from outside B, which had never seen this prompt; the connector counts no bytes."
        return Finding(check_id, Verdict.PASS, said, seen=seen)
    return Finding(
        check_id,
        Verdict.INCONCLUSIVE if where == "none" and causes.left_out(reused) else Verdict.FAIL,
        f"B's cached tokens came from {_SOURCE_WORDS[where]}.",
        "Prove again with a fresh prompt: helm test." if where != "none" else "See proof.reuse.",
        seen=seen,
    )


def _counters(reused: Reading) -> dict[str, Any]:
    return {
        "externalTokens": reused.external_tokens,
        "localTokens": reused.local_tokens,
        "storageQueries": reused.storage_queries,
        "storageHits": reused.storage_hits,
        "storageReadBytes": reused.storage_read_bytes,
        "misses": dict(reused.misses),
    }
