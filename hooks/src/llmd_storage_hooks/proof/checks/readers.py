# SPDX-License-Identifier: Apache-2.0
"""Proof, with more than two replicas: whether each further pod takes A's prompt from storage, too."""

from __future__ import annotations

from collections.abc import Sequence

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import answers, reuse
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Trial

CHECK = "proof.readers"


def check(config: ProofConfig, trials: Sequence[Trial], not_asked: int = 0) -> list[Finding]:
    """One round a pod. not_asked: pods that were not asked, because there are so many. No further pod, no finding."""
    if not trials:
        return []
    found = {result.pod_b.name: _one(config, result) for result in trials}
    observed = {name: sentence or "from storage" for name, (_, sentence, _) in found.items()}
    more = f" ({not_asked} more were not asked)" if not_asked else ""
    for wanted in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        bad = [name for name, (verdict, _, _) in found.items() if verdict is wanted]
        if bad:
            _, sentence, remedy = found[bad[0]]
            said = f"{len(bad)} of {len(found)} further pods did not take A's prompt from storage{more}. {sentence}"
            return [Finding(CHECK, wanted, said, remedy, observed=observed)]
    said = f"{len(found)} further pod(s) took A's prompt from storage as well, with A's tokens{more}."
    return [Finding(CHECK, Verdict.PASS, said, observed=observed)]


def _one(config: ProofConfig, result: Trial) -> tuple[Verdict, str, str]:
    """Verdict, what was found and the remedy of the first thing that is not well with this pod."""
    pod = result.pod_b.name
    if result.error:
        return Verdict.INCONCLUSIVE, f"{pod} could not be read: {result.error}.", "See that pod's log."
    assert result.first is not None and result.second is not None
    if not result.second.good:
        one = answers.answered("proof.answer.b", "it", pod, result.second)
        return Verdict.FAIL, one.sentence, one.remedy
    assert result.reused is not None
    checks = [
        reuse.quiet(result.second, result.reused),
        reuse.reuse(config, result),
        reuse.origin(config, result.reused),
        answers.tokens(CHECK, pod, result.first, result.second),
    ]
    bad = [one for one in checks if one.verdict not in (Verdict.PASS, Verdict.SKIPPED)]
    if not bad:
        return Verdict.PASS, "", ""
    return bad[0].verdict, f"As for {pod} (B here): {bad[0].sentence}", bad[0].remedy
