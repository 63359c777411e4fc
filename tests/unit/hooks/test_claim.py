# SPDX-License-Identifier: Apache-2.0
"""A claim that stays Pending, or that no pod can mount, must end with its reason and not with a bare deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmd_storage_hooks.claim import run as hook
from llmd_storage_hooks.claim.config import ClaimConfig
from llmd_storage_hooks.core.errors import Forbidden, NotFound, Unreachable
from llmd_storage_hooks.core.kube import objects
from llmd_storage_hooks.core.kube import parse as kube_parse
from llmd_storage_hooks.core.kube.volume_errors import last_warning
from llmd_storage_hooks.probe import checks as probe_checks
from llmd_storage_hooks.probe import facts
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import Rank
from llmd_storage_hooks.probe.run import observe_other
from tests.unit.hooks.support import FakeClock, by_id

CONFIG = ClaimConfig(
    release="demo",
    namespace="ns",
    claim_name="kv",
    pod_selector={"app": "x"},
    timeout_seconds=600,
    mount_seconds=120,
)


def claim(phase="Pending", modes=("ReadWriteMany",), **meta):
    return {
        "metadata": {"name": "kv", "uid": "u1", **meta},
        "spec": {"accessModes": list(modes), "storageClassName": "c"},
        "status": {"phase": phase},
    }


def event(name, reason, message, kind="Warning", at="2026-01-01T00:00:00Z", uid="u1"):
    return {
        "involvedObject": {"name": name, "uid": uid},
        "reason": reason,
        "message": message,
        "type": kind,
        "lastTimestamp": at,
    }


def pod(name="a", node="n1", mounted=True, unschedulable=""):
    conditions = [{"type": "PodReadyToStartContainers", "status": "True" if mounted else "False"}]
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {"phase": "Pending", "conditions": conditions},
    }


class FakeKube:
    """Claim, pods and events; each may be an error. `later`: what changes at a poll, by its number."""

    def __init__(self, claim=None, pods=(), events=(), later=None):
        self.claim, self.pods, self.events, self.later, self.polls = claim, pods, events, later or {}, 0

    def get(self, path, query=None):
        if "/persistentvolumeclaims/" in path:
            self.polls += 1
            for name, value in self.later.get(self.polls, {}).items():
                setattr(self, name, value)
            got = self.claim if self.claim is not None else NotFound("gone")
        elif path.endswith("/pods"):
            got = self.pods
        else:
            of_claim = "PersistentVolumeClaim" in query["fieldSelector"]
            got = self.events
            if not isinstance(got, Exception):
                got = [one for one in got if (one["involvedObject"]["name"] == "kv") == of_claim]
        if isinstance(got, Exception):
            raise got
        return {"items": list(got)} if isinstance(got, list | tuple) else got


def run(kube, **changes):
    clock = FakeClock()
    outcome = hook.run(replace(CONFIG, **changes), kube, clock)
    return by_id(outcome.findings), clock.time


def test_a_bound_claim_that_all_pods_have_mounted_passes_at_once():
    findings, spent = run(FakeKube(claim("Bound"), [pod("a"), pod("b", "n2")]))
    assert {name: one.verdict.value for name, one in findings.items()} == {
        "claim.bound": "pass",
        "claim.mounted": "pass",
    }
    assert "n1, n2" in findings["claim.mounted"].sentence
    assert spent == 0


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('rpc error: code = InvalidArgument desc = unknown parameter "fsname"', "parameters"),
        ("rpc error: code = OutOfRange desc = size 100Gi below 18000Gi", "storage.size"),
        ("rpc error: code = Unauthenticated desc = bad key", "credentials"),
    ],
)
def test_a_provisioners_final_word_ends_the_wait_soon_with_its_message(message, remedy):
    findings, spent = run(FakeKube(claim(), events=[event("kv", "ProvisioningFailed", message)]))
    finding = findings["claim.bound"]
    assert finding.verdict.value == "fail"
    assert message in finding.sentence
    assert remedy in finding.remedy
    assert spent < 40


def test_what_was_said_of_an_earlier_claim_of_this_name_is_not_held_against_it():
    """Events live for an hour; a user who corrects the class must not be refused for the old one."""
    old = event("kv", "ProvisioningFailed", "code = InvalidArgument", uid="u0")
    findings, spent = run(FakeKube(claim(), [pod()], [old], later={40: {"claim": claim("Bound")}}))
    assert findings["claim.bound"].verdict.value == "pass"
    assert spent > 60


def test_a_passing_error_of_the_provisioner_is_waited_for_and_told(capsys):
    kube = FakeKube(
        claim(),
        [pod()],
        [event("kv", "ProvisioningFailed", "rpc error: code = Unavailable desc = try again")],
        later={30: {"claim": claim("Bound")}},
    )
    findings, spent = run(kube)
    assert findings["claim.bound"].verdict.value == "pass"
    assert spent > 50
    out = capsys.readouterr().out
    assert "waiting for claim kv: ProvisioningFailed: rpc error: code = Unavailable desc = try again" in out
    assert out.count("waiting") == 2  # again after half a minute, not every poll


def test_a_provisioner_that_says_nothing_ends_at_the_deadline_with_what_is_known():
    waiting = event("kv", "ExternalProvisioning", "Waiting for a volume to be created by 'x.csi'", "Normal")
    findings, spent = run(FakeKube(claim(), events=[waiting]), timeout_seconds=100)
    finding = findings["claim.bound"]
    assert finding.verdict.value == "fail"
    assert "created by 'x.csi'" in finding.sentence
    assert "provisioner" in finding.remedy
    assert 100 <= spent < 105


FIRST_USE = event("kv", "WaitForFirstConsumer", "waiting for first consumer", "Normal")


def test_first_use_without_a_user_leaves_it_to_the_probe():
    findings, spent = run(FakeKube(claim(), [], [FIRST_USE]))
    assert findings["claim.bound"].verdict.value == "skipped"
    assert "there is none yet" in findings["claim.bound"].sentence
    assert spent < 20


def test_first_use_that_waits_for_an_accelerator_is_not_the_claims_fault():
    unscheduled = pod(node="", mounted=False, unschedulable="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    findings, _ = run(FakeKube(claim(), [unscheduled], [FIRST_USE]))
    assert findings["claim.bound"].verdict.value == "skipped"
    assert "Insufficient nvidia.com/gpu" in findings["claim.bound"].sentence


def test_first_use_that_the_volume_itself_prevents_gives_the_schedulers_reason():
    message = "0/2 nodes are available: 2 node(s) did not find available persistent volumes to bind."
    findings, spent = run(
        FakeKube(claim(), [pod(node="", mounted=False, unschedulable=message)], [FIRST_USE]), timeout_seconds=60
    )
    assert findings["claim.bound"].verdict.value == "fail"
    assert "persistent volumes to bind" in findings["claim.bound"].sentence
    assert spent >= 60


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("driver name x.csi not found in the list of registered CSI drivers", "DaemonSet"),
        ("mount failed: exit status 32: mount.nfs: access denied by server", "export"),
        ("wrong fs type, bad option; you might need a /sbin/mount.<type> helper program", "client"),
        ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", "firewall"),
        ("Multi-Attach error for volume", "shared filesystem"),
        ('failed to get secret "s"', "Secret"),
        ("something new", "CSI driver's pods on n2"),
    ],
)
def test_a_pod_that_cannot_mount_is_named_with_the_kubelets_words(message, remedy):
    events = [
        event("b", "FailedMount", message, at="2026-01-01T00:00:01Z"),
        event("b", "FailedCreatePodSandBox", "later and elsewhere", at="2026-01-01T00:00:02Z"),
    ]
    findings, spent = run(FakeKube(claim("Bound"), [pod("a"), pod("b", "n2", mounted=False)], events))
    finding = findings["claim.mounted"]
    assert finding.verdict.value == "fail"
    assert "pod b on n2: FailedMount" in finding.sentence
    assert message[:40] in finding.sentence
    assert remedy in finding.remedy
    assert 120 <= spent < 125
    assert findings["claim.bound"].verdict.value == "pass"


def test_a_mount_that_comes_late_is_waited_for():
    kube = FakeKube(claim("Bound"), [pod(mounted=False)], later={20: {"pods": [pod()]}})
    findings, _ = run(kube)
    assert findings["claim.mounted"].verdict.value == "pass"


def test_a_mount_that_nobody_complains_about_is_a_warning():
    findings, _ = run(FakeKube(claim("Bound"), [pod(mounted=False)]))
    assert findings["claim.mounted"].verdict.value == "warn"


def test_pods_without_a_node_are_left_to_the_proof():
    findings, _ = run(FakeKube(claim("Bound"), [pod(node="", mounted=False, unschedulable="no gpu")]))
    assert findings["claim.mounted"].verdict.value == "skipped"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (claim("Lost"), "lost its volume"),
        (claim("Bound", ["ReadWriteOnce"]), "ReadWriteOnce, not ReadWriteMany"),
        (claim("Bound", deletionTimestamp="2026-01-01T00:00:00Z"), "being deleted"),
    ],
)
def test_what_waiting_cannot_heal_fails_at_once(raw, said):
    findings, spent = run(FakeKube(raw))
    assert findings["claim.bound"].verdict.value == "fail"
    assert said in findings["claim.bound"].sentence
    assert spent == 0


def test_a_claim_that_never_comes_is_said():
    findings, _ = run(FakeKube(None), timeout_seconds=10)
    assert "does not exist yet" in findings["claim.bound"].sentence


@pytest.mark.parametrize("error", [Forbidden("not allowed (claims)"), Unreachable("refused")])
def test_a_claim_that_cannot_be_read_is_inconclusive(error):
    findings, spent = run(FakeKube(error))
    assert findings["claim.bound"].verdict.value == "inconclusive"
    assert str(error) in findings["claim.bound"].sentence
    assert spent < 40


def test_events_that_may_not_be_read_are_said_and_the_rest_goes_on():
    findings, _ = run(FakeKube(claim(), events=Forbidden("not allowed (events)")), timeout_seconds=20)
    assert "events cannot be read: not allowed (events)" in findings["claim.bound"].sentence


def test_pods_that_may_not_be_read_are_could_not_check():
    findings, _ = run(FakeKube(claim("Bound"), pods=Forbidden("not allowed (pods)")))
    assert findings["claim.mounted"].verdict.value == "warn"
    assert "Could not check" in findings["claim.mounted"].sentence


@pytest.mark.parametrize(
    ("status", "mounted"),
    [
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, False),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, True),
        ({"initContainerStatuses": [{"state": {"running": {"startedAt": "x"}}}]}, True),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}, True),
        ({}, False),
    ],
)
def test_how_a_pod_shows_that_its_volumes_are_there(status, mounted):
    assert kube_parse.pod({"status": status}).mounted is mounted


@pytest.mark.parametrize(
    ("containers", "seed"),
    [
        ([], "?"),
        ([{"env": [{"name": "X", "value": "1"}]}], ""),
        ([{"env": [{"name": "PYTHONHASHSEED", "value": "42"}]}], "42"),
        ([{"env": [{"name": "PYTHONHASHSEED", "valueFrom": {}}]}], "?"),
        ([{"envFrom": [{"configMapRef": {}}]}], "?"),
    ],
)
def test_the_hash_seed_of_a_pod(containers, seed):
    assert kube_parse.pod({"spec": {"containers": containers}}).hash_seed == seed


# --- the probe's second pod that does not come ----------------------------------------------------------------

PROBE = ProbeConfig(release="demo", namespace="ns", path="/mnt/kv-cache")
ALONE = facts.Observations(pod=facts.Pod(0, "n1", 1, 1), steps=(facts.StepResult("meet", 60.0, "deadline", "waited"),))


@pytest.mark.parametrize(
    ("raw", "events", "expected", "said"),
    [
        (pod("p", "n2", mounted=False), [event("p", "FailedMount", "access denied")], "fail", "access denied"),
        (pod("p", "n2", mounted=False), [], "inconclusive", "did not start on node n2"),
        (pod("p", "", mounted=False, unschedulable="0/1 nodes"), [], "inconclusive", "not scheduled within 60 s: 0/1"),
        (pod("p", "n2"), [], "inconclusive", "did not show up"),  # it may be pulling its image
        ({**pod("p", "n2"), "status": {"phase": "Running"}}, [], "fail", "neither saw the other's files"),
    ],
)  # fmt: skip
def test_a_second_pod_that_does_not_come_is_explained_by_the_cluster(raw, events, expected, said):
    other = observe_other(PROBE, Rank(0, "uid-1", "n1"), FakeKube(pods=[raw], events=events))
    finding = by_id(probe_checks.check(PROBE, ALONE, None, other))["probe.partner"]
    assert finding.verdict.value == expected
    assert said in finding.sentence
    assert finding.remedy


def test_without_rights_the_second_pod_is_simply_not_explained():
    assert observe_other(PROBE, Rank(0, "uid-1", "n1"), FakeKube(pods=Forbidden("no"))) is None


def test_the_last_trouble_of_a_mount_wins():
    one, two = (objects.Event("p", "FailedMount", text, True, 1, at) for text, at in (("old", "1"), ("new", "2")))
    assert last_warning("p", (one, two)).message == "new"
    assert last_warning("q", (one, two)) is None
    assert last_warning("p", objects.Unknown("no")) is None
