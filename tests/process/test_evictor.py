# SPDX-License-Identifier: Apache-2.0
"""The evictor as a process. A user would lose: a disk that fills because the keeper was killed, hung or mute."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmd_storage_evictor.core.manifests import title_of
from tests.patience import CEILING_S, eventually
from tests.unit.evictor.support import BLOCK, Namespace, namespace

SRC = Path(__file__).parents[2]
PATHS = [str(SRC / "evictor/src"), str(SRC / "connector/src"), str(SRC / "core/src"), *sys.path]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(root: Path, log: Path, **changes: Any) -> Iterator[subprocess.Popen[bytes]]:
    settings = {
        "root_dir": str(root), "budget_bytes": 100 * BLOCK, "free_floor_bytes": 0, "leader_election": False,
        "probe_dir": "", "poll_s": 0.2, "http_port": 0, "stall_s": 5, "grace_s": 0, "allow_large_removal": True,
    } | changes  # fmt: skip
    file = log.with_suffix(".json")
    file.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "llmd_storage_evictor", "run", "--config", str(file)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(what: Callable[[], bool], log: Path) -> None:
    try:
        eventually(what, "the evictor", every_s=0.05)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from None


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def held(cache: Namespace) -> int:
    return sum(1 for _ in cache.path.glob("[0-9a-f][0-9a-f]/*.kvb")) * BLOCK


def test_killed_in_the_middle_it_leaves_nothing_broken_and_the_next_goes_on(tmp_path: Path) -> None:
    cache, log = namespace(tmp_path / "blocks"), tmp_path / "log"
    for number in range(3000):
        cache.store(number, age_s=10_000 - number)
    foreign = cache.path / "00" / "mine"
    foreign.write_text("x")
    with running(cache.root, log, budget_bytes=2000 * BLOCK) as process:
        wait_for(lambda: held(cache) < 2900 * BLOCK, log)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with running(cache.root, log, budget_bytes=500 * BLOCK) as process:
        wait_for(lambda: held(cache) <= 450 * BLOCK, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(CEILING_S) == 0
    assert cache.numbers() == list(range(3000 - len(cache.numbers()), 3000)), "the newest stayed"
    assert len(cache.numbers()) == 450, "and no more went than had to"
    assert foreign.exists()
    assert (cache.root / ".evictor" / "index" / cache.name).exists(), "told to end, it leaves a checkpoint"
    assert [path.name for path in (cache.root / ".evictor").glob("leader-*")] == ["leader-2"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    went = [line["removed"]["budget"]["files"] for line in lines if "removed" in line]
    assert went and all(went), "logs are JSON and say what went"


def test_two_processes_take_turns_and_the_second_takes_over(tmp_path: Path) -> None:
    cache, log, port = namespace(tmp_path / "blocks"), tmp_path / "log", free_port()
    with running(cache.root, log) as first:
        wait_for((cache.root / ".evictor" / "leader-1").exists, log)
        with running(cache.root, tmp_path / "log2", http_port=port) as second:
            wait_for(lambda: listens(port), tmp_path / "log2")
            first.send_signal(signal.SIGKILL)
            for number in range(120):
                cache.store(number, age_s=1000 - number)
            wait_for(lambda: held(cache) <= 90 * BLOCK, tmp_path / "log2")
            assert second.poll() is None


def test_health_and_metrics_answer(tmp_path: Path) -> None:
    cache, log, port = namespace(tmp_path / "blocks"), tmp_path / "log", free_port()
    for number in range(5):
        cache.store(number)

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    title = title_of(json.loads((cache.path / "manifest.json").read_text()))
    with running(cache.root, log, http_port=port):
        files = f'llmd_storage_evictor_cache_files{{cache_namespace="{cache.name}",model="{title}"}} 5.0'
        wait_for(lambda: files in get("/metrics")[1], log)
        assert get("/healthz") == (200, "ok\n")
        assert "leader 1.0" in get("/metrics")[1]
        assert get("/other")[0] == 404
