"""Faults that tests put into a running lab."""

from __future__ import annotations

import os
import signal

from tests.lab import net, teardown
from tests.lab.errors import LabError
from tests.lab.inside import NETNS_DIR
from tests.lab.paths import Lab
from tests.lab.proc import component, components

# The CSI driver starts one ceph-fuse a volume by itself; together they are a node's storage clients.
NODE_CLIENTS = "ceph-fuse"


def pids_of(lab: Lab, name: str) -> list[int]:
    """The live processes of a component. ``n1/ceph-fuse`` means every CephFS mount of node n1."""
    node, _, part = name.rpartition("/")
    if node and part == NODE_CLIENTS:
        return _storage_clients(lab, node)
    c = component(lab, name)
    if not c.alive:
        raise LabError(f"{name} (pid {c.pid}) has ended already")
    return [c.pid]


def _storage_clients(lab: Lab, node: str) -> list[int]:
    inode = os.stat(NETNS_DIR / net.node_named(lab, node).netns).st_ino
    found = [
        p for p in teardown.processes(lab) if teardown.name_of(p) == NODE_CLIENTS and teardown.netns_of(p) == inode
    ]
    if not found:
        raise LabError(f"{node} has no CephFS volume mounted now")
    return sorted(found)


def names(lab: Lab) -> list[str]:
    return [c.name for c in components(lab)] + [f"{n.name}/{NODE_CLIENTS}" for n in lab.nodes]


def send(lab: Lab, name: str, sig: signal.Signals) -> list[int]:
    """Sends a signal to every process of a component; returns their pids."""
    pids = pids_of(lab, name)
    for p in pids:
        os.kill(p, sig)
    return pids


def cut(lab: Lab, node: str) -> None:
    net.set_link(lab, net.node_named(lab, node), up=False)


def mend(lab: Lab, node: str) -> None:
    net.set_link(lab, net.node_named(lab, node), up=True)
