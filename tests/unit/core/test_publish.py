# SPDX-License-Identifier: Apache-2.0
"""A user would lose: blocks that are whole under their name, and a folder without litter."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks.publish import choose
from llmd_storage_core import publish as publishing
from llmd_storage_core.publish import publish, whole
from llmd_storage_core.strategies import AUTO, STRATEGIES, candidates

BUFFERS = [b"header", memoryview(b"payload" * 1000)]
CONTENT = b"".join(bytes(buffer) for buffer in BUFFERS)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("by", ["path", "descriptor"])
def test_a_block_is_whole_and_alone(tmp_path: Path, strategy: str, by: str) -> None:
    folder = str(tmp_path) if by == "path" else os.open(tmp_path, os.O_RDONLY)
    assert publish(strategy, folder, "block", whole(BUFFERS))
    assert [path.name for path in tmp_path.iterdir()] == ["block"]
    assert (tmp_path / "block").read_bytes() == CONTENT
    if isinstance(folder, int):
        os.close(folder)


@pytest.mark.parametrize("strategy", ["link", "exclusive"])
def test_a_block_that_is_there_is_left_alone(tmp_path: Path, strategy: str) -> None:
    (tmp_path / "block").write_bytes(b"first")
    assert not publish(strategy, str(tmp_path), "block", whole(BUFFERS))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("call", ["writev", "close", "rename", "link", "fsync"])
def test_a_failure_leaves_nothing(tmp_path: Path, strategy: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk shows at any of these calls, at close and fsync on network filesystems."""
    real: Callable[..., Any] = getattr(os, call)
    failed = []

    def full(*args: Any, **kwargs: Any) -> Any:
        if call == "close":
            real(*args, **kwargs)
        failed.append(call)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(publishing.os, call, full)
    try:
        publish(strategy, str(tmp_path), "block", whole(BUFFERS))
    except OSError as error:
        assert error.errno == errno.ENOSPC
    monkeypatch.undo()
    if failed and not (call == "close" and strategy == "rename_fsync"):
        assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    monkeypatch.setattr(publishing.os, "writev", lambda fd, buffers: real(fd, [buffers[0][:5]]))
    publish("link", str(tmp_path), "block", whole(BUFFERS))
    assert (tmp_path / "block").read_bytes() == CONTENT


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_write_that_is_given_up_leaves_nothing(tmp_path: Path, strategy: str) -> None:
    def write(fd: int) -> None:
        os.write(fd, b"half of a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(strategy, str(tmp_path), "block", write)
    assert list(tmp_path.iterdir()) == []


def test_on_cephfs_auto_is_the_one_atomic_way_that_other_nodes_see_at_once(tmp_path: Path) -> None:
    for filesystem in ("ceph", "fuse.ceph-fuse"):
        assert choose(AUTO, filesystem, str(tmp_path), 4096) == "rename_fsync"


def test_a_filesystem_nobody_knows_is_never_given_a_way_that_may_show_late() -> None:
    assert set(candidates(AUTO, "fuse.something")) == set(candidates(AUTO, "")) == {"rename_fsync", "exclusive"}


@pytest.mark.parametrize(
    ("seconds", "way"),
    [
        ({"rename_fsync": 0.011, "exclusive": 0.010}, "rename_fsync"),
        ({"rename_fsync": 0.020, "exclusive": 0.010}, "exclusive"),
        ({"rename_fsync": 0.010, "exclusive": 0.020}, "rename_fsync"),
    ],
)
def test_auto_pays_a_little_for_an_atomic_way_and_not_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], way: str
) -> None:
    monkeypatch.setattr(publishing, "measure", lambda name, *_: seconds[name])
    assert choose(AUTO, "nfs4", str(tmp_path), 4096) == way


def test_measuring_leaves_nothing_and_a_set_way_is_not_measured(tmp_path: Path) -> None:
    assert choose(AUTO, "lustre", str(tmp_path), 4096) in STRATEGIES
    assert list(tmp_path.iterdir()) == []
    assert {choose(strategy, "nfs4", "/nowhere", 4096) for strategy in STRATEGIES} == set(STRATEGIES)
