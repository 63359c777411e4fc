"""The distribution project's registry, without TLS: on this machine's loopback, or on that of every node of the lab.

A node's own, since containerd takes a registry without TLS there and nowhere else. All of them serve one folder.
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
from tests.lab.gotools import REGISTRY, is_current
from tests.lab.inside import in_node_net
from tests.lab.paths import Lab
from tests.lab.proc import ADDON, Console, components, start, stop
from tests.patience import eventually

NAME = "registry"
ON_NODES = "localhost:5000"


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


def program(lab: Lab) -> Path:
    if not is_current(lab, REGISTRY):
        raise LabError("the registry is not built: run `python -m tests.lab build tools`")
    return lab.bin / REGISTRY.program


@contextmanager
def serving(lab: Lab, folder: Path) -> Iterator[str]:
    """Serves what is in ``folder`` on a free port of this machine's loopback. Yields: host:port."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        log = Path(tmp) / "log"
        with (
            log.open("w") as out,
            subprocess.Popen(
                [program(lab), "serve", _configured(Path(tmp), folder, "127.0.0.1:0")], stdout=out, stderr=out
            ) as served,
        ):
            try:
                found = eventually(lambda: _listening(served, log), "the registry to listen", every_s=0.1)
                yield found[1]
            finally:
                served.terminate()


def _listening(served: subprocess.Popen[bytes], log: Path) -> re.Match[str] | None:
    if served.poll() is not None:
        raise LabError(f"the registry ended: {log.read_text()[-600:]}")
    return re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())


def begin(c: Console, lab: Lab) -> None:
    """Starts one on every node, as ``ON_NODES``. Raises: LabError."""
    store(lab).mkdir(parents=True)
    config = _configured(lab.run / NAME, store(lab), "127.0.0.1:5000")
    for node in lab.nodes:
        c.say(f"registry on {node.name}")
        start(lab, f"{ADDON}{NAME}-{node.name}", [*in_node_net(node), program(lab), "serve", config])


def end(lab: Lab) -> None:
    """Ends them and forgets what was pushed."""
    for one in components(lab):
        if one.name.startswith(ADDON + NAME):
            stop(lab, one)
    shutil.rmtree(lab.run / NAME, ignore_errors=True)
