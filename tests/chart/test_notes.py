"""NOTES: what was proved, what was not, what to do next. It must not claim more than the hooks did."""

from __future__ import annotations

import pytest

from tests.chart import helm


def notes(scenario: str, *extra: str) -> str:
    args = ("install", "kv", helm.CHART, "-n", "inference", "--dry-run=client", "-f", helm.scenario_file(scenario))
    done = helm.helm(*args, *extra)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


# One for each text that the notes can have.
TOLD = ("default", "lab", "service", "external", "existing-claim", "static-nfs", "static-cephfs", "gateway-existing")
TOLD += ("gateway-custom", "everything", "lmcache", "no-cache", "model-image-keda")


@pytest.mark.parametrize("scenario", TOLD)
def test_they_say_what_to_do_next_and_how_to_clean_up(scenario: str) -> None:
    said = notes(scenario)
    for part in ("PROVED", "NOT PROVED", "NEXT:", "CLEANING UP"):
        assert part in said
    assert "<no value>" not in said and "%!" not in said
    assert "kubectl -n inference" in said
    if scenario == "existing-claim":
        assert "team-kv-cache is not touched" in said
    else:
        kept = scenario != "static-nfs"
        assert ("delete persistentvolumeclaim kv-kv-cache" in said) == kept
    assert ("The blocks stay on the filesystem" in said) == scenario.startswith("static-")
    assert ("WHEN THE PICKER IS DOWN" in said) == (scenario != "service")


def test_they_say_what_the_evictor_may_remove_and_where_it_announces_it() -> None:
    said = notes("default")
    assert "THE CACHE IS KEPT within 90 % of 18000Gi by kv-evictor" in said and "waits 300 s" in said
    said = notes("evictor", "--set", "evictor.config.budget_bytes=8388608,evictor.config.grace_s=0")
    assert "within 8388608 by" in said and "waits 0 s" in said
    assert "THE CACHE IS KEPT" not in notes("lmcache")


def test_what_was_switched_off_is_not_called_proved() -> None:
    said = notes("lab", "--set", "hooks.proof.enabled=false")
    proved, _, rest = said.partition("NOT PROVED")
    assert "proof" not in proved.partition("PROVED,")[2]
    assert "hooks.proof.enabled is false" in rest
    assert "could not look" in notes("lab", "--set", "hooks.allowInconclusive=true")
    assert "probe.throughput was set to warn" in notes("everything")


def test_what_could_not_be_looked_at_is_said() -> None:
    for key in ("clusterScope", "create"):
        _, _, rest = notes("lab", "--set", f"global.rbac.{key}=false").partition("NOT PROVED")
        assert "nodes, StorageClasses" in rest and f"global.rbac.{key} is false" in rest
    assert "global.rbac" not in notes("lab")
