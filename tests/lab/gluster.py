"""A GlusterFS volume on a running lab, with the caching it has by default: storage that the hooks must refuse.

Server and clients live in the lab's network namespaces, the server's files in a mount namespace of its own: `tests.lab
down` finds and ends all of it, however the run ended that made it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import deps, teardown, versions
from tests.lab.inside import in_control, in_node
from tests.lab.paths import Lab
from tests.lab.proc import Console, output, succeeds, system_env
from tests.patience import CEILING_S, eventually

VOLUME = "kv"
# What glusterd takes from fixed places is a tmpfs of its own.
SERVER = """set -e
mkdir -p /run/gluster /var/lib/glusterd /var/log/glusterfs {brick}
for d in /run/gluster /var/lib/glusterd /var/log/glusterfs {brick}; do mount -t tmpfs lab $d; done
mkdir {brick}/b
exec glusterd -N --log-level=WARNING
"""


def install(lab: Lab) -> None:
    """A minute at most, and only where it is not there yet."""
    if deps.packages_wanted(versions.GLUSTER_PACKAGES):
        deps.install_packages(Console(lab.log / "gluster.log"), versions.GLUSTER_PACKAGES)


@contextmanager
def mounted(lab: Lab, at: Path) -> Iterator[None]:
    """The volume at `at` on every node, open to every user; gone at the end."""
    install(lab)
    brick = lab.run / "gluster"
    log = (lab.log / "component" / "gluster.log").open("w")
    argv = [*in_control(lab), "unshare", "--mount", "--propagation", "private", "sh", "-c", SERVER.format(brick=brick)]
    server = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=system_env(), start_new_session=True
    )
    try:
        gluster = ["nsenter", "-t", str(server.pid), "--net", "--mount", "gluster", "--mode=script"]
        eventually(lambda: succeeds([*gluster, "peer", "status"]), "glusterd")
        address = lab.control_address
        output([*gluster, "volume", "create", VOLUME, f"{address}:{brick}/b", "force"])
        output([*gluster, "volume", "start", VOLUME])
        for node in lab.nodes:
            inside = in_node(lab, node)
            output([*inside, "mkdir", "-p", at])
            options = f"log-file={lab.log / 'component' / f'gluster-{node.name}.log'}"
            output([*inside, "mount", "-t", "glusterfs", "-o", options, f"{address}:/{VOLUME}", at])
        output([*in_node(lab, lab.nodes[0]), "chmod", "0777", at])
        yield
    finally:
        for node in lab.nodes:
            succeeds([*in_node(lab, node), "umount", "-l", at])
        _end(lab)
        server.wait(CEILING_S)
        log.close()


def _end(lab: Lab) -> None:
    for pid in teardown.processes(lab):
        if teardown.name_of(pid).startswith("gluster"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
