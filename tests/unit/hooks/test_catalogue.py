# SPDX-License-Identifier: Apache-2.0
"""The table of checks: what a user looks an id up in, and what `hooks.checks` may name."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from llmd_storage_hooks.core import catalogue, output
from llmd_storage_hooks.core.catalogue import with_links
from llmd_storage_hooks.core.config import from_json
from llmd_storage_hooks.core.report import to_junit
from llmd_storage_hooks.core.verdicts import Finding, Verdict, override
from llmd_storage_hooks.probe.config import ProbeConfig
from tests.unit.hooks.support import report

ROOT = Path(__file__).parents[3]
SOURCES = "\n".join(one.read_text(encoding="utf-8") for one in (ROOT / "hooks" / "src").rglob("*.py"))


def test_the_documentation_has_the_table_of_the_code():
    page = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert catalogue.markdown() in page, "make it anew: python -m llmd_storage_hooks.core.catalogue"


def test_every_id_in_the_code_is_in_the_table():
    code = SOURCES.replace((ROOT / "hooks/src/llmd_storage_hooks/core/catalogue.py").read_text(encoding="utf-8"), "")
    ids = set(re.findall(r'"((?:preflight|claim|probe|proof)\.[a-z.]+)"', code))
    assert len(ids) > 40
    assert [one for one in ids if catalogue.find(one) is None] == []


@pytest.mark.parametrize("check", catalogue.CHECKS, ids=lambda one: one.id)
def test_every_entry_belongs_to_a_check_in_the_code(check):
    stem = check.id.split("<")[0] if not check.id.startswith("<") else check.id.split(">")[1]
    assert f"{stem}" in SOURCES.replace(f'"{check.id}"', "", 1)
    assert set(check.ends.split(", ")) <= {"fail", "warn", "inconclusive"}
    assert check.link.startswith("https://") or (ROOT / check.link).exists()


@pytest.mark.parametrize("check", catalogue.CHECKS, ids=lambda one: one.id)
def test_every_check_can_be_set_by_values_and_has_somewhere_to_read_on(check):
    """As a user writes it in hooks.checks: the config takes the id, and the report obeys it."""
    check_id = re.sub(r"<[^>]+>", "a", check.id) if not check.id.startswith("<hook>") else f"probe.{check.id[7:]}"
    base = {"release": "r", "namespace": "n", "path": "/x"}
    for wanted, verdict in (("warn", "warn"), ("skip", "skipped"), ("fail", "fail")):
        config = from_json(ProbeConfig, {**base, "checks": {check_id: wanted}})
        for bad in check.ends.split(", "):
            found = with_links(override([Finding(check_id, Verdict(bad), "Said.", "Do.")], config.checks))
            assert (found[0].verdict, bool(found[0].remedy), bool(found[0].link)) == (verdict, True, True)
    assert check.asks.endswith(("?", "."))


@pytest.mark.parametrize(
    ("check_id", "entry"),
    [
        ("preflight.secret.my-token.v2", "preflight.secret.<name>"),
        ("preflight.crd.gateways", "preflight.crd.<plural>"),
        ("probe.internal", "<hook>.internal"),
        ("probe.finished", "probe.finished"),
        ("proof.answer.b", "proof.answer.<a or b>"),
    ],
)
def test_ids_with_names_in_them_are_found(check_id, entry):
    assert catalogue.find(check_id).id == entry


def test_a_check_that_does_not_exist_has_no_entry():
    assert catalogue.find("probe.nothing") is None
    assert catalogue.find("probeXnodes") is None


def test_every_finding_gets_somewhere_to_read_on():
    findings = [Finding("probe.nodes", Verdict.PASS, "x"), Finding("probe.rename", Verdict.PASS, "x", link="https://a")]
    assert [one.link for one in catalogue.with_links(findings)] == ["docs/hooks.md", "https://a"]


def test_junit_is_the_last_line_and_a_ci_system_reads_it(capsys):
    findings = (
        Finding("probe.a", Verdict.PASS, "Well."),
        Finding("probe.b", Verdict.FAIL, 'Class "x" <cannot>.', "Set\ny.", "https://y"),
        Finding("probe.c", Verdict.INCONCLUSIVE, "Nobody knows.", "Ask."),
        Finding("probe.d", Verdict.SKIPPED, "Not reached."),
        Finding("probe.e", Verdict.WARN, "Odd\x1b[0m.", "See."),
    )
    output.show(report(*findings), "junit")
    suite = ElementTree.fromstring(capsys.readouterr().out.strip().splitlines()[-1])
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = {one.get("name"): one for one in suite}
    assert cases["probe.b"][0].tag == "failure"
    assert cases["probe.b"][0].get("message") == 'Class "x" <cannot>.'
    assert cases["probe.b"][0].text == 'Class "x" <cannot>.\nSet\ny.\nhttps://y'
    assert cases["probe.c"][0].tag == "error"
    assert cases["probe.d"][0].tag == "skipped"
    assert cases["probe.e"][0].text.startswith("warn: Odd?[0m.")
    assert "\n" not in to_junit(report(*findings))
