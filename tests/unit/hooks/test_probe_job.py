# SPDX-License-Identifier: Apache-2.0
"""The probe as a person starts it: a Job that is made with consent, followed, and never left behind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from kubernetes_validate import validate

from llmd_storage_hooks.core.config import from_json
from llmd_storage_hooks.core.errors import CollectError, Forbidden, NotFound, Stopped, Unreachable
from llmd_storage_hooks.core.kube.objects import PodState
from llmd_storage_hooks.probe.checks.completion import not_started
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import ObservedPod
from llmd_storage_hooks.probe.job import manifest as jobs
from llmd_storage_hooks.probe.job import run as hook
from tests.unit.hooks.support import FakeClock, by_id
from tests.unit.hooks.test_output import llmd

JOB = jobs.ProbeJob(
    name="p-1",
    namespace="ns",
    claim="c",
    image="i:1",
    config={"release": "p-1"},
    timeout_seconds=60,
    node_selector={"a": "b"},
    pull_secret="s",
)
REPORT = {
    "findings": [
        {"id": "probe.partner", "verdict": "pass", "sentence": "Met.", "remedy": "", "link": "", "observed": {}},
        {
            "id": "probe.rename",
            "verdict": "fail",
            "sentence": "Torn.",
            "remedy": "Do.",
            "link": "l",
            "observed": {"a": 1},
        },
    ],
    "numbers": {"readMiBps": 1.0},
}


def pod(index, phase="Running", node="n1", mounted=True, **more):
    state = {"running": {}} if mounted else {"waiting": {"reason": "ContainerCreating"}}
    labels = {"batch.kubernetes.io/job-completion-index": str(index)}
    return {
        "metadata": {"name": f"p-1-{index}", "labels": labels, **more},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "containerStatuses": [{"name": "probe", "state": state}]},
    }


class Kube:
    """polls: the pods of each look in turn, the last one for ever. stays: how often the Job is still there."""

    def __init__(self, *polls, log="", events=(), refuse=None, stays=1, deny=None):
        self.polls, self.log, self.events, self.refuse = list(polls), log, events, refuse
        self.stays, self.deny, self.made, self.gone = stays, deny, [], []

    def create(self, path, body):
        if self.refuse:
            raise self.refuse
        self.made.append((path, body))

    def delete(self, path, options):
        if self.deny:
            raise self.deny
        self.gone.append((path, options["propagationPolicy"]))

    def get(self, path, query=None):
        if path.endswith("/jobs/p-1"):
            self.stays -= 1
            if self.stays < 0:
                raise NotFound("gone")
            return {}
        if path.endswith("/events"):
            return {"items": self.events}
        poll = self.polls[0] if len(self.polls) == 1 else self.polls.pop(0)
        if isinstance(poll, BaseException):
            raise poll
        return {"items": poll}

    def text(self, path, query=None):
        log = self.log.get(path.split("/")[-2], "") if isinstance(self.log, dict) else self.log
        if isinstance(log, Exception):
            raise log
        return log


def run(kube, **changes):
    outcome = hook.run(replace(JOB, **changes), kube, FakeClock())
    # What is handed on comes from the tests' own report; what is said here must be in the documentation.
    by_id([one for one in outcome.findings if one.sentence not in ("Met.", "Torn.", "Did not show up.")])
    return {one.id: one for one in outcome.findings}, outcome


def test_its_report_is_handed_on_and_the_job_removed(capsys):
    log = f"probe[0] meet: done in 0.1 s\npass ...\n{json.dumps(REPORT)}\n"
    kube = Kube([], [pod(0), pod(1)], [pod(0, "Failed"), pod(1)], log=log)
    findings, outcome = run(kube)
    assert findings["probe.rename"].sentence == "Torn."
    assert outcome.numbers == {"readMiBps": 1.0}
    assert kube.gone == [("/apis/batch/v1/namespaces/ns/jobs/p-1", "Foreground")]
    said = capsys.readouterr().out
    assert said.count("probe[0] meet: done") == 1
    assert "Job p-1 is removed" in said


def test_a_pod_that_has_reported_and_hangs_is_not_waited_for(capsys):
    kube = Kube([pod(0), pod(1)], log=f"probe[0] replace: timeout in 8 s\n{json.dumps(REPORT)}\n", stays=5)
    findings, _ = run(kube)
    assert "probe.rename" in findings
    assert len(kube.gone) == 1


def test_what_the_other_pod_found_is_said_where_the_first_did_not_come():
    """A full volume: pod 1 cannot even write that it is there, and pod 0 is not mounted for minutes."""
    full = {"findings": [REPORT["findings"][1]], "numbers": {}}
    polls = [[pod(0, "Pending", mounted=False), pod(1)], [pod(0, "Pending", mounted=False), pod(1, "Failed")]]
    clock = FakeClock()
    kube = Kube(*polls, log={"p-1-1": json.dumps(full) + "\n"}, events=[mount_failed("p-1-0")])
    outcome = hook.run(JOB, kube, clock)
    assert [one.id for one in outcome.findings] == ["probe.rename"]
    assert clock.now() < JOB.timeout_seconds, "nothing more is waited for"


def test_that_only_the_partner_was_missing_is_said_by_what_kept_it_away():
    lonely = {"findings": [{**REPORT["findings"][0], "verdict": "inconclusive"}], "numbers": {}}
    polls = [pod(0, "Pending", mounted=False), pod(1, "Failed")]
    kube = Kube(polls, log={"p-1-1": json.dumps(lonely) + "\n"}, events=[mount_failed("p-1-0")])
    findings, _ = run(kube)
    assert list(findings) == ["probe.job"]


@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt(), ValueError("a bug")])
def test_the_job_is_removed_however_it_ends(error):
    kube = Kube([pod(0)], error)
    with pytest.raises(type(error)):
        run(kube)
    assert len(kube.gone) == 1


def test_one_that_is_told_to_end_while_it_asks_for_the_job_removes_it_too():
    kube = Kube([], refuse=Stopped())
    with pytest.raises(Stopped):
        run(kube)
    assert len(kube.gone) == 1


def test_a_job_that_may_not_be_made_is_said_and_not_removed():
    kube = Kube([], refuse=Forbidden("not allowed (jobs.batch is forbidden)"))
    findings, _ = run(kube)
    assert "jobs.batch is forbidden" in findings["probe.job"].sentence
    assert kube.gone == []


def test_a_job_that_stays_is_said_with_the_command(capsys):
    run(Kube([pod(0, "Failed")], stays=10**6, log=json.dumps(REPORT) + "\n"))
    assert "could not be removed (its pods do not end): kubectl delete job p-1 -n ns" in capsys.readouterr().out
    run(Kube([pod(0, "Failed")], deny=Forbidden("no"), log=json.dumps(REPORT) + "\n"))
    assert "could not be removed (no)" in capsys.readouterr().out


def mount_failed(name):
    return {
        "involvedObject": {"name": name},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "mount failed: access denied by server",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }


def test_a_first_pod_whose_mount_fails_is_told_in_the_kubelets_words():
    findings, _ = run(Kube([pod(0, "Pending", mounted=False)], events=[mount_failed("p-1-0")]))
    found = findings["probe.job"]
    assert found.verdict == "fail"
    assert (
        "first probe pod (p-1-0) did not start on node n1: FailedMount: mount failed: access denied" in found.sentence
    )
    assert "export" in found.remedy


def test_a_first_pod_without_a_node_a_report_or_any_life():
    findings, _ = run(Kube([pod(0, "Pending", node="", mounted=False)]))
    assert "was not scheduled" in findings["probe.job"].sentence
    findings, _ = run(Kube([pod(0, "Failed")], log="Traceback: no module\n"))
    assert "left no report; the last that is known of it: Traceback: no module" in findings["probe.job"].sentence
    findings, _ = run(Kube([pod(0, "Failed")], log="[1, 2]\n"))
    assert "[1, 2]" in findings["probe.job"].sentence
    findings, _ = run(Kube([]))
    assert "made no pod" in findings["probe.job"].sentence


def test_pods_and_logs_that_cannot_be_read_are_said_once(capsys):
    run(Kube(CollectError("down")))
    assert capsys.readouterr().out.count("the pods cannot be listed: down") == 1
    run(Kube([pod(0)], [pod(0, "Failed")], log=Unreachable("no log")))
    assert capsys.readouterr().out.count("pod 0's log cannot be read: no log") == 1


def test_why_the_second_pod_did_not_come_is_told_though_it_is_gone_by_then():
    lonely = {
        "findings": [
            {
                "id": "probe.partner",
                "verdict": "inconclusive",
                "sentence": "Did not show up.",
                "remedy": "x",
                "link": "",
                "observed": {"waitedSeconds": 30.0},
            }
        ],
        "numbers": {},
    }
    going = pod(1, "Pending", mounted=False, deletionTimestamp="2026-01-01T00:00:00Z")
    polls = [[pod(0), pod(1, "Pending", mounted=False)], [pod(0, "Failed"), going]]
    findings, _ = run(Kube(*polls, events=[mount_failed("p-1-1")], log=json.dumps(lonely) + "\n"))
    found = findings["probe.partner"]
    assert found.verdict == "fail"
    assert "second probe pod (p-1-1) did not start on node n1 within 30 s: FailedMount" in found.sentence


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull"])
def test_a_probe_pod_without_its_image_says_which(reason):
    """Its node alone may lack it, where images are loaded by hand."""
    state = PodState(
        "p-1-1", "n2", "", "Pending", False, False, 0, "", reason, "not found", "probe", "r/i:1", mounted=True
    )
    found = not_started("probe.partner", ObservedPod(state, None), 30.0)
    assert not ObservedPod(state, None).started and found.verdict == "inconclusive"
    assert f"it cannot have the image r/i:1 of its container probe: {reason} (not found)." in found.sentence
    assert "global.image (registry, repository, tag)" in found.remedy


def test_the_job_is_valid_restricted_and_what_the_program_takes():
    config = {"release": "p-1", "namespace": "ns", "path": jobs.MOUNT}
    made = jobs.manifest(replace(JOB, config=config))
    validate(made, "1.36", strict=True)
    spec = made["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["fsGroup"] == 1000
    assert spec["imagePullSecrets"] == [{"name": "s"}] and spec["nodeSelector"] == {"a": "b"}
    args = spec["containers"][0]["args"]
    assert from_json(ProbeConfig, json.loads(args[args.index("--config") + 1])).path == jobs.MOUNT
    assert made["spec"]["ttlSecondsAfterFinished"] > 0, "it would stay when this program is killed"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--claim", "c"], "--image"),
        (["--claim", "c", "--image", "i"], "say --yes"),
        (["--claim", "c", "--image", "i", "--timeout", "5"], "--timeout"),
        (["--claim", "c", "--image", "i", "--node-selector", "x"], "not key=value"),
        ([], "see llmd-storage-hooks probe --help"),
    ],
)
def test_nothing_is_made_without_consent(args, said, tmp_path):
    got = llmd("probe", *args, KUBECONFIG=str(tmp_path / "none"), KUBERNETES_SERVICE_HOST="")
    assert got.returncode == 2
    assert said in got.stderr


def test_no_cluster_is_inconclusive(tmp_path):
    got = llmd(
        *("probe", "--claim", "c", "--image", "i", "--yes", "-o", "json"),
        KUBECONFIG=str(tmp_path / "none"),
        KUBERNETES_SERVICE_HOST="",
    )
    assert got.returncode == 3, got.stderr
    assert "could not be made" in json.loads(got.stdout.strip().splitlines()[-1])["findings"][0]["sentence"]
