"""The network: a bridge in the control plane's namespace, and each node's namespace on it by a cable of its own."""

from __future__ import annotations

from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.paths import Lab, Node
from tests.lab.proc import Console, output, succeeds


def create(c: Console, lab: Lab) -> None:
    cp = lab.control_netns
    c.run(["ip", "netns", "add", cp])
    _ip(c, cp, "link set lo up")
    _ip(c, cp, "link add br0 type bridge")
    _ip(c, cp, f"addr add {lab.control_address}/24 dev br0")
    _ip(c, cp, "link set br0 up")
    _forward(c, cp)
    for node in lab.nodes:
        _node(c, lab, node)


def _node(c: Console, lab: Lab, node: Node) -> None:
    ns, cp = node.netns, lab.control_netns
    c.run(["ip", "netns", "add", ns])
    _ip(c, ns, "link set lo up")
    c.run(["ip", "link", "add", node.link, "netns", cp, "type", "veth", "peer", "name", "eth0", "netns", ns])
    _ip(c, cp, f"link set {node.link} master br0 up")
    _ip(c, ns, f"addr add {node.address}/24 dev eth0")
    _ip(c, ns, "link set eth0 up")
    _ip(c, ns, f"route add default via {lab.control_address}")
    _forward(c, ns)
    for other in lab.nodes:
        if other != node:
            _ip(c, ns, f"route add {other.pod_cidr} via {other.address}")
    _ip(c, cp, f"route add {node.pod_cidr} via {node.address}")


def _ip(c: Console, netns: str, words: str) -> None:
    c.run(["ip", "-n", netns, *words.split()])


def _forward(c: Console, netns: str) -> None:
    c.run(["ip", "netns", "exec", netns, "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def node_named(lab: Lab, name: str) -> Node:
    for node in lab.nodes:
        if node.name == name:
            return node
    raise LabError(f"no node is named {name!r}; there are: {', '.join(n.name for n in lab.nodes)}")


def set_link(lab: Lab, node: Node, *, up: bool) -> None:
    """Cuts a node's cable (API and storage are gone for it), or mends it."""
    if not Path("/run/netns", lab.control_netns).exists():
        raise LabError("the lab is not up: run `python -m tests.lab up`")
    output(["ip", "-n", lab.control_netns, "link", "set", node.link, "up" if up else "down"])


def link_is_up(lab: Lab, node: Node) -> bool:
    words = ["ip", "-n", lab.control_netns, "-o", "link", "show", node.link, "up"]
    return succeeds(words) and node.link in output(words)
