# SPDX-License-Identifier: Apache-2.0
"""The evictor on storage that hangs, is full, or fails. A user would lose: the cache twice over, or the disk."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.faultfs import mounted
from tests.faultfs.build import missing
from tests.process.test_evictor import free_port, held, running, wait_for
from tests.unit.evictor.support import BLOCK, Namespace, namespace

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "faultfs is here")


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def fill(cache: Namespace, first: int, last: int) -> None:
    for number in range(first, last):
        cache.store(number, age_s=10_000 - number)


def test_hung_storage_is_waited_for_and_nobody_starts_a_second_wave(tmp_path: Path) -> None:
    cache, at = namespace(tmp_path / "source" / "blocks"), tmp_path / "mount"
    at.mkdir()
    log, log2, port, port2 = tmp_path / "log", tmp_path / "log2", free_port(), free_port()
    with (
        mounted(tmp_path / "source", at) as fs,
        running(at / "blocks", log, http_port=port) as first,
        running(at / "blocks", log2, http_port=port2, stall_s=5) as second,
    ):
        wait_for(lambda: any((cache.root / ".evictor").glob("leader-*")) and health(port) == 200, log)
        try:
            fs.stop()
            fill(cache, 0, 200)  # seen by nobody yet
            wait_for(lambda: health(port) == 503 and health(port2) == 503, log)
            assert held(cache) == 200 * BLOCK and first.poll() is None and second.poll() is None
            wait_for(lambda: "storage does not answer" in log.read_text(), log)
        finally:
            fs.cont()
        wait_for(lambda: held(cache) <= 90 * BLOCK, log2)
        wait_for(lambda: health(port) == 200 and health(port2) == 200, log)
        time.sleep(3)
        assert held(cache) == 90 * BLOCK, "no more went than had to"
        assert cache.numbers() == list(range(110, 200))


def test_a_full_disk_that_takes_not_a_byte_is_relieved(tmp_path: Path) -> None:
    cache, at, log = namespace(tmp_path / "source" / "blocks"), tmp_path / "mount", tmp_path / "log"
    at.mkdir()
    fill(cache, 0, 150)
    with mounted(tmp_path / "source", at) as fs:
        fs.set(errno="ENOSPC", on=("write",))
        with running(at / "blocks", log):
            wait_for(lambda: held(cache) == 90 * BLOCK, log)


def test_storage_that_fails_for_a_while_is_kept_again_afterwards(tmp_path: Path) -> None:
    cache, at, log = namespace(tmp_path / "source" / "blocks"), tmp_path / "mount", tmp_path / "log"
    at.mkdir()
    with mounted(tmp_path / "source", at) as fs, running(at / "blocks", log) as process:
        wait_for(lambda: any((cache.root / ".evictor").glob("leader-*")), log)
        fs.set(errno="EIO", on=("read", "write", "meta"))
        fill(cache, 0, 150)
        time.sleep(3)
        assert process.poll() is None and held(cache) == 150 * BLOCK
        fs.set()
        wait_for(lambda: held(cache) == 90 * BLOCK, log)
