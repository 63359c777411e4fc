"""The storage classes: the upstream provisioner beside each driver's controller, and each driver on each node."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tests.lab import control, pki
from tests.lab.inside import in_control, in_node
from tests.lab.paths import HERE, Lab, Node
from tests.lab.proc import Console, Word, component_log, start


@dataclass(frozen=True, slots=True)
class Driver:
    key: str  # in component names and paths
    name: str  # as Kubernetes knows it
    flags: tuple[str, ...] = ()


DRIVERS = (Driver("csi", "cephfs.lab.local"), Driver("csi-rwo", "rwo.lab.local", ("-single-node",)))


def create(c: Console, lab: Lab) -> None:
    control.apply_manifest(c, lab, (HERE / "manifests" / "csi.yaml").read_text())
    for driver in DRIVERS:
        _start_controller(c, lab, driver)
        for node in lab.nodes:
            _start_node(lab, node, driver)
    want = len(lab.nodes) * len(DRIVERS)
    c.until("the drivers on every node", control.holds(lambda: registered(lab) == want))
    for driver in DRIVERS:
        c.until(f"{driver.name}'s provisioner", partial(_provisions, lab, driver))


def _provisions(lab: Lab, driver: Driver) -> bool:
    return "Started provisioner controller" in component_log(lab, f"{driver.key}-provisioner").read_text()


def registered(lab: Lab) -> int:
    nodes = control.get_json(lab, "csinodes")["items"]
    names = {d.name for d in DRIVERS}
    return sum(d["name"] in names for n in nodes for d in n["spec"].get("drivers") or [])


def _start_controller(c: Console, lab: Lab, driver: Driver) -> None:
    ns, socket = in_control(lab), lab.run / f"{driver.key}.sock"
    words: list[Word] = ["-driver", driver.name, *driver.flags, "-endpoint", socket, "-root", lab.ceph / "root"]
    start(lab, f"{driver.key}-controller", [*ns, lab.bin / "cephfs-csi", *words])
    c.until(f"{driver.name}'s controller", socket.exists)
    flags = [
        f"--csi-address={socket}",
        f"--kubeconfig={pki.inner_kubeconfig(lab, 'csi')}",
        "--extra-create-metadata",
        "--timeout=30s",
    ]
    start(lab, f"{driver.key}-provisioner", [*ns, lab.bin / "csi-provisioner", *flags])


def _start_node(lab: Lab, node: Node, driver: Driver) -> None:
    kubelet = lab.node_dir(node) / "kubelet"
    words: list[Word] = [
        "-driver",
        driver.name,
        *driver.flags,
        "-node",
        node.name,
        "-ceph-conf",
        lab.ceph / "ceph.conf",
    ]
    words += ["-endpoint", kubelet / "plugins" / driver.name / "csi.sock", "-register", kubelet / "plugins_registry"]
    start(lab, f"{node.name}/{driver.key}", [*in_node(lab, node), lab.bin / "cephfs-csi", *words])
