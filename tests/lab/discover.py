"""Kubernetes discovery for a Prometheus that is built without it, as Debian's is: the same labels, by way of files.

What Prometheus' own discovery would find in a namespace (roles pod and endpointslice) is written into one file a role,
for file_sd_configs; relabelling then sees what it would see on any cluster.
"""

from __future__ import annotations

import json
import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.lab.paths import Lab

Object = Mapping[str, Any]
Group = dict[str, Any]  # of file_sd: targets and labels
ROLES = ("pod", "endpointslice")
EVERY_S = 1.0
_META = "__meta_kubernetes_"

logger = logging.getLogger(__name__)


def word(text: str) -> str:
    """A Kubernetes label or annotation as Prometheus spells it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", text)


def of_pods(pods: Sequence[Object]) -> list[Group]:
    """One target a port of each container, and one for a container without any."""
    groups = []
    for pod in pods:
        address = pod.get("status", {}).get("podIP")
        if not address:
            continue
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or [{}]:
                labels = {**_pod(pod), "pod_container_name": container["name"]}
                labels["pod_container_port_name"] = port.get("name", "")
                number = port.get("containerPort")
                groups.append(_group(f"{address}:{number}" if number else address, labels))
    return groups


def of_slices(slices: Sequence[Object], services: Sequence[Object], pods: Sequence[Object]) -> list[Group]:
    """One target a port and address of each EndpointSlice, with what is known of its service and its pod."""
    service_of = {one["metadata"]["name"]: one for one in services}
    pod_of = {one["metadata"]["name"]: one for one in pods}
    groups = []
    for one in slices:
        service = service_of.get(one["metadata"].get("labels", {}).get("kubernetes.io/service-name", ""))
        for endpoint in one.get("endpoints") or []:
            pod = pod_of.get((endpoint.get("targetRef") or {}).get("name", ""))
            labels = {"namespace": one["metadata"]["namespace"]}
            labels |= _pod(pod) if pod else {}
            labels |= dict(_meta(service, "service")) if service else {}
            for port in one.get("ports") or []:
                named = labels | {"endpointslice_port_name": port.get("name") or ""}
                groups += [_group(f"{address}:{port['port']}", named) for address in endpoint["addresses"]]
    return groups


def _pod(pod: Object) -> dict[str, str]:
    found = dict(_meta(pod, "pod"))
    return found | {
        "namespace": pod["metadata"]["namespace"],
        "pod_ip": pod["status"].get("podIP", ""),
        "pod_phase": pod["status"]["phase"],
    }


def _meta(thing: Object, kind: str) -> Iterator[tuple[str, str]]:
    meta = thing["metadata"]
    yield f"{kind}_name", meta["name"]
    for what in ("label", "annotation"):
        for key, value in (meta.get(f"{what}s") or {}).items():
            yield f"{kind}_{what}_{word(key)}", value


def _group(target: str, labels: Mapping[str, str]) -> Group:
    return {"targets": [target], "labels": {f"{_META}{key}": value for key, value in labels.items()}}


class Discovery:
    """Keeps the files of one namespace. Thread: one of its own, from start() to stop()."""

    def __init__(self, lab: Lab, namespace: str, folder: Path) -> None:
        config = yaml.safe_load(lab.kubeconfig.read_text())
        context = ssl.create_default_context(cafile=str(lab.pki / "ca.crt"))
        context.load_cert_chain(lab.pki / "admin.crt", lab.pki / "admin.key")
        self._client = httpx.Client(base_url=config["clusters"][0]["cluster"]["server"], verify=context, timeout=10)
        self._namespace, self._folder = namespace, folder
        self._written: dict[str, str] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        for role in ROLES:
            self._write(role, [])
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join(15)
        self._client.close()

    def _run(self) -> None:
        while not self._ending.wait(EVERY_S):
            try:
                pods = self._items("/api/v1", "pods")
                slices = self._items("/apis/discovery.k8s.io/v1", "endpointslices")
                services = self._items("/api/v1", "services")
            except (httpx.HTTPError, ValueError, KeyError) as error:
                logger.warning("discovery: %r", error)  # what was found stays
                continue
            self._write("pod", of_pods(pods))
            self._write("endpointslice", of_slices(slices, services, pods))

    def _items(self, api: str, plural: str) -> list[Object]:
        answer = self._client.get(f"{api}/namespaces/{self._namespace}/{plural}")
        return list(answer.raise_for_status().json()["items"])

    def _write(self, role: str, groups: list[Group]) -> None:
        text = json.dumps(groups)
        if self._written.get(role) != text:
            new = self._folder / f".{role}.new"
            new.write_text(text)
            os.replace(new, self._folder / f"{role}.json")
            self._written[role] = text
