"""Uninstalling keeps the claim with its blocks, and nothing else."""

from __future__ import annotations

import pytest

from tests.cluster.harness import CHANGED, Release, eventually

pytestmark = pytest.mark.cluster


def test_uninstall_leaves_the_claim_and_nothing_else(release: Release) -> None:
    cluster = release.cluster
    release.upgrade(*CHANGED).ok()  # a hook Job that failed would stay, with its log; let the last run be a good one
    cluster.helm("uninstall", release.name, "-n", release.namespace).ok()
    kept = {f"persistentvolumeclaim/{release.name}-kv-cache"}

    eventually(lambda: cluster.objects(release.namespace) == kept, 60, f"nothing but {kept}", 2)
    wide = cluster.kubectl("get", "clusterroles,clusterrolebindings,storageclasses", "-o", "name").ok().out
    assert release.namespace not in wide
