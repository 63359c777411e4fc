"""A proof of the lab itself, apart from the project: volumes, nodes, names, quotas, images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.lab import control, images, versions
from tests.lab.errors import LabError
from tests.lab.paths import HERE, Lab
from tests.lab.proc import Console
from tests.patience import CEILING_S

NAMESPACE = "lab-smoke"


@dataclass(slots=True)
class Smoke:
    """The checks in order; each later one may rely on those before it."""

    lab: Lab
    console: Console
    pods: list[dict[str, Any]] = field(default_factory=list)
    volume: str = ""

    def kubectl(self, *words: str, timeout_s: float = CEILING_S) -> str:
        return control.kubectl(self.lab, "-n", NAMESPACE, *words, timeout_s=timeout_s)

    def until(self, what: str, ready: Callable[[], bool]) -> None:
        self.console.until(what, control.holds(ready))

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "pods of both nodes share an RWX volume", self.shared_volume
        yield "exec; a file crosses nodes", self.file_crosses
        yield "logs", self.logs
        yield "a Job finds the Service by name and both pods behind it", self.names
        yield "the volume's quota is enforced", self.quota
        yield "the RWO-only class binds ReadWriteOnce and refuses ReadWriteMany", self.rwo_only
        yield "every image is on every node", self.all_images
        yield "deleting the claim deletes the volume and its folder", self.deletion

    def shared_volume(self) -> str:
        control.apply_manifest(self.console, self.lab, (HERE / "manifests" / "smoke.yaml").read_text())
        self.kubectl("rollout", "status", "deployment/web", "--timeout=300s")
        self.pods = control.get_json(self.lab, "-n", NAMESPACE, "pods", "-l", "app=web")["items"]
        nodes = sorted(p["spec"]["nodeName"] for p in self.pods)
        assert nodes == sorted(n.name for n in self.lab.nodes), f"the pods are on {nodes}"
        claim = control.get_json(self.lab, "-n", NAMESPACE, "pvc/shared")
        assert claim["status"]["phase"] == "Bound", claim["status"]
        self.volume = claim["spec"]["volumeName"]
        return f"{self.volume} on {', '.join(nodes)}"

    def _exec(self, pod: int, script: str) -> str:
        return self.kubectl("exec", self.pods[pod]["metadata"]["name"], "--", "sh", "-c", script).strip()

    def file_crosses(self) -> str:
        uid = self._exec(0, "echo hello >/data/x; id -u")
        seen = self._exec(1, "cat /data/x")
        assert (uid, seen) == ("1000", "hello"), (uid, seen)
        return f"uid {uid}"

    def logs(self) -> str:
        text = self.kubectl("logs", self.pods[0]["metadata"]["name"]).strip()
        assert text.startswith("python 3"), text
        return text.splitlines()[0]

    def names(self) -> str:
        control.apply_manifest(self.console, self.lab, (HERE / "manifests" / "smoke-job.yaml").read_text())
        self.kubectl("wait", "--for=condition=Complete", "--timeout=300s", "job/client")
        return self.kubectl("logs", "job/client").strip()

    def quota(self) -> str:
        said = self._exec(0, "dd if=/dev/zero of=/data/big bs=1M count=200 2>&1; rm -f /data/big")
        assert "quota exceeded" in said.lower(), said
        return "64 MiB claim, 200 MiB written: refused"

    def rwo_only(self) -> str:
        def phase(claim: str) -> str:
            return str(control.get_json(self.lab, "-n", NAMESPACE, f"pvc/{claim}")["status"]["phase"])

        self.until("the ReadWriteOnce claim", lambda: phase("single") == "Bound")
        said = ""

        def refused() -> bool:
            nonlocal said
            events = control.get_json(self.lab, "-n", NAMESPACE, "events")["items"]
            words = [e["message"] for e in events if e["involvedObject"]["name"] == "refused"]
            said = next((w for w in words if "one node only" in w), "")
            return bool(said)

        self.until("the refusal of the ReadWriteMany claim", refused)
        assert phase("refused") == "Pending", phase("refused")
        return said[said.index("rwo.lab.local") :][:100]

    def all_images(self) -> str:
        want = {s.name for s in images.golden_specs(self.lab)} | {images.project_name()}
        for node in control.get_json(self.lab, "nodes")["items"]:
            have = {n for i in node["status"]["images"] for n in i.get("names", [])}
            assert want - {versions.PAUSE_IMAGE} <= have, f"{node['metadata']['name']} lacks {sorted(want - have)}"
        return ", ".join(sorted(n.removeprefix("localhost/") for n in want))

    def deletion(self) -> str:
        self.cleanup()
        gone = f"pv/{self.volume}"
        self.console.until(
            "the volume's deletion",
            lambda: not control.kubectl(self.lab, "get", gone, "--ignore-not-found").strip(),
        )
        folder = self.lab.ceph / "root" / "volumes" / self.volume
        assert not folder.exists(), f"{folder} is still there"
        return self.volume

    def cleanup(self) -> None:
        control.kubectl(self.lab, "delete", "ns", NAMESPACE, "--ignore-not-found", "--timeout=300s")


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    passed: bool
    said: str
    seconds: float


def run(lab: Lab) -> Iterator[Outcome]:
    """Yields each check's outcome; stops at the first that fails (those after it rely on it)."""
    lab.log.mkdir(parents=True, exist_ok=True)
    smoke = Smoke(lab, Console(lab.log / "smoke.log"))
    smoke.cleanup()
    for name, check in smoke.checks():
        begun = time.monotonic()
        try:
            said, passed = check(), True
        except (LabError, AssertionError) as e:
            said, passed = str(e), False
        yield Outcome(name, passed, said, time.monotonic() - begun)
        if not passed:
            return
