# SPDX-License-Identifier: Apache-2.0
"""Proof, readers: with more than two replicas, does each further pod take A's prompt from storage, too?"""

from __future__ import annotations

from collections.abc import Sequence

from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.proof.checks import answers, reuse
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Trial

CHECK = "proof.readers"


def check(config: ProofConfig, trials: Sequence[Trial], not_asked: int = 0) -> list[Finding]:
    """trials: one of each further pod; none, no finding. not_asked: pods beyond `max_readers`."""
    if not trials:
        return []
    found = {trial.pod_b.name: _one(config, trial) for trial in trials}
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


def _one(config: ProofConfig, trial: Trial) -> tuple[Verdict, str, str]:
    """Verdict, sentence and remedy of the first check that this pod does not pass."""
    pod = trial.pod_b.name
    if trial.error:
        return Verdict.INCONCLUSIVE, f"{pod} could not be read: {trial.error}.", "See that pod's log."
    assert trial.first is not None and trial.second is not None
    if not trial.second.good:
        one = answers.answered("proof.answer.b", "it", pod, trial.second)
        return Verdict.FAIL, one.sentence, one.remedy
    assert trial.reused is not None
    checks = [
        reuse.quiet(trial),
        reuse.reuse(config, trial),
        reuse.origin(config, trial),
        answers.tokens(CHECK, pod, trial.first, trial.second),
    ]
    # A warning: tokens that part at a near-tie of A's own.
    bad = [one for one in checks if one.verdict not in (Verdict.PASS, Verdict.WARN, Verdict.SKIPPED)]
    if not bad:
        return Verdict.PASS, "", ""
    return bad[0].verdict, f"As for {pod} (B here): {bad[0].sentence}", bad[0].remedy
