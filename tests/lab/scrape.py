"""Scrape configurations of Prometheus out of PodMonitors and ServiceMonitors, as its operator makes them. Pure.

But for where targets come from: out of the files that tests.lab.discover writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab.discover import word

Config = dict[str, Any]


def of_monitor(monitor: Mapping[str, Any], files: Path) -> Config:
    """The job of a monitor with one endpoint. files: the folder of what was discovered in its namespace.

    Of what a monitor may say, only what the chart's do is known here. Raises: KeyError for anything less.
    """
    kind, meta, spec = monitor["kind"], monitor["metadata"], monitor["spec"]
    pods = kind == "PodMonitor"
    (endpoint,) = spec["podMetricsEndpoints" if pods else "endpoints"]
    if unknown := endpoint.keys() - {"port", "path", "interval"}:
        raise ValueError(f"{kind}/{meta['name']}: {', '.join(sorted(unknown))} of an endpoint is not known here")
    where = "pod" if pods else "service"
    port = "pod_container_port_name" if pods else "endpointslice_port_name"
    return {
        "job_name": f"{kind[0].lower()}{kind[1:]}/{meta['namespace']}/{meta['name']}/0",
        "metrics_path": endpoint["path"],
        "file_sd_configs": [_discovered(files, "pod" if pods else "endpointslice")],
        "relabel_configs": [
            *(_keep(f"{where}_label_{word(k)}", v) for k, v in spec["selector"]["matchLabels"].items()),
            _keep(port, endpoint["port"]),
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)", "action": "drop"},
            *LABELS,
            {"target_label": "job", "replacement": f"{meta['namespace']}/{meta['name']}"},
        ],
    }


def of_annotations(files: Path, job: str = "annotated") -> Config:
    """The job that many configurations have for pods annotated prometheus.io/scrape. files: as above."""
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io_"
    return {
        "job_name": job,
        "file_sd_configs": [_discovered(files, "pod")],
        "relabel_configs": [
            _keep("pod_annotation_prometheus_io_scrape", "true"),
            {
                "source_labels": [f"{annotation}path"],
                "regex": "(.+)",
                "target_label": "__metrics_path__",
            },
            {
                "source_labels": ["__meta_kubernetes_pod_ip", f"{annotation}port"],
                "regex": r"(.+);(\d+)",
                "replacement": "$1:$2",
                "target_label": "__address__",
            },
            {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Pending|Failed|Succeeded)", "action": "drop"},
            *LABELS,
        ],
    }


# What the operator puts on every sample, and the rules and dashboards select by.
LABELS = [
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
]


def _discovered(files: Path, role: str) -> Config:
    return {"files": [str(files / f"{role}.json")]}


def _keep(label: str, value: str) -> Config:
    return {"source_labels": [f"__meta_kubernetes_{label}"], "regex": re.escape(value), "action": "keep"}
