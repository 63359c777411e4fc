"""Prometheus beside the lab while its tests run: configured by what the chart renders, asked by the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.harness import CHART, LAB_VALUES, Cluster
from tests.lab import scrape
from tests.lab.paths import Lab
from tests.lab.prometheus import Prometheus

EVERY_S = 2.0
ANNOTATED = "annotated"
# The same alerts, only sooner: each as soon as it is true, over windows that a test can wait for.
SOONER: dict[str, dict[str, Any]] = {
    "LlmdStorageHitRateFell": {"for": "0s", "window": "12s", "baseline": "10m"},
    "LlmdStorageCorruptBlocks": {},
    "LlmdStorageNotUsed": {"for": "0s"},
    "LlmdStorageWritesPaused": {"for": "0s"},
    "LlmdStorageNotFaster": {"for": "0s", "window": "20s"},
    "LlmdStorageBudgetNear": {"for": "0s"},
    # Long before the evictor has to remove anything: the other tests need their blocks.
    "LlmdStorageVolumeFull": {"for": "0s", "threshold": 0.5},
    # It looks every 10 s.
    "LlmdStorageEvictorStalled": {"for": "0s", "threshold": 16},
    "LlmdStorageHookFailed": {},
    "LlmdStoragePickerDown": {"for": "0s"},
    "LlmdStorageNoMetrics": {"for": "0s"},
}


def rendered(cluster: Cluster, release: str, namespace: str) -> list[dict[str, Any]]:
    """What the chart makes for the Prometheus operator, with the lab's values."""
    done = cluster.helm(
        *("template", release, str(CHART), "-n", namespace, "-f", str(LAB_VALUES)),
        *("--set", "global.monitoring.scrape=operator", "--set", "alerts.kind=operator"),
        *("--set-json", f"alerts.rules={json.dumps(SOONER)}"),
    )
    return [doc for doc in yaml.safe_load_all(done.ok().out) if doc]


@contextmanager
def watching(cluster: Cluster, the_lab: Lab, release: str, namespace: str) -> Iterator[Prometheus]:
    """A Prometheus that watches this release, whether it is there yet or not."""
    objects = rendered(cluster, release, namespace)

    def jobs(files: Path) -> list[dict[str, Any]]:
        monitors = [scrape.of_monitor(o, files) for o in objects if o["kind"] in ("PodMonitor", "ServiceMonitor")]
        # The lab's pods carry annotations too. They are found, and hardly scraped: all would be counted twice.
        found = scrape.of_annotations(files, ANNOTATED) | {"scrape_interval": "1d", "scrape_timeout": "10s"}
        return [*monitors, found]

    (rules,) = (o["spec"] for o in objects if o["kind"] == "PrometheusRule")
    one = Prometheus(the_lab)
    try:
        one.start(namespace, jobs, rules, EVERY_S)
        yield one
    finally:
        one.stop()


def firing(prometheus: Prometheus) -> set[str]:
    """The names of the alerts that fire now."""
    return {alert["labels"]["alertname"] for alert in prometheus.alerts() if alert["state"] == "firing"}


def fired(prometheus: Prometheus) -> set[str]:
    """The names of all alerts that have fired since Prometheus was started."""
    found = prometheus.query('group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1d]))')
    return {sample["metric"]["alertname"] for sample in found}
