"""Root file systems for images, put together from this machine's own files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from image.base import base as every_image
from tests.lab import deps
from tests.lab.proc import Console, Word, output

LIBRARIES = Path("usr/lib/x86_64-linux-gnu")

PAUSE_C = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap);
  for (;;) pause();
}
"""

# Libraries that numeric wheels and name resolution expect of a system, besides those that Python links to.
EXPECTED = re.compile(
    r"lib(stdc\+\+\.so\.6|gcc_s\.so\.1|gomp\.so\.1|numa\.so\.1|m\.so\.6|rt\.so\.1|dl\.so\.2|pthread\.so\.0"
    r"|util\.so\.1|resolv\.so\.2|nss_dns\.so\.2|nss_files\.so\.2) .*x86-64.* => (\S+)"
)
# Parts of the standard library that no pod imports.
LEFT_OUT = ("__pycache__", "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "*.a", "config-3*")


def merged_usr(root: Path) -> None:
    for d in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / d).mkdir(parents=True, exist_ok=True)
        (root / d).symlink_to(f"usr/{d}")


def busybox(root: Path, folder: str) -> None:
    """busybox, and a link for each of its programs that is not there already."""
    target = root / folder
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy2("/bin/busybox", target / "busybox")
    for applet in output(["/bin/busybox", "--list"]).split():
        if not os.path.lexists(target / applet):
            (target / applet).symlink_to("busybox")


def pause(root: Path, c: Console) -> None:
    root.mkdir(parents=True, exist_ok=True)
    source = root.with_name("pause.c")
    source.write_text(PAUSE_C)
    c.run(["gcc", "-Os", "-static", "-s", "-o", root / "pause", source])


def linked(files: Iterable[Path]) -> set[Path]:
    """The shared libraries, loader included, that the files are linked to."""
    names = [str(f) for f in files]
    if not names:
        return set()
    # ldd fails as a whole when one file is no program; what it could read is printed all the same.
    text = subprocess.run(["ldd", *names], capture_output=True, text=True, check=False).stdout
    return {Path(m) for m in re.findall(r"(?:=> |^\t)(/\S+) \(0x", text, flags=re.MULTILINE)}


def add_libraries(root: Path, libraries: Iterable[Path], skip: Path | None = None) -> None:
    for lib in sorted(libraries):
        if skip is not None and lib.is_relative_to(skip):
            continue
        folder = Path("usr/lib64") if str(lib).startswith("/lib64") else LIBRARIES
        (root / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(lib.resolve(), root / folder / lib.name)


def compile_python(c: Console, folder: Path, root: Path) -> None:
    """Byte code that is taken without a look at the source's time: a layer's times are all zero."""
    how: list[Word] = ["--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/"]
    c.run([deps.base_python(), "-m", "compileall", "-q", "-f", "-j", "2", *how, folder])


def python(root: Path, c: Console) -> None:
    """This machine's Python at its own path (a virtual environment made here links to it there), with the
    libraries it needs and busybox."""
    every_image(root)
    merged_usr(root)
    exe = deps.base_python()
    prefix, version = output([exe, "-c", "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"]).split()
    inside = root / prefix.lstrip("/")
    ignore = shutil.ignore_patterns(*LEFT_OUT)
    c.say(f"Python {version} from {prefix}")
    parts = [f"lib/python{version}"] + (["lib/python3"] if prefix == "/usr" else [])
    for part in parts:
        shutil.copytree(Path(prefix) / part, inside / part, symlinks=True, ignore=ignore, dirs_exist_ok=True)
    for so in Path(prefix, "lib").glob("libpython3*.so*"):
        shutil.copy2(so, inside / "lib", follow_symlinks=False)
    (root / exe.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(exe, root / exe.relative_to("/"))
    _python_links(root, exe, inside)
    programs = [exe, *(inside / "lib").rglob("*.so*")]
    expected = {Path(m[1]) for m in EXPECTED.findall(output(["/sbin/ldconfig", "-p"]))}
    add_libraries(root, linked(programs) | expected, skip=Path(prefix) if prefix != "/usr" else None)
    compile_python(c, inside / parts[0], root)
    busybox(root, "usr/bin")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (root / "etc/ssl/certs").mkdir(parents=True)
        shutil.copy(certificates.resolve(), root / "etc/ssl/certs")
    c.run(["/sbin/ldconfig", "-r", root])
    readable_path(root, inside / "bin")


def _python_links(root: Path, exe: Path, inside: Path) -> None:
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    (inside / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(exe)
        if not os.path.lexists(inside / "bin" / name):
            (inside / "bin" / name).symlink_to(exe.name)


def readable_path(root: Path, folder: Path) -> None:
    """Every folder on the way down to ``folder`` can be entered by any user of the image."""
    for d in [folder, *folder.parents]:
        if d == root or not d.is_relative_to(root):
            break
        d.chmod(0o755)


def add_program(root: Path, source: Path, target: str = "") -> None:
    """One program, at its own path or at another, with the libraries it is linked to."""
    place = root / (target or str(source).lstrip("/"))
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)
    place.chmod(0o755)
    add_libraries(root, linked([source]))


def program(root: Path, source: Path, target: str) -> None:
    """An image of one program."""
    every_image(root)
    merged_usr(root)
    add_program(root, source, target)
