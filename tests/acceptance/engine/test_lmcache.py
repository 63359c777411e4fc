# SPDX-License-Identifier: Apache-2.0
"""LMCache's own fs backend with the configuration that the chart writes, driven by processes over one directory.

No accelerator: lmcache_worker.py stands in for it. No two nodes: a plain directory that they share.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import Object, objects, one
from tests.patience import CEILING_S, eventually

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
MOUNT = "/mnt/kv-cache"
TIER_MIB = 16
CHUNK_BYTES = 1 << 20  # of lmcache_worker.py's model, without LMCache's head of the file
TOKENS = 3 * 256 + 100  # three whole chunks and a rest, which is not kept
WHOLE = 3 * 256
OTHER_UID = 4711


class Worker:
    """lmcache_worker.py. log: what LMCache said."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "lmcache_worker.py")],
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        assert self._answer() == {"ready": True}

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def retrieve(self, prompt: int) -> tuple[int, int, bool]:
        """Tokens that LMCache says are there, tokens that it handed over, and whether their bytes are right."""
        answer = self.ask("retrieve", prompt=prompt, tokens=TOKENS)
        return answer["found"], answer["taken"], answer["right"]

    def counted(self, name: str) -> float:
        """One of its metrics, over all labels."""
        lines = self.ask("metrics")["metrics"].splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"lmcache:{name}{{"))

    def end(self) -> None:
        self.process.kill()
        self.process.wait(CEILING_S)

    def _answer(self) -> dict[str, Any]:
        readable, _, _ = select.select([self.process.stdout], [], [], CEILING_S)
        line = self.process.stdout.readline() if readable else ""
        assert line, f"no answer:\n{self.log.read_text()[-4000:]}"
        return json.loads(line)


@pytest.fixture(scope="module")
def manifests() -> list[Object]:
    size = f"modelserver.cpuTier.size={TIER_MIB}Mi"
    return objects("lmcache", "--set", size, "--set", "modelserver.tensorParallelSize=1")


@pytest.fixture
def written(manifests: list[Object]) -> str:
    """LMCache's configuration file, as the chart writes it."""
    return one(manifests, "ConfigMap", "-lmcache")["data"]["lmcache.yaml"]


