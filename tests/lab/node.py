"""One node: its namespaces, containerd, kubelet and kube-proxy."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab import cgroups, golden, pki
from tests.lab.control import POD_CIDR
from tests.lab.inside import in_node, in_node_net
from tests.lab.paths import Lab, Node
from tests.lab.proc import Console, component_log, start, succeeds

# What two nodes would share by path is a tmpfs of each node's own.
OWN_FOLDERS = ("/var/lib/kubelet", "/var/log/containers", "/var/lib/cni", "/run/containerd", "/run/netns")
HOLDER = """set -e
hostname {name}
mount --make-rprivate /
mount --make-rshared /
for d in {folders}; do mkdir -p $d; mount -t tmpfs lab $d; done
echo ready
exec sleep infinity
"""


def start_runtime(c: Console, lab: Lab, node: Node) -> None:
    """The namespaces, the image store and containerd: all that can be had before the API server is there."""
    d = lab.node_dir(node)
    ctd, cni = d / "containerd", d / "cni"
    for folder in (d / "kubelet", d / "pods", cni, ctd):
        folder.mkdir(parents=True, exist_ok=True)
    cgroups.create(node.netns)
    golden.node_store(c, lab, ctd)
    (ctd / "config.toml").write_text(golden.containerd_config(ctd, cni))
    (cni / "10-lab.conflist").write_text(json.dumps(_cni(node, d), indent=1))
    script = HOLDER.format(name=node.name, folders=" ".join(OWN_FOLDERS))
    holder = f"{node.name}/holder"
    start(lab, holder, [*in_node_net(node), "unshare", "--mount", "--uts", "sh", "-c", script])
    c.until(f"the namespaces of {node.name}", lambda: "ready" in component_log(lab, holder).read_text())
    start(lab, f"{node.name}/containerd", [*in_node(lab, node), "containerd", "-c", ctd / "config.toml"])
    socket = lab.containerd_socket(node)
    c.until(f"containerd of {node.name}", lambda: succeeds(["ctr", "-a", socket, "version"]))


def start_kubelet(lab: Lab, node: Node) -> None:
    d = lab.node_dir(node)
    ns = in_node(lab, node)
    (d / "kubelet.yaml").write_text(json.dumps(_kubelet(lab, node, d), indent=1))
    (d / "proxy.yaml").write_text(json.dumps(_proxy(lab, node), indent=1))
    kubelet = [
        f"--config={d}/kubelet.yaml",
        f"--kubeconfig={pki.inner_kubeconfig(lab, f'kubelet-{node.name}')}",
        f"--root-dir={d}/kubelet",
        f"--cert-dir={d}/pki",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--v=2",
    ]
    start(lab, f"{node.name}/kubelet", [*ns, lab.bin / "kubelet", *kubelet])
    start(lab, f"{node.name}/kube-proxy", [*ns, lab.bin / "kube-proxy", f"--config={d}/proxy.yaml", "--v=2"])


def _cni(node: Node, d: Path) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": node.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(d / "ipam"),
        },
    }
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, port_map]}


def _kubelet(lab: Lab, node: Node, d: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{lab.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.netns}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{lab.containerd_socket(node)}",
        "podLogsDir": f"{d}/pods",
        "oomScoreAdj": 0,
        "tlsCertFile": f"{lab.pki}/node-{node.name}.crt",
        "tlsPrivateKeyFile": f"{lab.pki}/node-{node.name}.key",
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "resolvConf": "/dev/null",
        # Both nodes see the whole machine's disk and memory: evict only when that is really used up.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,  # an image that is collected cannot be pulled again
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(lab: Lab, node: Node) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(pki.inner_kubeconfig(lab, "proxy"))},
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0, "min": 0},  # those are the machine's own settings
    }
