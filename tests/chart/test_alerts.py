"""Recording rules and alerts: promtool takes them, each fires on its fault and on nothing else, each has its page."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm
from tests.chart.alert_worlds import END, FAULT_AT, FAULTS, HEALTHY, Series
from tests.lab.paths import lab
from tests.patience import CEILING_S

RUNBOOKS = helm.CHART.parents[1] / "docs" / "runbooks"
WATCHED = (
    "--set",
    "global.router.mode=external,alerts.kind=operator,evictor.enabled=true,evictor.config.budget_bytes=1Ti",
)


def groups(*extra: str) -> list[dict[str, Any]]:
    return helm.one(helm.objects("default", *WATCHED, *extra), "PrometheusRule", "-alerts")["spec"]["groups"]


def alerts(*extra: str) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups(*extra) for rule in group["rules"] if "alert" in rule}


def promtool(*args: str | Path) -> None:
    argv = [str(lab().bin / "promtool"), *map(str, args)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CEILING_S, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def firing(at: int, names: set[str]) -> dict[str, Any]:
    """A test of promtool: just these fire, `at` minutes from the beginning."""
    samples = [
        {"labels": json.dumps({"alertname": n}).replace('": "', '="').replace('{"', "{"), "value": 1}
        for n in sorted(names)
    ]
    return {
        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{at}m",
        "exp_samples": samples,
    }


def world(changes: Series, tests: list[dict[str, Any]]) -> dict[str, Any]:
    series = {**HEALTHY, **changes}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": tests,
    }


def run_worlds(folder: Path, worlds: list[dict[str, Any]], *extra: str) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(*extra)}))
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": worlds}
    (folder / "tests.yaml").write_text(yaml.safe_dump(whole))
    promtool("test", "rules", folder / "tests.yaml")


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def test_a_release_that_is_well_is_not_warned_of(tmp_path: Path) -> None:
    run_worlds(tmp_path, [world({}, [firing(at, set()) for at in range(30, END, 15)])])


@pytest.mark.parametrize("name", FAULTS)
def test_each_fires_on_its_fault_alone_and_in_its_time(name: str, tmp_path: Path) -> None:
    worlds = []
    for changes, not_yet, by_then in FAULTS[name]:
        tests = [firing(FAULT_AT - 1, set())]
        if not_yet >= 0:
            tests.append(firing(FAULT_AT + not_yet, set()))
        worlds.append(world(changes, [*tests, firing(FAULT_AT + by_then, {name})]))
    run_worlds(tmp_path, worlds)


def test_every_alert_has_a_fault_here() -> None:
    assert FAULTS.keys() == alerts().keys()


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == alerts().keys()
    for name, rule in alerts().items():
        page = (RUNBOOKS / f"{name}.md").read_text()
        assert page.startswith(f"# {name}\n{rule['annotations']['summary']}.\n"), (
            "a page begins with the alert's sentence"
        )
        assert "| cause | what to look at | fix |" in page
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        rows = [line for line in page.splitlines() if line.startswith("|")][2:]
        assert rows and all(len(re.split(r"(?<!\\)\|", row)) == 5 for row in rows), name


def test_the_docs_list_every_alert() -> None:
    page = (RUNBOOKS.parent / "observability.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| [Llmd")]
    listed = {row[0].split("[")[1].split("]")[0]: (row[1], row[2], row[3].removesuffix(" |")) for row in rows}
    for name, rule in alerts().items():
        after = "at once" if rule["for"] == "0s" else rule["for"]
        assert listed.pop(name) == (rule["labels"]["severity"], after, rule["annotations"]["summary"])
    assert not listed


def test_alerts_say_what_is_wrong_in_whole_sentences() -> None:
    for name, rule in alerts().items():
        notes = rule["annotations"]
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert notes["description"].endswith(".") and not notes["summary"].endswith("."), name
        assert not re.search(r"SERVERS|EVICTOR|PICKER|HOOKS|\$(threshold|window|baseline)", rule["expr"]), name


def test_the_plain_file_holds_the_same_rules(tmp_path: Path) -> None:
    objs = helm.objects("default", *WATCHED, "--set", "alerts.kind=file")
    assert not [o for o in objs if o["kind"] == "PrometheusRule"]
    ((name, text),) = helm.one(objs, "ConfigMap", "-alerts")["data"].items()
    assert yaml.safe_load(text) == {"groups": groups()}
    (tmp_path / name).write_text(text)
    promtool("check", "rules", tmp_path / name)


def test_what_a_release_has_not_is_not_watched() -> None:
    """An alert on what is not there would fire for ever."""
    plain = helm.objects("no-cache", "--set", "alerts.kind=operator,global.router.mode=service,evictor.enabled=false")
    rules = [r for g in helm.one(plain, "PrometheusRule", "-alerts")["spec"]["groups"] for r in g["rules"]]
    names = {r["alert"] for r in rules if "alert" in r}
    assert names == {"LlmdStorageHitRateFell", "LlmdStorageHookFailed", "LlmdStorageNoMetrics"}
    assert not [r for r in rules if "llmd_storage" in r["expr"] or "evictor" in r["expr"]]


def test_single_alerts_can_be_changed(tmp_path: Path) -> None:
    changed = {
        "LlmdStorageHitRateFell": {
            "threshold": 0.25,
            "window": "5m",
            "baseline": "1h",
            "for": "1m",
            "severity": "info",
        },
        "LlmdStoragePickerDown": {"enabled": False},
    }
    extra = ("--set-json", f"alerts.rules={json.dumps(changed)}")
    rule = alerts(*extra)["LlmdStorageHitRateFell"]
    assert "[5m]" in rule["expr"] and "[1h]" in rule["expr"] and "< 0.25 *" in rule["expr"]
    assert (rule["for"], rule["labels"]["severity"]) == ("1m", "info")
    assert "LlmdStoragePickerDown" not in alerts(*extra)
    # Quicker, as asked.
    changes = FAULTS["LlmdStorageHitRateFell"][0][0]
    run_worlds(tmp_path, [world(changes, [firing(FAULT_AT + 9, {"LlmdStorageHitRateFell"})])], *extra)


def test_an_alert_that_is_not_there_cannot_be_changed() -> None:
    said = helm.refusal("--set-json", 'alerts.rules={"LlmdStorageHitRate":{"for":"1m"}}')
    assert 'alerts.rules names "LlmdStorageHitRate", which is no alert of this chart; take one of' in said
    assert "LlmdStorageHitRateFell" in said


def test_runbooks_are_where_the_values_say() -> None:
    rules = alerts("--set", "alerts.runbookUrl=https://docs.example.com/runbooks/")
    urls = {rule["annotations"]["runbook_url"] for rule in rules.values()}
    assert all(url.startswith("https://docs.example.com/runbooks/Llmd") for url in urls)
