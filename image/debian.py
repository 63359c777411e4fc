"""The base of the project image: a Python and what it needs, out of Debian's packages.

They are unpacked and none of their scripts is run, so that any machine makes the base for any architecture. Which
packages: ``debian.lock`` names each with its version and digest. Where they come from: this machine's own sources of
apt say which mirror (or archive of old packages) to ask, and apt checks Debian's signature.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from image.command import Run
from image.digests import sha256_of

SUITE = "trixie"
PYTHON = "3.13"
LOCK = Path(__file__).with_name("debian.lock")
PACKAGES = (
    "base-files",
    "busybox-static",
    "ca-certificates",
    "gcc-14-base",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libssl3t64",
    "libstdc++6",
    "libuuid1",
    "libzstd1",
    f"python{PYTHON}-minimal",
    "python3-minimal",
    "zlib1g",
)
# As Debian and OCI call them, and the loader of each.
LOADERS = {"amd64": "usr/lib64/ld-linux-x86-64.so.2", "arm64": "usr/lib/ld-linux-aarch64.so.1"}
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class BaseError(Exception):
    """What keeps the base from being made, in a sentence."""


@dataclass(frozen=True, slots=True)
class Package:
    architecture: str
    name: str
    version: str
    sha256: str


def locked(architecture: str, lock: Path = LOCK) -> list[Package]:
    rows = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return [one for one in (Package(*row) for row in rows) if one.architecture == architecture]


def native() -> str:
    """This machine's architecture. Raises: BaseError."""
    machine = platform.machine()
    if machine not in MACHINES:
        raise BaseError(f"images can be built on x86_64 and aarch64, and this machine is {machine}")
    return MACHINES[machine]


def fetch(run: Run, architecture: str, cache: Path, *, exact: bool = True) -> list[Path]:
    """The packages' files, sorted by name, kept in ``cache``. ``exact``: those of the lock; else the newest ones.

    Raises: BaseError when they are not what the lock says; run's own error when apt cannot get them.
    """
    wanted = locked(architecture)
    kept = {one.sha256: cache / f"{one.sha256}.deb" for one in wanted}
    if exact and all(file.exists() for file in kept.values()):
        return [kept[one.sha256] for one in wanted]
    with tempfile.TemporaryDirectory() as tmp:
        names = [f"{one.name}={one.version}" for one in wanted] if exact else list(PACKAGES)
        files = _download(run, architecture, names, Path(tmp))
        found = {sha256_of(file): file for file in files}
        if exact and (wrong := sorted(one.name for one in wanted if one.sha256 not in found)):
            raise BaseError(f"Debian's {wrong[0]} is not the file that image/debian.lock names: run `make lock`")
        cache.mkdir(parents=True, exist_ok=True)
        for digest, file in found.items():
            new = cache / f".{digest}.new"
            shutil.copyfile(file, new)
            new.replace(cache / f"{digest}.deb")
    return [cache / f"{digest}.deb" for digest in found]


def _download(run: Run, architecture: str, names: list[str], folder: Path) -> list[Path]:
    """By an apt whose lists and settings are its own, so that the machine's are neither needed nor touched."""
    mirrors = _mirrors(run, folder / "machine")
    (folder / "sources.list").write_text(sources(mirrors))
    (folder / "status").touch()
    apt = _apt(
        folder / "suite",
        {
            "APT::Architecture": architecture,
            "APT::Architectures::": architecture,
            "Dir::Etc::sourcelist": f"{folder}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::status": f"{folder}/status",
        },
    )
    into = folder / "debs"
    into.mkdir()
    run([*apt, "update"])
    run(["env", "-C", into, *apt, "download", *names])
    return sorted(into.iterdir(), key=lambda file: file.name)


def _apt(state: Path, settings: Mapping[str, str]) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    own = {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::Cache": f"{state}/cache",
        "Dir::State::lists": f"{state}/lists",
    }
    return [
        "apt-get",
        "-qq",
        *(word for name, value in {**own, **settings}.items() for word in ("-o", f"{name}={value}")),
    ]


def _mirrors(run: Run, state: Path) -> dict[str, str]:
    """Debian in this machine's own sources: each address, and how what is there calls itself. Raises: BaseError."""
    if shutil.which("apt-get") is None:
        raise BaseError("the image's base is made from Debian's packages, and there is no apt-get here")
    apt = _apt(state, {})
    run([*apt, "update"])
    argv = [*apt, "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages", "Origin: Debian"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = dict(line.split(maxsplit=1) for line in text.splitlines())
    if "Debian" not in found.values():
        raise BaseError("the image's base is made from Debian's packages, and no source of apt here has them")
    return found


def sources(mirrors: Mapping[str, str]) -> str:
    """apt's sources of the suite. mirrors: address and label; security updates have an address of their own."""
    suites_of = {"Debian": [SUITE, f"{SUITE}-updates"], "Debian-Security": [f"{SUITE}-security"]}
    lines = []
    for uri, label in mirrors.items():
        suites = suites_of.get(label, [])
        lines += [f"deb [signed-by={KEYRING}] {uri} {suite} main" for suite in suites]
    return "\n".join(lines) + "\n"


def unpack(run: Run, files: Iterable[Path], root: Path) -> None:
    """base-files first: it makes /bin and /lib the links that others unpack into."""
    for file in sorted(files, key=lambda one: _field(one, "Package") != "base-files"):
        run(["dpkg-deb", "-x", file, root])
        # Scanners of images look here for what is installed.
        status = root / "var/lib/dpkg/status.d"
        status.mkdir(parents=True, exist_ok=True)
        (status / _field(file, "Package")).write_text(_field(file) + "\n")


def _field(file: Path, *names: str) -> str:
    argv = ["dpkg-deb", "-f", str(file), *names]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def write_lock(run: Run, lock: Path = LOCK) -> None:
    """The newest packages of the suite, for all architectures."""
    rows = ["# Debian packages of the project image's base: architecture, name, version, SHA-256. Made by `make lock`."]
    for architecture in sorted(LOADERS):
        with tempfile.TemporaryDirectory() as tmp:
            for file in _download(run, architecture, list(PACKAGES), Path(tmp)):
                rows.append(f"{architecture} {_field(file, 'Package')} {_field(file, 'Version')} {sha256_of(file)}")
    lock.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":

    def run(argv: object, *, env: object = None) -> None:
        subprocess.run(argv, check=True)  # type: ignore[call-overload]

    write_lock(run)
