"""Command prefixes that enter a namespace of the lab."""

from __future__ import annotations

from pathlib import Path

from tests.lab.paths import Lab, Node
from tests.lab.proc import component

NETNS_DIR = Path("/run/netns")


def in_control(lab: Lab) -> list[str]:
    """Runs what follows in the control plane's network."""
    return ["nsenter", f"--net={NETNS_DIR / lab.control_netns}"]


def in_node_net(node: Node) -> list[str]:
    return ["nsenter", f"--net={NETNS_DIR / node.netns}"]


def in_node(lab: Lab, node: Node) -> list[str]:
    """Runs what follows in the node's network, mount and UTS namespaces."""
    holder = component(lab, f"{node.name}/holder")
    return ["nsenter", "-t", str(holder.pid), "--net", "--mount", "--uts"]
