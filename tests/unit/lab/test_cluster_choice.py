"""A person with a cluster of their own would lose it to the lab's commands, or wait for a lab they do not need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.cluster import target
from tests.lab.errors import LabError
from tests.lab.paths import DEFAULT_HOME, engine_python, lab


def test_a_kubeconfig_of_another_cluster_is_used_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "config"
    own.write_text("{}")
    t = target({"KUBECONFIG": str(own), "LLMD_LAB_HOME": str(tmp_path / "lab")}, start=True)
    assert (t.kubeconfig, t.is_lab) == (own, False)


def test_without_one_it_is_the_lab(tmp_path: Path) -> None:
    t = target({"LLMD_LAB_HOME": str(tmp_path)})
    assert t.is_lab and t.kubeconfig is None
    assert t.helm.name == "helm" and t.kubectl.name == "kubectl"


def test_the_labs_own_kubeconfig_means_the_lab(tmp_path: Path) -> None:
    home = tmp_path / "lab"
    (home / "run").mkdir(parents=True)
    (home / "run" / "kubeconfig").write_text("{}")
    link = tmp_path / "link"
    link.symlink_to(home)
    t = target({"KUBECONFIG": str(link / "run" / "kubeconfig"), "LLMD_LAB_HOME": str(home)})
    assert t.is_lab and t.kubeconfig == home / "run" / "kubeconfig"


def test_a_kubeconfig_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="unset it to use the lab"):
        target({"KUBECONFIG": str(tmp_path / "none"), "LLMD_LAB_HOME": str(tmp_path)})


def test_the_home_is_resolved_for_the_mount_table(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert lab({"LLMD_LAB_HOME": str(tmp_path / "link")}).home == tmp_path / "real"
    assert str(lab({}).home).startswith(str(Path(DEFAULT_HOME).parent))
    assert engine_python({"LLMD_LAB_HOME": str(tmp_path)}) == tmp_path / "engine" / "current" / "bin" / "python"
