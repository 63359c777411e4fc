"""Where the lab keeps what it makes, and the names by which the machine knows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_HOME = "/var/lib/llm-d-storage-lab"
PREFIX = "llmd"  # of network namespaces and control groups
REPO = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Node:
    """One node: a network, a mount and a UTS namespace with its own containerd, kubelet and kube-proxy."""

    index: int

    @property
    def name(self) -> str:
        return f"n{self.index}"

    @property
    def netns(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def address(self) -> str:
        return f"10.240.0.{10 + self.index}"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def link(self) -> str:
        """The end of the node's cable that hangs on the control plane's bridge."""
        return f"v{self.index}"


@dataclass(frozen=True, slots=True)
class Lab:
    """Paths and addresses of one lab. ``home`` holds what is kept; ``home/run`` what one run makes."""

    home: Path
    nodes: tuple[Node, ...] = (Node(1), Node(2))

    control_netns: str = f"{PREFIX}-cp"
    control_address: str = "10.240.0.1"

    @property
    def bin(self) -> Path:
        return self.home / "bin"

    @property
    def helm_3(self) -> Path:
        return self.bin / "helm-3"

    @property
    def img(self) -> Path:
        return self.home / "img"

    @property
    def golden(self) -> Path:
        return self.home / "golden"

    @property
    def engine(self) -> Path:
        return self.home / "engine"

    @property
    def vllm_next(self) -> Path:
        """Goes before the engine's own packages on PYTHONPATH (`build vllm-next`)."""
        return self.home / "vllm-next"

    @property
    def lmcache(self) -> Path:
        """LMCache for the engine's Python, on its PYTHONPATH (`build lmcache`)."""
        return self.home / "lmcache"

    @property
    def model(self) -> Path:
        return self.home / "model"

    @property
    def argocd(self) -> Path:
        """What `build argocd` keeps: the program, its scripts and its manifests."""
        return self.home / "argocd"

    @property
    def flux(self) -> Path:
        """The CRDs of Flux."""
        return self.home / "flux"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def pids(self) -> Path:
        return self.run / "pid"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def ceph(self) -> Path:
        return self.run / "ceph"

    @property
    def steps_file(self) -> Path:
        return self.run / "steps.json"

    @property
    def kubeconfig(self) -> Path:
        """For programs of this machine: names the API server by its loopback address."""
        return self.run / "kubeconfig"

    def node_dir(self, node: Node) -> Path:
        return self.run / node.name

    def containerd_socket(self, node: Node) -> Path:
        return self.node_dir(node) / "containerd" / "c.sock"

    def netns_list(self) -> tuple[str, ...]:
        return (self.control_netns, *(n.netns for n in self.nodes))


def lab(env: Mapping[str, str] = os.environ) -> Lab:
    """The lab that LLMD_LAB_HOME names (links resolved: the mount table knows only real paths)."""
    return Lab(Path(env.get("LLMD_LAB_HOME") or DEFAULT_HOME).resolve())


def helm_program(env: Mapping[str, str] = os.environ) -> Path:
    """The lab's helm, or what LLMD_TEST_HELM names: the chart is tested with more than one."""
    return Path(env["LLMD_TEST_HELM"]) if env.get("LLMD_TEST_HELM") else lab(env).bin / "helm"


def engine_python(env: Mapping[str, str] = os.environ) -> Path:
    """The Python of the engine environment that was built last (``python -m tests.lab build engine``)."""
    return lab(env).engine / "current" / "bin" / "python"
