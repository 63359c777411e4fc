"""Scrape configurations out of monitors, and what is discovered for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab import discover, scrape

FILES = Path("/files")


def monitor(kind: str = "PodMonitor", **endpoint: str) -> dict[str, Any]:
    endpoints = "podMetricsEndpoints" if kind == "PodMonitor" else "endpoints"
    return {
        "kind": kind,
        "metadata": {"name": "kv-evictor", "namespace": "inference"},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/component": "evictor"}},
            endpoints: [{"port": "metrics", "path": "/metrics", "interval": "15s"} | endpoint],
        },
    }


def kept(job: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a target with these labels stays, as Prometheus decides it."""
    for rule in job["relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in rule.get("source_labels", []))
        matches = re.fullmatch(rule.get("regex", "(.*)"), value) is not None
        if (rule.get("action") == "keep" and not matches) or (rule.get("action") == "drop" and matches):
            return False
    return True


POD = {
    "__meta_kubernetes_pod_label_app_kubernetes_io_component": "evictor",
    "__meta_kubernetes_pod_container_port_name": "metrics",
    "__meta_kubernetes_pod_phase": "Running",
}


def test_a_pod_monitor_keeps_its_pods_and_their_port() -> None:
    job = scrape.of_monitor(monitor(), FILES)
    assert kept(job, POD)
    for label, other in (
        ("label_app_kubernetes_io_component", "epp"),
        ("container_port_name", "http"),
        ("phase", "Failed"),
    ):
        assert not kept(job, POD | {f"__meta_kubernetes_pod_{label}": other})
    assert job["file_sd_configs"] == [{"files": ["/files/pod.json"]}]


def test_a_service_monitor_looks_at_the_service() -> None:
    job = scrape.of_monitor(monitor("ServiceMonitor"), FILES)
    service = {
        "__meta_kubernetes_service_label_app_kubernetes_io_component": "evictor",
        "__meta_kubernetes_endpointslice_port_name": "metrics",
    }
    assert kept(job, service)
    assert not kept(job, service | {"__meta_kubernetes_endpointslice_port_name": "grpc"})


def test_what_is_not_known_here_is_refused() -> None:
    with pytest.raises(ValueError, match="scheme of an endpoint is not known here"):
        scrape.of_monitor(monitor(scheme="https"), FILES)


def test_annotated_pods_are_kept() -> None:
    job = scrape.of_annotations(FILES)
    assert kept(job, {"__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true"})
    assert not kept(job, {"__meta_kubernetes_pod_annotation_prometheus_io_scrape": "false"})
    assert not kept(job, {})


def pod(**status: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "kv-evictor-a",
            "namespace": "inference",
            "labels": {"app.kubernetes.io/component": "evictor"},
            "annotations": {"prometheus.io/scrape": "true"},
        },
        "spec": {"containers": [{"name": "evictor", "ports": [{"name": "metrics", "containerPort": 9464}]}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", **status},
    }


def test_a_pod_is_discovered_with_the_labels_that_are_asked_for() -> None:
    (group,) = discover.of_pods([pod()])
    assert group["targets"] == ["10.0.0.1:9464"]
    assert kept(scrape.of_monitor(monitor(), FILES), group["labels"])
    assert kept(scrape.of_annotations(FILES), group["labels"])
    assert not discover.of_pods([pod(podIP="")]), "it has no address yet"


def test_a_service_is_discovered_through_its_slices() -> None:
    service = {"metadata": {"name": "kv-evictor", "namespace": "inference", "labels": pod()["metadata"]["labels"]}}
    slices = [
        {
            "metadata": {"name": "x", "namespace": "inference", "labels": {"kubernetes.io/service-name": "kv-evictor"}},
            "ports": [{"name": "grpc", "port": 9002}, {"name": "metrics", "port": 9464}],
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"name": "kv-evictor-a"}}],
        }
    ]
    found = discover.of_slices(slices, [service], [pod()])
    job = scrape.of_monitor(monitor("ServiceMonitor"), FILES)
    assert [g["targets"] for g in found if kept(job, g["labels"])] == [["10.0.0.1:9464"]]
    assert found[0]["labels"]["__meta_kubernetes_pod_name"] == "kv-evictor-a"
