"""A GlusterFS volume on a running lab, with the caching it has by default: storage that the hooks must refuse.

Server and clients live in the lab's network namespaces, the server's files in a mount namespace of its own: `tests.lab
down` finds and ends all of it, however the run ended that made it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import teardown
from tests.lab.errors import LabError
from tests.lab.inside import in_control, in_node
from tests.lab.paths import Lab
from tests.lab.proc import output, succeeds, system_env

PACKAGES = ("glusterfs-server", "glusterfs-client")
VOLUME = "kv"
# What glusterd takes from fixed places is a tmpfs of its own.
SERVER = """set -e
mkdir -p /run/gluster /var/lib/glusterd /var/log/glusterfs {brick}
for d in /run/gluster /var/lib/glusterd /var/log/glusterfs {brick}; do mount -t tmpfs lab $d; done
mkdir {brick}/b
exec glusterd -N --log-level=WARNING
"""


def install() -> None:
    """A minute at most, and only where it is not there yet."""
    if shutil.which("glusterd", path="/usr/sbin:/sbin:/usr/bin") is None:
        argv = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]
        output([*argv, *PACKAGES], timeout_s=300, env={"DEBIAN_FRONTEND": "noninteractive"})


@contextmanager
def mounted(lab: Lab, at: Path) -> Iterator[None]:
    """The volume at `at` on every node, open to every user; gone at the end."""
    install()
    brick = lab.run / "gluster"
    log = (lab.log / "component" / "gluster.log").open("w")
    argv = [*in_control(lab), "unshare", "--mount", "--propagation", "private", "sh", "-c", SERVER.format(brick=brick)]
    server = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=system_env(), start_new_session=True
    )
    try:
        gluster = ["nsenter", "-t", str(server.pid), "--net", "--mount", "gluster", "--mode=script"]
        _until(lambda: succeeds([*gluster, "peer", "status"], timeout_s=5), 30, "glusterd")
        address = lab.control_address
        output([*gluster, "volume", "create", VOLUME, f"{address}:{brick}/b", "force"], timeout_s=60)
        output([*gluster, "volume", "start", VOLUME], timeout_s=60)
        for node in lab.nodes:
            inside = in_node(lab, node)
            output([*inside, "mkdir", "-p", at])
            options = f"log-file={lab.log / 'component' / f'gluster-{node.name}.log'}"
            output([*inside, "mount", "-t", "glusterfs", "-o", options, f"{address}:/{VOLUME}", at], timeout_s=60)
        output([*in_node(lab, lab.nodes[0]), "chmod", "0777", at])
        yield
    finally:
        for node in lab.nodes:
            succeeds([*in_node(lab, node), "umount", "-l", at])
        _end(lab)
        server.wait(10)
        log.close()


def _end(lab: Lab) -> None:
    for pid in teardown.processes(lab):
        if teardown.name_of(pid).startswith("gluster"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _until(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.5)
