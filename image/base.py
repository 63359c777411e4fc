"""The image's lowest layer: what every image has, Debian's Python, a shell, and the public certificates."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from image import debian
from image.command import Run, Word

# What busybox is called as: enough to look around with `kubectl exec`, and what init containers run.
APPLETS = tuple(
    "sh cat chmod chown cp cut date dd df du echo env find grep head hostname id kill ln ls mkdir mv nslookup ps pwd "
    "rm rmdir sed sleep sort stat sync tail tar tee test timeout top touch tr true false uname wc wget "
    "which xargs".split()
)
# Of no use in a pod. What a package's licence asks for, its copyright file, stays.
LEFT_OUT = (
    "usr/bin/py3*",
    "usr/share/base-files",
    "usr/share/gcc",
    "usr/share/gdb",
    "usr/share/initramfs-tools",
    "usr/share/lintian",
    "usr/share/man",
    "usr/share/python3",
    "usr/games",
    "usr/include",
    "usr/src",
    "boot",
)


def base(root: Path) -> None:
    """Folders and files that every image has."""
    for d in ("etc", "proc", "sys", "dev", "run", "root", "home/app", "tmp", "var/tmp"):
        (root / d).mkdir(parents=True, exist_ok=True)
    for d in ("tmp", "var/tmp"):
        (root / d).chmod(0o1777)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    )
    (root / "etc/group").write_text("root:x:0:\napp:x:1000:\nnogroup:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")


def fill(run: Run, packages: Iterable[Path], python: Path, root: Path) -> None:
    """packages: files of ``debian.fetch``; python: ``native_python``, which need not be of the same architecture."""
    debian.unpack(run, packages, root)
    base(root)
    trim(root)
    certificates(root)
    for name in APPLETS:
        (root / "usr/bin" / name).symlink_to("busybox")
    (root / "usr/bin/python").symlink_to("python3")
    compile_python(run, python, root / f"usr/lib/python{debian.PYTHON}", root)


def trim(root: Path) -> None:
    for pattern in LEFT_OUT:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in (root / "usr/share/doc").rglob("*"):
        if not path.is_dir() and path.name != "copyright":
            path.unlink()


def certificates(root: Path) -> None:
    """One file of all, as the package's own script makes it."""
    found = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    folder = root / "etc/ssl/certs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca-certificates.crt").write_text("".join(one.read_text() for one in found))
    # Where Debian's libssl looks for it.
    (root / "usr/lib/ssl").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")


def native_python(run: Run, packages: Iterable[Path], cache: Path) -> Path:
    """The image's Python, for this machine to run: an unpacked root, made once of the same packages below ``cache``."""
    packages = list(packages)
    made_of = hashlib.sha256(" ".join(sorted(file.name for file in packages)).encode()).hexdigest()[:16]
    root = cache / f"python-{made_of}"
    if not root.exists():
        new = cache / f"{root.name}.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        debian.unpack(run, packages, new)
        new.replace(root)
    return root


def compile_python(run: Run, python: Path, folder: Path, root: Path) -> None:
    """Byte code that is taken without a look at the source's time: a layer's times are all zero.

    By one process in a fixed order, with fixed hashes, and which never finds byte code of its own from before: what is
    written tells of what else that process has compiled.
    """
    loader, libraries = _loader(python)
    # The program itself is named by its argument, so that it finds its library below PYTHONHOME.
    launch: list[Word] = [
        python / loader,
        "--library-path",
        python / libraries,
        python / f"usr/bin/python{debian.PYTHON}",
    ]
    settings = [f"PYTHONHOME={python / 'usr'}", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1"]
    how: list[Word] = ["--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/"]
    run(["env", "-i", *settings, *launch, "-m", "compileall", "-q", "-f", *how, folder])


def _loader(python: Path) -> tuple[str, str]:
    for loader, libraries in (
        (debian.LOADERS["amd64"], "usr/lib/x86_64-linux-gnu"),
        (debian.LOADERS["arm64"], "usr/lib/aarch64-linux-gnu"),
    ):
        if (python / loader).is_symlink() or (python / loader).exists():
            return loader, libraries
    raise debian.BaseError(f"{python} has no loader of programs: remove it and run the same command again")
