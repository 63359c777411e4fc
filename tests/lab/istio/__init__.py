"""Istio's control plane as an add-on: istiod from its Go module, beside the API server.

Istio's own proxy comes only as an image, which no package registry has. So the template by which istiod deploys a
Gateway's proxy is ours: it runs plain Envoy, which takes everything from istiod by xDS as Istio's proxy does. What is
different for it is said in ``gateway.yaml`` and ``mesh.yaml``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from tests.lab import control, pki, versions
from tests.lab.errors import LabError
from tests.lab.gotools import GoTool, is_current, source
from tests.lab.inside import in_control
from tests.lab.paths import Lab
from tests.lab.proc import ADDON, Console, components, start, stop

HERE = Path(__file__).resolve().parent
NAME = "istiod"
NAMESPACE = "istio-system"
TOOL = GoTool("pilot-discovery", "istio", "istio.io/istio/pilot/cmd/pilot-discovery")
XDS_PORT = 15010

ENVIRONMENT = {
    "POD_NAMESPACE": NAMESPACE,
    "POD_NAME": NAME,
    "CLUSTER_ID": "Kubernetes",
    "REVISION": "default",
    "ENABLE_GATEWAY_API_INFERENCE_EXTENSION": "true",
    # Its own certificates are for proxies of a mesh: there is none, and they would be copied to every namespace.
    "ENABLE_CA_SERVER": "false",
    # A proxy gets the Secrets of its Gateway only when it has said who it is; here it says so without TLS.
    "XDS_AUTH_PLAINTEXT": "true",
    # Filters that only Istio's own Envoy has.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_DISABLE_MX_ALPN": "true",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
}


def crds() -> Path:
    return source(TOOL, "istio.io/istio") / "manifests" / "charts" / "base" / "files" / "crd-all.gen.yaml"


def injection(lab: Lab) -> str:
    """istiod's configuration of what it deploys: only the template of a Gateway."""
    template = (HERE / "gateway.yaml").read_text()
    for mark, value in {
        "@ENVOY_IMAGE@": versions.ENVOY_IMAGE,
        "@SHELL_IMAGE@": versions.BUSYBOX_IMAGE,
        "@XDS_ADDRESS@": lab.control_address,
        "@XDS_PORT@": str(XDS_PORT),
    }.items():
        template = template.replace(mark, value)
    return yaml.safe_dump({"policy": "disabled", "defaultTemplates": [], "templates": {"kube-gateway": template}})


def begin(c: Console, lab: Lab) -> None:
    """Starts istiod and waits until it serves its GatewayClass. Raises: LabError."""
    if not is_current(lab, TOOL):
        raise LabError("istiod is not built: run `python -m tests.lab build istiod`")
    folder = lab.run / NAME
    inject = folder / "var" / "lib" / "istio" / "inject"  # istiod looks there, below its working folder
    inject.mkdir(parents=True)
    (inject / "config").write_text(injection(lab))
    (inject / "values").write_text(
        json.dumps({"global": {"hub": "localhost", "tag": "1", "proxy": {"image": "envoy"}}})
    )
    c.run(control.kubectl_argv(lab, "apply", "--server-side", "--force-conflicts", "-f", str(crds())))
    control.apply_manifest(c, lab, json.dumps(_namespace()))
    flags = [
        f"--kubeconfig={pki.inner_kubeconfig(lab, 'admin')}",
        f"--meshConfig={HERE / 'mesh.yaml'}",
        "--networksConfig=/dev/null",
        f"--grpcAddr={lab.control_address}:{XDS_PORT}",
        "--secureGRPCAddr=",
        "--httpsAddr=",
        "--httpAddr=127.0.0.1:15080",
        "--monitoringAddr=127.0.0.1:15014",
        "--ctrlz_port=0",
    ]
    settings = [f"{k}={v}" for k, v in ENVIRONMENT.items()]
    start(
        lab,
        ADDON + NAME,
        [*in_control(lab), "env", "-C", folder, *settings, lab.bin / TOOL.program, "discovery", *flags],
    )
    c.until("Istio's GatewayClass", control.holds(lambda: _accepted(lab)))


def _namespace() -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _accepted(lab: Lab) -> bool:
    conditions = control.get_json(lab, "gatewayclass/istio").get("status", {}).get("conditions") or []
    return any(x["type"] == "Accepted" and x["status"] == "True" for x in conditions)


def end(lab: Lab) -> None:
    """Ends istiod and takes away what it made in the cluster, its CRDs and all objects of them included."""
    for one in components(lab):
        if one.name == ADDON + NAME:
            stop(lab, one)
    gone = ("--ignore-not-found", "--wait", "--timeout=300s")
    control.kubectl(lab, "delete", "gatewayclass", "istio", "istio-remote", *gone)
    control.kubectl(lab, "delete", "namespace", NAMESPACE, *gone)
    control.kubectl(lab, "delete", "-f", str(crds()), *gone)
    shutil.rmtree(lab.run / NAME, ignore_errors=True)
