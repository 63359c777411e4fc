# SPDX-License-Identifier: Apache-2.0
"""Preflight: read the cluster once, check everything, report."""

from __future__ import annotations

from importlib.resources import files

import yaml

from llmd_storage_hooks.core.errors import Unreachable
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.kube.objects import Unknown
from llmd_storage_hooks.core.kube.quantities import quantity
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.verdicts import Finding
from llmd_storage_hooks.preflight import parse
from llmd_storage_hooks.preflight.checks import (
    claims,
    cluster,
    devices,
    models,
    namespaces,
    nodes,
    rwx,
    secrets,
    storage,
)
from llmd_storage_hooks.preflight.collect import preflight_facts, without_cluster
from llmd_storage_hooks.preflight.config import PreflightConfig
from llmd_storage_hooks.preflight.facts import PreflightFacts


def rwx_table() -> tuple[rwx.Provisioner, ...]:
    """The provisioners of data/rwx.yaml."""
    text = files("llmd_storage_hooks").joinpath("data/rwx.yaml").read_text(encoding="utf-8")
    return rwx.table(yaml.safe_load(text))


def collect(config: PreflightConfig, kube: KubeApi | None = None) -> PreflightFacts:
    """Read the cluster. Without a cluster, every fact is Unknown."""
    try:
        return preflight_facts(kube or Kube.connect(), config)
    except Unreachable as error:
        return without_cluster(config, Unknown(str(error)))


def check(config: PreflightConfig, facts: PreflightFacts) -> list[Finding]:
    """All findings, in the order of the report."""
    resources = parse.resource_requests(config.workload)
    size_bytes = quantity(config.storage.size)
    storage_class, class_findings = storage.check(config, facts, rwx_table(), size_bytes)
    return [
        *cluster.check(config, facts),
        *nodes.check(config, facts, resources),
        *devices.check(config.accelerator, facts.device_claims),
        *namespaces.check(config, facts, resources, size_bytes, storage_class),
        *class_findings,
        *claims.check(config, facts, storage_class, size_bytes),
        *models.check(config, facts),
        *secrets.check(config, facts),
    ]


def run(config: PreflightConfig, kube: KubeApi | None = None) -> HookResult:
    """Blocks up to: a call timeout of the API client for each object that is read."""
    return HookResult(check(config, collect(config, kube)))
