"""What Flux does with the HelmReleases of examples/flux, done by Helm: its controller is not to be had as a Go module.

Install, upgrade, test, uninstall and rollback get what helm-controller gives Helm for the fields of the spec (its
internal/action); after a failure the remediation of the spec follows. Without a model server: the claim is what counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.acceptance.cluster.test_storage import BARE, claim, look
from tests.cluster.harness import CHART, LAB_VALUES, ROOT, Cluster, Done, Release

pytestmark = pytest.mark.cluster

NAMESPACE = "llmd-storage-flux"
EXAMPLE = ROOT / "examples" / "flux" / "helmrelease.yaml"
IMPOSSIBLE = "hooks.probe.floors.readMiBps=1000000"


def spec() -> dict[str, Any]:
    docs = yaml.safe_load_all(EXAMPLE.read_text())
    return dict(next(d for d in docs if d["kind"] == "HelmRelease")["spec"])


@dataclass
class Flux:
    """One HelmRelease. actions: what was done so far, in its order."""

    release: Release
    spec: dict[str, Any] = field(default_factory=spec)
    actions: list[str] = field(default_factory=list)

    def installed(self, *settings: str) -> Done:
        """A first install with its retries; between two tries the release is uninstalled."""
        remediation = self.spec["install"]["remediation"]
        for left in range(remediation["retries"], -1, -1):
            done = self._proven("install", *settings)
            if done.code == 0 or not (left or remediation["remediateLastFailure"]):
                return done
            self._helm("uninstall", *self._wait("uninstall")).ok()
        return done

    def changed(self, *settings: str) -> Done:
        """An upgrade; a failed one is rolled back."""
        remediation = self.spec["upgrade"]["remediation"]
        assert (remediation["strategy"], remediation["retries"]) == ("rollback", 0)
        history = json.loads(self._helm("history", "-o", "json").ok().out)
        # Flux goes back to the last release that it knows to be good; where there is none, it does nothing.
        good = [h["revision"] for h in history if h["status"] in ("deployed", "superseded")]
        done = self._proven("upgrade", *settings)
        if done.code and remediation["remediateLastFailure"] and good:
            self._helm("rollback", str(good[-1]), *self._wait("rollback")).ok()
        return done

    def status(self) -> str:
        return str(json.loads(self._helm("status", "-o", "json").ok().out)["info"]["status"])

    def _proven(self, action: str, *settings: str) -> Done:
        values = ["-f", str(LAB_VALUES), *(word for s in settings for word in ("--set", s))]
        done = self._helm(action, str(CHART), "--take-ownership", *self._wait(action), *values)
        if done.code == 0 and self.spec["test"]["enable"]:
            done = self._helm("test", "--timeout", self._timeout("test"))
        return done

    def _wait(self, action: str) -> list[str]:
        hooks_only = self.spec.get(action, {}).get("disableWait", False)
        return [f"--wait={'hookOnly' if hooks_only else 'watcher'}", "--timeout", self._timeout(action)]

    def _timeout(self, action: str) -> str:
        return str(self.spec.get(action, {}).get("timeout", self.spec["timeout"]))

    def _helm(self, action: str, *words: str) -> Done:
        if action not in ("status", "history"):
            self.actions.append(action)
        return self.release.cluster.helm(action, self.release.name, *words, "-n", self.release.namespace)


@pytest.fixture(scope="module")
def flux(cluster: Cluster) -> Iterator[Flux]:
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()
    cluster.namespace(NAMESPACE)
    yield Flux(Release(cluster, "cache", NAMESPACE))
    cluster.helm("uninstall", "cache", "-n", NAMESPACE, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()


@pytest.fixture(scope="module")
def kept(flux: Flux) -> dict[str, str]:
    """After two installs that the probe refused: the claim's uid and what lies on it."""
    cluster, name = flux.release.cluster, f"{flux.release.name}-kv-cache"
    # The claim of an earlier life of this release, with blocks.
    flux.release.upgrade(*BARE, "hooks.probe.enabled=false").ok()
    uid = claim(flux.release)["metadata"]["uid"]
    look(cluster, NAMESPACE, name, "mkdir -p /mnt/kv-cache/blocks && echo kept > /mnt/kv-cache/blocks/mark")
    cluster.helm("uninstall", flux.release.name, "-n", NAMESPACE).ok()
    done = flux.installed(*BARE, IMPOSSIBLE)
    assert done.code != 0 and "MiB/s" in done.text, done.out[-3000:]
    return {"uid": uid, "name": name}


def mark(flux: Flux, kept: dict[str, str]) -> str:
    return look(flux.release.cluster, NAMESPACE, kept["name"], "cat /mnt/kv-cache/blocks/mark")


def test_a_refused_install_is_remedied_over_the_kept_claim_and_left_with_its_sentence(
    flux: Flux, kept: dict[str, str]
) -> None:
    """Uninstalled and installed again: neither takes the claim, and the last try stays to be looked at."""
    assert flux.actions == ["install", "uninstall", "install"]
    assert claim(flux.release)["metadata"]["uid"] == kept["uid"]
    assert mark(flux, kept) == "kept"
    assert flux.status() == "failed"
    assert "less than hooks.probe.floors asks" in json.dumps(flux.release.report("probe"))
    assert flux.release.cluster.get("job", "cache-probe", "-n", NAMESPACE)["status"]["failed"]


def test_better_values_go_on_from_there_and_are_proven(flux: Flux, kept: dict[str, str]) -> None:
    flux.changed(*BARE).ok()
    assert flux.actions[-2:] == ["upgrade", "test"]
    assert flux.status() == "deployed"
    assert claim(flux.release)["metadata"]["uid"] == kept["uid"]
    assert mark(flux, kept) == "kept"


def test_a_refused_upgrade_is_rolled_back_to_what_was_proven(flux: Flux, kept: dict[str, str]) -> None:
    done = flux.changed(*BARE, IMPOSSIBLE)
    assert done.code != 0 and "MiB/s" in done.text, done.out[-3000:]
    assert flux.actions[-2:] == ["upgrade", "rollback"]
    assert flux.status() == "deployed"
    assert claim(flux.release)["metadata"]["uid"] == kept["uid"]
    assert mark(flux, kept) == "kept"
    flux.release.test()
