"""A containerd store with every image unpacked, made once; each node's store is hard-linked from it.

Committed layers and blobs are never written again, so links do, and a node starts with all images in a second.
Folders of gigabytes (the engine environment) get into an image the same way: linked into its unpacked top layer.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from image import oci
from tests.lab import digest, images, teardown, versions
from tests.lab.errors import LabError
from tests.lab.paths import HERE, Lab
from tests.lab.proc import Console, output, succeeds, system_env
from tests.patience import CEILING_S

TEMPLATE = HERE / "manifests" / "containerd.toml"


def containerd_config(folder: Path, cni: Path) -> str:
    text = TEMPLATE.read_text()
    values = {"@DIR@": str(folder), "@CNI@": str(cni), "@PAUSE@": versions.PAUSE_IMAGE}
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


def store_digest(lab: Lab) -> str:
    """What the store is made from: every archive's recipe (a link is as good as its source: see images.vllm_spec)."""
    return digest.of_files([TEMPLATE, HERE / "golden.py"], *(f"{s.key}={s.digest}" for s in images.golden_specs(lab)))


def is_current(lab: Lab) -> bool:
    return digest.stamped(lab.golden / "sum", store_digest(lab))


def ctr(socket: Path, *words: str | Path) -> list[str]:
    return ["ctr", "-a", str(socket), "-n", "k8s.io", *map(str, words)]


def make(c: Console, lab: Lab) -> None:
    g = lab.golden
    for point in teardown.mounts_below(g):  # of a run that was killed while it unpacked
        output(["umount", "-l", point])
    shutil.rmtree(g, ignore_errors=True)
    g.mkdir(parents=True)
    (g / "config.toml").write_text(containerd_config(g, g / "cni"))
    socket = g / "c.sock"
    with (g / "log").open("w") as log:
        daemon = subprocess.Popen(
            ["containerd", "-c", str(g / "config.toml")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=system_env(),
        )
    try:
        c.until("the store's containerd", lambda: succeeds(ctr(socket, "version")))
        for spec in images.golden_specs(lab):
            c.say(f"unpacking {spec.name}")
            c.run(ctr(socket, "images", "import", images.archive(lab, spec.key)))
        top = top_layer(socket, oci.read(images.archive(lab, "vllm-cpu")))
        for bake in images.vllm_bakes(lab):
            link_tree(c, bake.source, top / bake.target.lstrip("/"))
    finally:
        daemon.terminate()
        try:
            daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait(timeout=5)
    (g / "sum").write_text(store_digest(lab) + "\n")


def first_lower(mounts: str) -> Path:
    """The topmost layer's folder in what ``ctr snapshots mounts`` prints for a read-only view."""
    m = re.search(r"lowerdir=([^:,\s]+)", mounts) or re.search(r"\s(/\S+/snapshots/\d+/fs)\s", mounts)
    if m is None:
        raise LabError(f"no layer folder in: {mounts.strip()}")
    return Path(m[1])


def top_layer(socket: Path, image: oci.Image) -> Path:
    """The folder of an image's unpacked top layer."""
    key = "llmd-bake"
    # A view of the parent's chain id, which is the name of its committed snapshot. One command makes it and says
    # where it is: nothing refers to a view, so containerd's collector may take it at any moment after.
    mounts = output(ctr(socket, "snapshots", "view", "--target", "/unused", key, image.chain_id))
    succeeds(ctr(socket, "snapshots", "rm", key))
    return first_lower(mounts)


def link_tree(c: Console, source: Path, target: Path) -> None:
    """The folder ``source`` as ``target``: linked file by file, or copied where the disk is another one."""
    c.say(f"linking {source}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        c.run(["cp", "-al", source, target])
    except LabError:
        c.say("another disk: copying instead")
        shutil.rmtree(target, ignore_errors=True)
        c.run(["cp", "-a", "--reflink=auto", source, target], timeout_s=3 * CEILING_S)


def node_store(c: Console, lab: Lab, folder: Path) -> None:
    """A node's own store below ``folder``: links, except for the databases, which each containerd writes."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    c.run(["cp", "-al", lab.golden / "root", root])
    for db in (lab.golden / "root").rglob("*.db"):
        if "snapshots" in db.relative_to(lab.golden / "root").parts:
            continue  # a file of an image
        own = root / db.relative_to(lab.golden / "root")
        own.unlink()
        shutil.copy2(db, own)
