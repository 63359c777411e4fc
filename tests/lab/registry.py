"""Registries without TLS, on this machine's loopback or on that of every node of the lab.

The distribution project's keeps what it is given in a folder. A node has its own, since containerd takes a registry
without TLS there and nowhere else, and all of them serve one folder. Crane's keeps it in memory, and takes a third of
the time to build.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.gotools import CRANE, REGISTRY, GoTool, is_current
from tests.lab.inside import in_node_net
from tests.lab.paths import Lab
from tests.lab.proc import ADDON, Console, components, start, stop
from tests.patience import eventually

NAME = "registry"
ON_NODES = "localhost:5000"
LOOPBACK = "127.0.0.1"


def store(lab: Lab) -> Path:
    return lab.run / NAME / "store"


def _configured(folder: Path, store: Path, address: str) -> Path:
    file = folder / f"{address.replace(':', '-')}.json"  # JSON is YAML
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(store)}},
        "http": {"addr": address},
    }
    file.write_text(json.dumps(settings))
    return file


def program(lab: Lab, tool: GoTool = REGISTRY) -> Path:
    if not is_current(lab, tool):
        raise LabError(f"{tool.program} is not built: run `python -m tests.lab build registry`")
    return lab.bin / tool.program


@contextmanager
def serving(lab: Lab, folder: Path) -> Iterator[str]:
    """Serves what is in ``folder`` on a free port of this machine's loopback. Yields: host:port."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        config = _configured(Path(tmp), folder, f"{LOOPBACK}:0")
        with _served(r"listening on \S+:(\d+)", program(lab), "serve", config) as address:
            yield address


@contextmanager
def in_memory(lab: Lab) -> Iterator[str]:
    """Serves an empty registry on a free port of this machine's loopback, and forgets it. Yields: host:port."""
    words = ("registry", "serve", "--address", f"{LOOPBACK}:0")
    with _served(r"serving on port (\d+)", program(lab, CRANE), *words) as address:
        yield address


@contextmanager
def _served(listening: str, *words: str | Path) -> Iterator[str]:
    """listening: what the program says then, with its port as the group."""
    with (
        tempfile.NamedTemporaryFile("w+") as log,
        subprocess.Popen(words, stdout=log, stderr=log) as served,
    ):

        def port() -> re.Match[str] | None:
            said = Path(log.name).read_text()
            if served.poll() is not None:
                raise LabError(f"the registry ended: {said[-600:]}")
            return re.search(listening, said)

        try:
            yield f"{LOOPBACK}:{eventually(port, 'the registry to listen', every_s=0.1)[1]}"
        finally:
            served.terminate()


def begin(c: Console, lab: Lab) -> None:
    """Starts one on every node, as ``ON_NODES``. Raises: LabError."""
    store(lab).mkdir(parents=True)
    config = _configured(lab.run / NAME, store(lab), f"{LOOPBACK}:5000")
    for node in lab.nodes:
        c.say(f"registry on {node.name}")
        start(lab, f"{ADDON}{NAME}-{node.name}", [*in_node_net(node), program(lab), "serve", config])


def end(lab: Lab) -> None:
    """Ends them and forgets what was pushed."""
    for one in components(lab):
        if one.name.startswith(ADDON + NAME):
            stop(lab, one)
    shutil.rmtree(lab.run / NAME, ignore_errors=True)
