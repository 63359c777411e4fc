"""Day two: an upgrade goes through the same checks, and does not touch the claim.

The refused one comes first: its hook Job stays with its log, until a good run takes it away.
"""

from __future__ import annotations

import pytest

from tests.cluster.harness import CHANGED, Release

pytestmark = pytest.mark.cluster


def claim(release: Release) -> tuple[str, str]:
    found = release.cluster.get("pvc", f"{release.name}-kv-cache", "-n", release.namespace)
    return found["metadata"]["uid"], found["spec"]["volumeName"]


def test_a_refused_upgrade_leaves_the_running_release_alone(release: Release) -> None:
    pods = release.wait_ready()
    done = release.upgrade("modelserver.hfToken.enabled=true")
    assert done.code != 0
    assert "llm-d-hf-token" in done.out
    assert release.wait_ready() == pods


def test_an_upgrade_is_proven_and_keeps_the_claim(release: Release) -> None:
    before, proved = claim(release), release.report("proof")["startedAt"]
    release.upgrade(*CHANGED).ok()
    release.wait_deployed()
    assert claim(release) == before
    assert release.report("proof")["startedAt"] > proved
    assert all(p["metadata"]["annotations"]["reason"] == "test" for p in release.ready_pods())
