# SPDX-License-Identifier: Apache-2.0
"""Where the report goes: table, JSON line, termination message, ConfigMap, exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from llmd_storage_hooks.core import output, runner
from llmd_storage_hooks.core.errors import CollectError, NotFound, Unreachable
from llmd_storage_hooks.core.report import TERMINATION_CHARS, headline, termination_message, to_json
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from tests.patience import CEILING_S
from tests.unit.hooks.support import assert_valid, report

GOOD = Finding("probe.a", Verdict.PASS, "All is well.", link="https://x", observed={"n": 1})
BAD = Finding("probe.b", Verdict.FAIL, 'Class "x" cannot.', "Set [bold]y[/bold].", "https://y")


def test_the_report_fits_its_schema():
    assert_valid(to_json(report(GOOD, BAD, numbers={"a": 1})))


def test_a_terminal_gets_a_table_with_the_worst_first(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    output.show(report(GOOD, BAD), "table")
    out = capsys.readouterr().out
    assert out.index("probe.b") < out.index("probe.a")
    assert "-> Set [bold]y[/bold]." in out


def test_a_log_gets_a_line_a_check_with_the_worst_last_and_its_remedy(capsys):
    output.show(report(GOOD, BAD, numbers={"speed": 5, "deep": {"x": 1}}), "table")
    out = capsys.readouterr().out
    assert out.index("pass probe.a") < out.index('FAIL probe.b: Class "x" cannot.')
    assert "-> Set [bold]y[/bold]." in out  # what a user sets is never taken for markup
    assert "https://y" in out
    assert "https://x" not in out  # nobody needs a link for what is well
    assert "speed=5" in out
    assert "\x1b" not in out
    assert "FAIL" in out


def test_json_is_the_last_line(capsys):
    output.show(report(GOOD), "json")
    assert_valid(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))


def test_the_termination_message_is_short_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "log"))
    output.write_termination_message(report(BAD))  # no such file: not in a pod
    assert not (tmp_path / "log").exists()
    (tmp_path / "log").touch()
    output.write_termination_message(report(GOOD, BAD))
    text = (tmp_path / "log").read_text()
    assert text.startswith("probe of ns/demo: FAIL (1 fail, 1 pass")
    assert 'Class "x" cannot. Set' in text
    assert "All is well" not in text


def test_a_termination_log_that_cannot_be_written_is_only_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path))
    output.write_termination_message(report(BAD))
    assert "warning: could not write the termination message" in capsys.readouterr().out


def test_long_messages_are_cut():
    many = [Finding("probe.x", Verdict.FAIL, "x" * 500) for _ in range(20)]
    assert len(termination_message(report(*many))) <= TERMINATION_CHARS


def test_the_headline_counts():
    assert headline(report(GOOD, GOOD, BAD)) == "probe of ns/demo: FAIL (1 fail, 2 pass; 1.2 s)"


class Kube:
    def __init__(self, error=None):
        self.error, self.observed = error, None

    def merge_patch(self, path, body):
        if self.error:
            raise self.error
        self.observed = path, body


def test_the_whole_report_goes_into_the_config_map():
    kube = Kube()
    output.write_config_map(report(GOOD), "demo-storage-report", kube)
    path, body = kube.observed
    assert path == "/api/v1/namespaces/ns/configmaps/demo-storage-report"
    assert_valid(json.loads(body["data"]["probe.json"]))


@pytest.mark.parametrize(
    ("error", "said"),
    [(NotFound("x"), "does not exist (yet)"), (CollectError("x"), "warning"), (Unreachable("x"), "warning")],
)
def test_a_config_map_that_cannot_be_written_changes_nothing(error, said, capsys):
    output.write_config_map(report(GOOD), "c", Kube(error))
    assert said in capsys.readouterr().out
    output.write_config_map(report(GOOD), "", Kube(AssertionError()))


def test_a_job_is_told_why_it_fails():
    kube = Kube()
    output.annotate_job(report(GOOD, BAD), "demo-probe", kube)
    path, body = kube.observed
    assert path == "/apis/batch/v1/namespaces/ns/jobs/demo-probe"
    (said,) = body["metadata"]["annotations"].values()
    assert said == f"{BAD.id}: {BAD.sentence} {BAD.remedy}".rstrip()


def test_a_job_that_cannot_be_told_changes_nothing(capsys):
    output.annotate_job(report(BAD), "demo-probe", Kube(CollectError("jobs are forbidden")))
    assert "jobs are forbidden" in capsys.readouterr().out
    output.annotate_job(report(BAD), "", Kube(AssertionError()))


def llmd(*args, **env):
    command = [sys.executable, "-m", "llmd_storage_hooks", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=CEILING_S, env={**os.environ, **env}, check=False
    )


def test_bad_config_is_exit_2_with_one_line(tmp_path):
    got = llmd("preflight", "--config", '{"release": "x", "namespace": "y", "storge": {}}')
    assert got.returncode == 2
    assert got.stderr.strip() == ("llmd-storage-hooks preflight: unknown key config.storge (did you mean 'storage'?).")


def test_a_config_file_that_is_not_there_is_exit_2():
    got = llmd("preflight", "--config", "@/nowhere.json")
    assert got.returncode == 2
    assert "/nowhere.json" in got.stderr


def test_an_unreachable_cluster_is_exit_3_or_allowed(tmp_path):
    config = {"release": "x", "namespace": "y", "storage": {"storageClassName": "z"}}
    path = tmp_path / "config.json"
    for allowed, code in ((False, 3), (True, 0)):
        path.write_text(json.dumps({**config, "allowInconclusive": allowed}))
        got = llmd("preflight", "--config", f"@{path}", KUBECONFIG=str(tmp_path / "none"), KUBERNETES_SERVICE_HOST="")
        assert got.returncode == code
        assert "Traceback" not in got.stdout + got.stderr


def test_a_bug_of_ours_is_a_finding_not_a_traceback():
    def broken(config):
        raise KeyError("oops")

    (finding,) = runner._run_guarded("probe", broken, None).findings
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "KeyError" in finding.sentence
    assert "test_output.py" in finding.sentence
