"""Uninstalling keeps the claim with its blocks, and nothing else."""

from __future__ import annotations

import pytest

from tests.cluster.harness import Release
from tests.patience import eventually

pytestmark = pytest.mark.cluster


def test_uninstall_leaves_the_claim_and_nothing_else(release: Release) -> None:
    cluster = release.cluster
    cluster.helm("uninstall", release.name, "-n", release.namespace).ok()
    kept = {f"persistentvolumeclaim/{release.name}-kv-cache"}

    eventually(lambda: cluster.objects(release.namespace) == kept, f"nothing but {kept}", every_s=2)
    wide = cluster.kubectl("get", "clusterroles,clusterrolebindings,storageclasses", "-o", "name").ok().out
    assert release.namespace not in wide
