# SPDX-License-Identifier: Apache-2.0
"""One report for all hooks: findings and numbers in, versioned JSON and short text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from llmd_storage_hooks.core.verdicts import Finding, Verdict, overall

SCHEMA_VERSION = "1"
TERMINATION_CHARS = 2048  # the kubelet keeps 4096 bytes; half of it, because names may not be ASCII

_ORDER = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS, Verdict.SKIPPED)


@dataclass(frozen=True, slots=True)
class Report:
    """One run of one hook. started_at: RFC 3339, UTC."""

    hook: str
    release: str
    namespace: str
    started_at: str
    duration_seconds: float
    findings: tuple[Finding, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None

    @property
    def verdict(self) -> Verdict:
        return overall(self.findings)


def to_json(report: Report) -> dict[str, Any]:
    """The report as schemas/hook-report.schema.json describes it."""
    body: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
        "hook": report.hook,
        "release": report.release,
        "namespace": report.namespace,
        "startedAt": report.started_at,
        "durationSeconds": round(report.duration_seconds, 3),
        "verdict": report.verdict.value,
        "findings": [_finding(one) for one in report.findings],
        "numbers": dict(report.numbers),
    }
    if report.proof is not None:
        body["proof"] = dict(report.proof)
    return body


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "id": one.id,
        "verdict": one.verdict.value,
        "sentence": one.sentence,
        "remedy": one.remedy,
        "link": one.link,
        "observed": dict(one.observed),
    }


def to_junit(report: Report) -> str:
    """The report as JUnit XML, on one line: what fails is a failure, what nobody knows an error."""
    tags = {Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "error", Verdict.SKIPPED: "skipped"}
    counts = {tag: sum(tags.get(one.verdict) == tag for one in report.findings) for tag in tags.values()}
    suite = ElementTree.Element(
        "testsuite",
        name=f"{report.hook} of {report.namespace}/{report.release}",
        tests=str(len(report.findings)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
        timestamp=report.started_at,
        time=f"{report.duration_seconds:.3f}",
    )
    for one in report.findings:
        case = ElementTree.SubElement(suite, "testcase", classname=report.hook, name=one.id)
        said = "\n".join(part for part in (one.sentence, one.remedy, one.link) if part)
        if one.verdict in tags:
            ElementTree.SubElement(case, tags[one.verdict], message=_printable(one.sentence)).text = _printable(said)
        else:
            ElementTree.SubElement(case, "system-out").text = _printable(f"{one.verdict.value}: {said}")
    return ElementTree.tostring(suite, encoding="unicode").replace("\n", "&#10;")


def _printable(text: str) -> str:
    """Without what XML cannot hold (a log's control characters)."""
    return "".join(ch if ch in "\n\t" or ch.isprintable() else "?" for ch in text)


def worst_first(report: Report) -> list[Finding]:
    """Findings in the order a reader wants them: what needs doing comes first."""
    return sorted(report.findings, key=lambda one: _ORDER.index(one.verdict))


def headline(report: Report) -> str:
    """Hook, release, verdict, counts and duration in one line."""
    counts = {verdict: sum(one.verdict is verdict for one in report.findings) for verdict in _ORDER}
    parts = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    return (
        f"{report.hook} of {report.namespace}/{report.release}: {report.verdict.value.upper()} "
        f"({parts}; {report.duration_seconds:.1f} s)"
    )


def worst(report: Report) -> str:
    """The worst finding in one line, for where only one line is shown; "" when there is none."""
    for one in worst_first(report)[:1]:
        return f"{one.id}: {one.sentence} {one.remedy}".rstrip()
    return ""


def termination_message(report: Report) -> str:
    """The short form: the headline, and what is wrong with its remedy."""
    lines = [headline(report)]
    for one in worst_first(report):
        if one.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN):
            lines.append(f"{one.verdict.value} {one.id}: {one.sentence} {one.remedy}".rstrip())
    text = "\n".join(lines)
    return text if len(text) <= TERMINATION_CHARS else text[: TERMINATION_CHARS - 4] + "\n..."
