# SPDX-License-Identifier: Apache-2.0
"""Proof, stored: has the prompt a full block, and did A write its blocks to storage?"""

from __future__ import annotations

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import diagnosis
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Answer, Trial, full_block_tokens


def length(config: ProofConfig, first: Answer) -> Finding:
    """The prompt fills at least one block."""
    check_id = "proof.prompt"
    full = full_block_tokens(first.prompt_tokens, config.block_tokens)
    observed = {"promptTokens": first.prompt_tokens, "fullBlockTokens": full}
    if full == 0:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The prompt has {first.prompt_tokens} tokens, not one full block of {config.block_tokens}: a prompt "
            "shorter than a block is never stored.",
            "Use a longer promptFile, or lower modelserver.storageTier.blockTokens.",
            observed=observed,
        )
    sentence = f"The prompt has {first.prompt_tokens} tokens, {full // config.block_tokens} full blocks."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def stored(config: ProofConfig, trial: Trial) -> Finding:
    """A wrote the prompt's blocks; else why not."""
    check_id = "proof.stored"
    if trial.stored is None:
        return Finding(check_id, Verdict.SKIPPED, "Not reached.")
    one = trial.stored.delta
    observed = {
        "writeBytes": one.storage_write_bytes,
        "writeFailures": one.storage_write_failures,
        "storesDropped": one.storage_stores_dropped,
        "refusals": dict(one.refusals),
        "settled": trial.stored.settled,
    }
    if one.storage_write_bytes > 0 and trial.stored.settled:
        mib = one.storage_write_bytes / 2**20
        others = ", with what it wrote for others meanwhile" if trial.stored.with_others else ""
        sentence = f"A wrote {mib:.1f} MiB to the storage tier{others}."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    if one.storage_write_bytes > 0:
        return Finding(
            check_id,
            Verdict.WARN,
            f"A was still writing to the storage tier {trial.stored.waited_seconds:.0f} s after its answer.",
            "The volume is slow to write, or A serves others at the same time; see the probe's throughput.",
            observed=observed,
        )
    if not one.connector_loaded:
        cause, remedy = diagnosis.not_loaded(config.connector)
        return Finding(check_id, Verdict.FAIL, f"A ({trial.pod_a.name}): {cause}", remedy, observed=observed)
    cause, remedy = diagnosis.why_not_stored(one)
    return Finding(
        check_id,
        Verdict.FAIL,
        f"A ({trial.pod_a.name}) wrote nothing to the storage tier within "
        f"{trial.stored.waited_seconds:.0f} s of its answer. {cause}".rstrip(),
        remedy,
        observed=observed,
    )
