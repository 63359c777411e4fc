"""The control plane: etcd, API server, controller manager and scheduler, and the way in from this machine."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from tests.lab import pki
from tests.lab.errors import LabError
from tests.lab.inside import in_control
from tests.lab.paths import HERE, Lab
from tests.lab.proc import Console, Word, component_log, output, start
from tests.patience import CEILING_S, PATIENCE

ETCD = "http://127.0.0.1:2379"
SERVICE_CIDR = "10.96.0.0/16"
POD_CIDR = "10.244.0.0/16"
PREFERRED_PORT = 16443  # the same kubeconfig then serves one run after another


def kubectl(lab: Lab, *words: str, timeout_s: float = CEILING_S) -> str:
    """kubectl's output. Raises: LabError with its message."""
    return output(kubectl_argv(lab, *words), timeout_s=timeout_s)


def kubectl_argv(lab: Lab, *words: str) -> list[str]:
    cache = lab.run / "kubectl-cache"
    return [str(lab.bin / "kubectl"), "--kubeconfig", str(lab.kubeconfig), f"--cache-dir={cache}", *words]


def get_json(lab: Lab, *words: str) -> Any:
    return json.loads(kubectl(lab, "get", *words, "-o", "json", timeout_s=60 * PATIENCE))


def holds(check: Callable[[], bool]) -> Callable[[], bool]:
    """A check that is simply not true yet when the API server cannot answer."""

    def tried() -> bool:
        try:
            return check()
        except LabError:
            return False

    return tried


def apply_manifest(c: Console, lab: Lab, text: str) -> None:
    c.run(kubectl_argv(lab, "apply", "--server-side", "--force-conflicts", "-f", "-"), stdin=text)


def start_api(c: Console, lab: Lab) -> None:
    """etcd, the API server, and the proxy that makes it reachable from here."""
    c.say("starting etcd and the API server")
    (lab.run / "etcd").mkdir(mode=0o700)
    ns = in_control(lab)
    etcd = [
        f"--data-dir={lab.run / 'etcd'}",
        "--unsafe-no-fsync",  # the lab's state dies with it: waiting for the disk would buy nothing
        "--log-level=warn",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
    ]
    start(lab, "etcd", [*ns, lab.bin / "etcd", *etcd])
    start(lab, "kube-apiserver", [*ns, lab.bin / "kube-apiserver", *_api_flags(lab)])
    _start_proxy(lab)
    c.until("the API server", lambda: _ready(lab))


def _ready(lab: Lab) -> bool:
    return holds(lambda: kubectl(lab, "get", "--raw", "/readyz", timeout_s=10 * PATIENCE) == "ok")()


def _api_flags(lab: Lab) -> list[str]:
    d = lab.pki
    return [
        f"--etcd-servers={ETCD}",
        f"--secure-port={pki.API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={lab.control_address}",
        f"--tls-cert-file={d}/api.crt",
        f"--tls-private-key-file={d}/api.key",
        f"--client-ca-file={d}/ca.crt",
        f"--cert-dir={lab.run}/apiserver",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={d}/sa.pub",
        f"--service-account-signing-key-file={d}/sa.key",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={d}/admin.crt",
        f"--kubelet-client-key={d}/admin.key",
        f"--kubelet-certificate-authority={d}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def _listener() -> socket.socket:
    for port in (PREFERRED_PORT, 0):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            s.close()
            continue
        s.listen(128)
        return s
    raise LabError("no free port on 127.0.0.1")


def _start_proxy(lab: Lab) -> None:
    with _listener() as s:
        port = s.getsockname()[1]
        argv: list[Word] = [sys.executable, "-I", HERE / "apiproxy.py", str(s.fileno()), "127.0.0.1", str(pki.API_PORT)]
        start(lab, "api-proxy", [*in_control(lab), *argv], pass_fds=[s.fileno()])
    text = pki.kubeconfig(lab, "admin", f"https://127.0.0.1:{port}")
    new = lab.kubeconfig.with_name(".kubeconfig.new")
    new.touch(mode=0o600)
    new.write_text(text)
    os.replace(new, lab.kubeconfig)


def start_controllers(c: Console, lab: Lab) -> None:
    """The controller manager and the scheduler; the rights of the nodes' proxies."""
    ns, d = in_control(lab), lab.pki
    manager = [
        f"--kubeconfig={pki.inner_kubeconfig(lab, 'controller-manager')}",
        f"--service-account-private-key-file={d}/sa.key",
        f"--root-ca-file={d}/ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={POD_CIDR}",
        "--bind-address=127.0.0.1",
        f"--cluster-signing-cert-file={d}/ca.crt",
        f"--cluster-signing-key-file={d}/ca.key",
    ]
    start(lab, "kube-controller-manager", [*ns, lab.bin / "kube-controller-manager", *manager])
    scheduler = [
        f"--kubeconfig={pki.inner_kubeconfig(lab, 'scheduler')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]
    start(lab, "kube-scheduler", [*ns, lab.bin / "kube-scheduler", *scheduler])
    apply_manifest(c, lab, (HERE / "manifests" / "nodes-rbac.yaml").read_text())


def explain_component(lab: Lab, name: str) -> str:
    return f"python -m tests.lab logs {name}   ({component_log(lab, name)})"
