"""Certificates and kubeconfig files of one run."""

from __future__ import annotations

from pathlib import Path

from tests.lab.paths import Lab
from tests.lab.proc import Console, Word

API_PORT = 6443
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "csi": "/CN=lab-csi",
}
EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# The lab lives for hours; a month forgives a machine that was asleep.
DAYS = "30"


def _service_names() -> str:
    name = "kubernetes.default.svc.cluster.local"
    parts = name.split(".")
    names = [".".join(parts[:n]) for n in (1, 2, 3, 5)]
    return ",".join(f"DNS:{n}" for n in names)


def _certificate(c: Console, folder: Path, name: str, subject: str, alt_names: str = "") -> None:
    key, request, out = (folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
    c.run(["openssl", "req", *EC_KEY, "-keyout", key, "-out", request, "-subj", subject])
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alt_names}\n" if alt_names else "")
    ca: list[Word] = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", DAYS]
    c.run(["openssl", "x509", "-req", "-in", request, *ca, "-out", out, "-extfile", extensions])


def create(c: Console, lab: Lab) -> None:
    d = lab.pki
    d.mkdir(parents=True, mode=0o700)
    ca: list[Word] = ["-keyout", d / "ca.key", "-out", d / "ca.crt", "-subj", "/CN=lab-ca", "-days", DAYS]
    c.run(["openssl", "req", "-x509", *EC_KEY, *ca])
    c.run(["openssl", "genrsa", "-out", d / "sa.key", "2048"])
    c.run(["openssl", "rsa", "-in", d / "sa.key", "-pubout", "-out", d / "sa.pub"])
    addresses = f"IP:{lab.control_address},IP:127.0.0.1,IP:10.96.0.1"
    _certificate(c, d, "api", "/CN=kube-apiserver", f"{addresses},DNS:localhost,{_service_names()}")
    clients = {**CLIENTS, **{f"kubelet-{n.name}": f"/O=system:nodes/CN=system:node:{n.name}" for n in lab.nodes}}
    for name, subject in clients.items():
        _certificate(c, d, name, subject)
    for n in lab.nodes:
        _certificate(c, d, f"node-{n.name}", f"/CN={n.name}", f"IP:{n.address},DNS:{n.name}")
    server = f"https://{lab.control_address}:{API_PORT}"
    for name in clients:
        inner_kubeconfig(lab, name).write_text(kubeconfig(lab, name, server))


def inner_kubeconfig(lab: Lab, user: str) -> Path:
    """A kubeconfig for programs inside the lab's namespaces."""
    return lab.pki / f"{user}.kubeconfig"


def kubeconfig(lab: Lab, user: str, server: str) -> str:
    return f"""apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {{server: "{server}", certificate-authority: {lab.pki}/ca.crt}}
users:
- name: {user}
  user: {{client-certificate: {lab.pki}/{user}.crt, client-key: {lab.pki}/{user}.key}}
contexts:
- name: lab
  context: {{cluster: lab, user: {user}}}
current-context: lab
"""
