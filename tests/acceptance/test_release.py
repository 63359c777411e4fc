"""`make release` twice: the same bytes; and what is made holds what is said of it, checked with everybody's tools."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.harness import ROOT
from tests.lab.paths import helm_program


def made(out: Path, *, umask: int = 0o022, key: Path | None = None) -> Path:
    """A release of the checkout as it is."""
    argv = [sys.executable, "-m", "release", "build", "--allow-changes", "--out", str(out)]
    argv += ["--helm", str(helm_program()), *(["--key", str(key)] if key else [])]
    done = subprocess.run(argv, cwd=ROOT, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def said(*argv: str | Path, cwd: Path | None = None, stdin: Path | None = None) -> str:
    with open(stdin or os.devnull) as given:
        done = subprocess.run(list(map(str, argv)), cwd=cwd, stdin=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "release"
    said("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file)
    return file


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    return made(tmp_path_factory.mktemp("first") / "out", key=key)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_same_commit_gives_the_same_bytes(first: Path, key: Path, tmp_path: Path) -> None:
    """Who rebuilds a release can tell that it is what the sources give; here with another umask, elsewhere."""
    one, two = files(first), files(made(tmp_path / "elsewhere" / "out", umask=0o077, key=key))
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_sums_and_signature_are_checked_with_everybodys_tools(first: Path, key: Path, tmp_path: Path) -> None:
    said("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS", cwd=first)
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"release@llm-d-storage {key.with_suffix('.pub').read_text()}")
    verify = ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "release@llm-d-storage", "-n", "file")
    said(*verify, "-s", first / "SHA256SUMS.sig", stdin=first / "SHA256SUMS")


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def test_both_platforms_are_whole_and_the_one_of_this_machine_runs(first: Path, tmp_path: Path) -> None:
    layout = first / "image"
    (named,) = json.loads((layout / "index.json").read_text())["manifests"]
    index = json.loads(blob(layout, named["digest"]).read_text())
    roots = {one["platform"]["architecture"]: unpacked(layout, one, tmp_path) for one in index["manifests"]}
    assert set(roots) == {"amd64", "arm64"}
    marks = {"amd64": b"\x3e", "arm64": b"\xb7"}  # e_machine of ELF
    for architecture, mark in marks.items():
        files = [f for f in roots[architecture].rglob("*") if f.is_file() and not f.is_symlink()]
        elf = {f: head[18:19] for f in files if (head := f.read_bytes()[:20]).startswith(b"\x7fELF")}
        # The connector goes into containers whose processor may be another.
        native = {f for f in elf if f.parent.name == "_native"}
        assert {elf[f] for f in native} == set(marks.values())
        assert len(elf) > 100 and {elf[f] for f in elf.keys() - native} == {mark}
    if os.geteuid() == 0 and platform.machine() == "x86_64":
        root = roots["amd64"]
        (root / "dev/null").touch()
        env = ["env", "-i", "PATH=/opt/llm-d-storage/bin:/usr/bin", "PYTHONPATH=/opt/llm-d-storage/lib"]
        enter = [*env, "/usr/sbin/chroot", "--userspec=1000:1000", root]
        assert said(*enter, "/usr/bin/sh", "-c", "llmd-kv --version").strip().startswith("llmd-kv ")
        assert "preflight" in said(*enter, "/usr/bin/python3", "-m", "llmd_storage_hooks", "--help")
        trust = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
        assert int(said(*enter, "/usr/bin/python3", "-c", trust)) > 100


def unpacked(layout: Path, platform_of: dict, tmp_path: Path) -> Path:
    root = tmp_path / platform_of["platform"]["architecture"]
    root.mkdir()
    for layer in json.loads(blob(layout, platform_of["digest"]).read_text())["layers"]:
        said("tar", "-xzf", blob(layout, layer["digest"]), "-C", root)
    return root
