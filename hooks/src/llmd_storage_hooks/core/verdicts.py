# SPDX-License-Identifier: Apache-2.0
"""Verdicts and findings: what every check returns, and how many findings become one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a check ended. INCONCLUSIVE: it could not be known; SKIPPED: not reached, or nothing to check."""

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    `sentence` names the object and what was observed, `remedy` what to set, `observed` the facts behind it.
    """

    id: str
    verdict: Verdict
    sentence: str
    remedy: str = ""
    link: str = ""
    observed: Mapping[str, Any] = field(default_factory=dict)


# Worst first. A failure is certain; "inconclusive" only says that nobody knows, so it comes second.
_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN)

# What a user may set for a check id in `hooks.checks`.
OVERRIDES = ("fail", "warn", "skip")


def overall(findings: Iterable[Finding]) -> Verdict:
    """One verdict for all findings: the worst of them; nothing checked at all is inconclusive."""
    present = {finding.verdict for finding in findings}
    for verdict in _WORST_FIRST:
        if verdict in present:
            return verdict
    return Verdict.PASS if present else Verdict.INCONCLUSIVE


def override(findings: Iterable[Finding], wanted: Mapping[str, str]) -> list[Finding]:
    """Apply the user's overrides by check id: `skip` drops the verdict, `warn` and `fail` replace a bad one.

    A check that passed stays passed: an override says how much a problem matters, not that there is one.
    """
    return [_override_one(finding, wanted.get(finding.id)) for finding in findings]


def _override_one(finding: Finding, wanted: str | None) -> Finding:
    if wanted == "skip":
        said = f"Skipped by hooks.checks (would have been: {finding.verdict.value})."
        return replace(finding, verdict=Verdict.SKIPPED, sentence=f"{said} {finding.sentence}")
    bad = finding.verdict in _WORST_FIRST
    if bad and wanted == "warn":
        return replace(finding, verdict=Verdict.WARN)
    if bad and wanted == "fail":
        return replace(finding, verdict=Verdict.FAIL)
    return finding


def exit_code(verdict: Verdict, allow_inconclusive: bool) -> int:
    """0 pass (warnings allowed), 1 fail, 3 inconclusive. 2 is left to usage errors."""
    if verdict is Verdict.FAIL:
        return 1
    if verdict is Verdict.INCONCLUSIVE and not allow_inconclusive:
        return 3
    return 0
