"""A person who runs `up` would lose: the right order, parallel work, a clear word on what failed."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from tests.lab.errors import LabError
from tests.lab.paths import Lab
from tests.lab.plan import addon_steps, build_groups, build_steps, closure, run_steps
from tests.lab.proc import Console
from tests.lab.progress import PlainLines, table
from tests.lab.steps import Record, Runner, State, Step, StepFailed, ordered
from tests.patience import CEILING_S


class Quiet:
    def changed(self, record: Record) -> None:
        pass

    def tick(self, records: Sequence[Record]) -> None:
        pass


def nothing(_: Console) -> None:
    pass


def run(steps: list[Step], tmp_path: Path) -> list[Record]:
    return Runner(steps, tmp_path / "log", Quiet(), tmp_path / "steps.json").run()


def test_a_step_runs_after_all_that_it_needs(tmp_path: Path) -> None:
    seen: list[str] = []
    steps = [
        Step("c", lambda _: seen.append("c"), needs=("a", "b")),
        Step("b", lambda _: seen.append("b"), needs=("a",)),
        Step("a", lambda _: seen.append("a")),
    ]
    run(steps, tmp_path)
    assert seen == ["a", "b", "c"]


def test_steps_that_do_not_need_each_other_run_at_the_same_time(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=CEILING_S)

    def meet(_: Console) -> None:
        both.wait()

    run([Step("a", meet), Step("b", meet)], tmp_path)


def test_what_is_current_is_not_done_again(tmp_path: Path) -> None:
    def never(_: Console) -> None:
        raise AssertionError("it was current")

    records = run([Step("a", never, current=lambda: True), Step("b", nothing, needs=("a",))], tmp_path)
    assert [r.state for r in records] == [State.CURRENT, State.DONE]


def test_a_failure_says_what_where_and_what_to_try(tmp_path: Path) -> None:
    def fails(c: Console) -> None:
        c.run(["sh", "-c", "echo the disk is on fire; exit 3"])

    with pytest.raises(StepFailed) as e:
        run([Step("burn", fails, hint="buy a new disk"), Step("after", nothing, needs=("burn",))], tmp_path)
    said = str(e.value)
    assert "step 'burn' failed" in said
    assert "exit code 3" in said
    assert "| the disk is on fire" in said
    assert str(tmp_path / "log" / "burn.log") in said
    assert "try: buy a new disk" in said


def test_a_failure_stops_what_runs_and_starts_nothing_more(tmp_path: Path) -> None:
    def slow(c: Console) -> None:
        c.run(["sleep", "1000000"], timeout_s=1000000)  # never ends by itself

    def fails(_: Console) -> None:
        time.sleep(0.3)
        raise LabError("no")

    runner = Runner(
        [Step("slow", slow), Step("fails", fails), Step("later", nothing, needs=("slow",))], tmp_path, Quiet()
    )
    with pytest.raises(StepFailed):
        runner.run()
    states = {n: r.state for n, r in runner.records.items()}
    assert states == {"slow": State.STOPPED, "fails": State.FAILED, "later": State.STOPPED}


def test_an_unforeseen_error_is_a_failure_with_its_kind(tmp_path: Path) -> None:
    def bug(_: Console) -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(StepFailed, match="ZeroDivisionError: oh"):
        run([Step("bug", bug)], tmp_path)


def test_times_and_states_are_written_as_json(tmp_path: Path) -> None:
    run([Step("a", nothing), Step("b", nothing, current=lambda: True)], tmp_path)
    steps = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert [(s["name"], s["state"], s["error"]) for s in steps] == [("a", "done", ""), ("b", "current", "")]
    assert all(isinstance(s["seconds"], float) for s in steps)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        pytest.param([Step("a", nothing, needs=("b",)), Step("b", nothing, needs=("a",))], "circle", id="circle"),
        pytest.param([Step("a", nothing, needs=("typo",))], "unknown: typo", id="unknown"),
    ],
)
def test_steps_that_cannot_be_ordered_are_refused(steps: list[Step], why: str) -> None:
    with pytest.raises(LabError, match=why):
        ordered(steps)


def test_the_labs_own_steps_can_be_ordered(lab_here: Lab) -> None:
    steps = [*build_steps(lab_here), *run_steps(lab_here)]
    names = [s.name for s in ordered(steps)]
    assert len(set(names)) == len(names)
    assert names[-1] == "complete"


def test_the_go_build_waits_for_nothing(lab_here: Lab) -> None:
    """It is the longest step of a cold start: whatever it waits for is added to the whole."""
    assert next(s for s in build_steps(lab_here) if s.name == "go-build").needs == ()


def test_a_build_group_brings_what_it_needs_and_no_more(lab_here: Lab) -> None:
    groups = {group: {s.name for s in steps} for group, steps in build_groups(lab_here).items()}
    assert groups["engine"] == {"packages", "engine", "model"}
    assert "packages" not in groups["tools"]
    assert groups["all"] == {s.name for s in build_steps(lab_here)}
    assert groups["gate"] == groups["all"] | groups["tools"], "not what only the acceptance runs"
    assert "registry" not in groups["gate"], "minutes of a cold start; what the gate pushes goes to crane's"


def test_an_addon_is_no_part_of_the_lab_but_of_what_the_acceptance_needs(lab_here: Lab) -> None:
    addons = {s.name for s in addon_steps(lab_here)}
    of_clusters = {"argocd-packages", "argocd-build", "prometheus", "state-metrics", "flux-crds", "pilot-discovery"}
    assert addons == {*of_clusters, "helm-3", "vllm-next", "lmcache", "actionlint", "crane", "registry"}
    groups = {group: {s.name for s in steps} for group, steps in build_groups(lab_here).items()}
    assert not addons & groups["all"]
    assert groups["acceptance"] == addons | groups["all"]
    assert "argocd-build" in groups["argocd"]


def test_closure_keeps_the_order() -> None:
    steps = [Step("a", nothing), Step("b", nothing), Step("c", nothing, needs=("a",))]
    assert [s.name for s in closure(steps, "c")] == ["a", "c"]


def test_plain_progress_tells_start_end_and_that_a_long_step_goes_on(tmp_path: Path) -> None:
    text = io.StringIO()
    lines = PlainLines(Terminal(file=text, width=200))
    r = Record(Step("slow", nothing), Console(tmp_path / "x.log"), State.RUNNING, started_s=time.monotonic() - 31)
    r.console.say("thinking")
    lines.tick([r])
    lines.tick([r])
    assert text.getvalue().count("slow: 31 s so far (thinking)") == 1
    r.state, r.seconds = State.DONE, 42.0
    lines.changed(r)
    assert "slow: 42.0 s" in text.getvalue()


def test_the_table_shows_every_step(tmp_path: Path) -> None:
    r = Record(Step("one", nothing), Console(tmp_path / "x.log"), State.FAILED, error="first line\nmore")
    text = io.StringIO()
    Terminal(file=text, width=120).print(table([r]))
    assert "one" in text.getvalue() and "first line" in text.getvalue() and "more" not in text.getvalue()