@pytest.fixture
def pod(manifests: list[Object], written: str, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """pod(root) -> the environment that the chart gives, with its configuration; root: its mount."""
    spec = one(manifests, "Deployment", "-modelserver")["spec"]["template"]["spec"]
    names = ("LMCACHE_CONFIG_FILE", "LMCACHE_TRACK_USAGE", "PROMETHEUS_MULTIPROC_DIR", "PYTHONHASHSEED")
    chart = {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"] if entry["name"] in names}
    assert len(chart) == len(names)

    def environment(root: Path) -> dict[str, str]:
        own = Path(tempfile.mkdtemp(prefix="pod-", dir=tmp_path))
        metrics, file = own / "prometheus", own / "lmcache.yaml"
        metrics.mkdir()
        assert written.count(MOUNT) == 1
        file.write_text(written.replace(MOUNT, str(root)))
        return chart | {"LMCACHE_CONFIG_FILE": str(file), "PROMETHEUS_MULTIPROC_DIR": str(metrics)}

    return environment


@pytest.fixture
def start(pod: Callable[..., dict[str, str]], tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """start(root, **variables) -> a worker; root: its mount."""
    workers: list[Worker] = []

    def one_more(root: Path, **variables: str) -> Worker:
        workers.append(Worker(tmp_path / f"worker-{len(workers)}.log", pod(root) | variables))
        return workers[-1]

    yield one_more
    for worker in workers:
        worker.end()


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    root = tmp_path / "claim"
    root.mkdir()
    return root


def chunks(mount: Path) -> list[Path]:
    return sorted((mount / "lmcache").glob("*.data"))


def stored(worker: Worker, mount: Path, prompt: int) -> list[Path]:
    """The files of a prompt of three whole chunks, once they are there."""
    before = set(chunks(mount))
    worker.ask("store", prompt=prompt, tokens=TOKENS)
    eventually(lambda: len(chunks(mount)) >= len(before) + 3, "three chunks to be stored", every_s=0.05)
    return sorted(set(chunks(mount)) - before)


def test_lmcache_reads_every_setting_that_the_chart_writes(
    written: str, start: Callable[..., Worker], mount: Path
) -> None:
    settings = yaml.safe_load(written)
    worker = start(mount)
    understood = worker.ask("settings", names=list(settings))
    extra = settings.pop("extra_config")
    assert {name: understood[name] for name in settings} == settings
    assert understood["extra_config"].keys() >= extra.keys()
    assert "nknown" not in worker.log.read_text(), "what it does not know it names in its log"


def test_what_one_process_puts_another_gets_byte_for_byte(
    start: Callable[..., Worker], mount: Path, figures: Callable[..., None]
) -> None:
    first = start(mount)
    files = stored(first, mount, 1)
    assert not list((mount / "lmcache" / ".tmp").iterdir()), "a chunk gets its name when it is whole"
    assert first.process.poll() is None
    second = start(mount)
    assert second.retrieve(1) == (WHOLE, WHOLE, True)
    assert second.retrieve(2) == (0, 0, True), "a prompt that nobody had"
    first.end()
    assert start(mount).retrieve(1) == (WHOLE, WHOLE, True), "after the end of who wrote them"
    figures(bytes_of_a_file_beyond_its_chunk=files[0].stat().st_size - CHUNK_BYTES)


def test_its_metrics_tell_what_was_written_and_read(start: Callable[..., Worker], mount: Path) -> None:
    """The proof reads them. What the llm-d guide looks at is of the local disk, which the chart does not use."""
    first = start(mount)
    stored(first, mount, 1)
    second = start(mount)
    second.retrieve(1)
    eventually(lambda: first.counted("num_remote_write_bytes_total"), "the writer to count")
    eventually(lambda: second.counted("num_remote_read_bytes_total"), "the reader to count")
    assert first.counted("num_remote_write_bytes_total") == 3 * CHUNK_BYTES
    assert first.counted("num_remote_read_bytes_total") == 0
    assert second.counted("num_remote_read_bytes_total") == 3 * CHUNK_BYTES
    assert second.counted("num_remote_write_bytes_total") == 0
    for worker in (first, second):
        assert worker.counted("local_storage_usage") == worker.counted("remote_cache_usage") == 0
    second.retrieve(1)  # it has it in its memory now
    second.retrieve(2)
    stored(second, mount, 3)
    eventually(lambda: second.counted("num_remote_write_bytes_total"), "the next counting")
    assert second.counted("num_remote_read_bytes_total") == 3 * CHUNK_BYTES


def test_with_another_hash_seed_nothing_is_found(start: Callable[..., Worker], mount: Path) -> None:
    stored(start(mount), mount, 1)
    other = start(mount, PYTHONHASHSEED="43")
    assert other.retrieve(1) == (0, 0, True)
    assert len(stored(other, mount, 1)) == 3, "chunks of its own"


def test_a_file_is_checked_for_being_long_enough_and_no_more(start: Callable[..., Worker], mount: Path) -> None:
    first = start(mount)
    short, changed, longer = ([*stored(first, mount, prompt)] for prompt in (1, 2, 3))
    for file in short:
        os.truncate(file, file.stat().st_size - 1)
    for file in changed:
        with file.open("r+b") as data:
            data.seek(-1000, os.SEEK_END)
            data.write(b"\xff" * 100)
    for file in longer:
        with file.open("ab") as data:
            data.write(bytes(1000))
    second = start(mount)
    assert second.retrieve(1) == (WHOLE, 0, True), "found, since only the name is looked for, and not taken"
    assert second.retrieve(2) == (WHOLE, WHOLE, False), "wrong bytes are handed over"
    assert second.retrieve(3) == (WHOLE, WHOLE, True)
    for file in short:
        assert file.exists(), "what could not be read stays, and is found again"


def test_two_that_write_one_chunk_write_into_one_file(start: Callable[..., Worker], mount: Path) -> None:
    """The temporary file is named as the chunk: whoever is still writing to it does so under the chunk's own name."""
    first = start(mount)
    files = stored(first, mount, 1)
    temporaries = [mount / "lmcache" / ".tmp" / file.name for file in files]
    for file in files:
        file.unlink()
    others = [temporary.open("wb", buffering=0) for temporary in temporaries]  # of a pod in the middle of its write
    second = start(mount)
    stored(second, mount, 1)
    for other in others:
        other.seek(CHUNK_BYTES // 2)
        other.write(b"\xff" * 100)
        other.close()
    assert start(mount).retrieve(1) == (WHOLE, WHOLE, False), "the other's bytes are in the published chunk"


def test_files_are_for_pods_of_one_uid(start: Callable[..., Worker], mount: Path) -> None:
    """The chart gives all its pods one uid. Pods of another one read, and store nothing."""
    files = stored(start(mount), mount, 1)
    modes = {oct(path.stat().st_mode & 0o777) for path in (*files, mount / "lmcache", mount / "lmcache" / ".tmp")}
    assert modes == {"0o644", "0o755"}, "by the umask; nothing for the group"
    for parent in (mount, *mount.parents):
        parent.chmod(parent.stat().st_mode | 0o055)
    other = start(mount)
    other.ask("become", uid=OTHER_UID)
    assert other.retrieve(1) == (WHOLE, WHOLE, True)
    other.ask("store", prompt=2, tokens=TOKENS)
    eventually(lambda: other.log.read_text().count("Put task failed") == 3, "its writes to fail")
    assert chunks(mount) == files


def test_nothing_bounds_the_directory(start: Callable[..., Worker], mount: Path, figures: Callable[..., None]) -> None:
    """cpuTier.size is of memory. The claim fills until something else deletes: docs/evictor.md."""
    writer = start(mount)
    for number in range(TIER_MIB):
        stored(writer, mount, number)
    assert len(chunks(mount)) == 3 * TIER_MIB, "nothing was deleted"
    assert start(mount).retrieve(0) == (WHOLE, WHOLE, True)
    figures(mib_stored_over_a_tier_of=[float(3 * TIER_MIB), float(TIER_MIB)])
