"""Is the lab up and well? Said as a list of complaints; an empty one means yes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.lab import control, digest, golden, net, storage
from tests.lab.deps import go_digest
from tests.lab.errors import LabError
from tests.lab.paths import HERE, Lab
from tests.lab.proc import components, succeeds


def made_from(lab: Lab) -> str:
    """A digest of what a run is made from: a run made from other things is not the lab one asked for."""
    code = [HERE / n for n in ("ceph.py", "control.py", "net.py", "node.py", "pki.py", "storage.py", "golden.py")]
    manifests = digest.files_under(HERE / "manifests")
    return digest.of_files([*code, *manifests], go_digest(), golden.store_digest(lab))


def mark(lab: Lab) -> None:
    """Notes at the end of `up` that this run is complete, and what it was made from."""
    (lab.run / "made-from").write_text(made_from(lab) + "\n")


@dataclass(frozen=True, slots=True)
class Health:
    running: bool  # there is a run, well or not
    complaints: list[str]

    @property
    def well(self) -> bool:
        return self.running and not self.complaints


def check(lab: Lab) -> Health:
    """Blocks up to some 20 s when the API server does not answer."""
    if not lab.run.exists():
        return Health(False, ["the lab is not up"])
    if not (lab.run / "made-from").exists():
        return Health(True, ["the last `up` did not come to its end"])
    own = [c for c in components(lab) if not c.addon]
    complaints = [f"{c.name} (pid {c.pid}) has ended" for c in own if not c.alive]
    complaints += [f"{c.name} is stopped: fault cont {c.name}" for c in own if c.stopped]
    complaints += [f"the link of {n.name} is cut" for n in lab.nodes if not net.link_is_up(lab, n)]
    if complaints:
        return Health(True, complaints)
    if not digest.stamped(lab.run / "made-from", made_from(lab)):
        complaints.append("it was made from other versions or an older lab code")
    return Health(True, complaints + _cluster(lab))


def _cluster(lab: Lab) -> list[str]:
    try:
        nodes = control.get_json(lab, "nodes")["items"]
        deployment = control.get_json(lab, "-n", "kube-system", "deployment/coredns")
        drivers = storage.registered(lab)
    except LabError as e:
        return [f"the API server does not answer: {str(e)[:200]}"]
    out = [f"node {n['metadata']['name']} is not ready" for n in nodes if not node_ready(n)]
    if len(nodes) != len(lab.nodes):
        out.append(f"{len(nodes)} of {len(lab.nodes)} nodes have registered")
    if not deployment.get("status", {}).get("availableReplicas"):
        out.append("cluster DNS is not available")
    if drivers != len(lab.nodes) * len(storage.DRIVERS):
        out.append("a storage driver is not registered on every node")
    if not succeeds(["timeout", "5", "stat", "-f", str(lab.ceph / "root")], timeout_s=8):
        out.append("the CephFS mount does not answer")
    return out


def node_ready(node: Any) -> bool:
    conditions = node.get("status", {}).get("conditions") or []
    return any(x["type"] == "Ready" and x["status"] == "True" for x in conditions)
