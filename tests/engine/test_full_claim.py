# SPDX-License-Identifier: Apache-2.0
"""What a user would lose when a claim is really full, or the kernel turns it read-only: answers, or the cache."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.models import ROW_BYTES
from tests.engine.process import Engine, block_files
from tests.engine.served import BLOCKS, Served
from tests.faultfs.mounts import small

pytestmark = pytest.mark.engine

# Folders and a manifest, and then four prompts of ten blocks.
SIZE_BYTES = 300 * 4096 + 4 * BLOCKS * (ROW_BYTES + 4096)


@pytest.fixture(scope="module")
def claim(
    tmp_path_factory: pytest.TempPathFactory,
    model: Path,
    start_engine: Callable[..., Engine],
    without_cache: Callable[[list[int]], list[int]],
) -> Iterator[Served]:
    with small(tmp_path_factory.mktemp("small") / "claim", SIZE_BYTES) as root:
        engine = start_engine(model, root, extra={"skip_slow_loads": False}).wait_ready()
        yield Served(engine, root, without_cache)
        engine.kill()


def test_a_full_claim_pauses_writing_until_there_is_room(claim: Served) -> None:
    kept, _ = claim.stored()
    ballast = claim.root / "ballast"
    _fill(ballast)
    before = claim.engine.metrics()
    claim.check()
    claim.engine.wait_until(lambda seen: seen.ours("writes_paused") == 1, "writing pauses")
    claim.rises(before, "write_pauses", reason="enospc")
    assert claim.loads(kept) == BLOCKS
    # What could not be written whole is not left behind: it would fill the claim for good.
    assert all(file.stat().st_size == ROW_BYTES + 4096 for file in block_files(claim.root))
    assert not list(claim.root.glob("*/??/.*.tmp"))
    ballast.unlink()
    claim.uses_storage_again()


def test_a_claim_that_turned_read_only_is_read_and_written_again_afterwards(claim: Served) -> None:
    for file in block_files(claim.root):
        file.unlink()
    claim.engine.forget()
    kept, _ = claim.stored()
    before = claim.engine.metrics()
    _remount(claim.root, "ro")
    claim.check()
    claim.engine.wait_until(lambda seen: seen.ours("writes_paused") == 1, "writing pauses")
    claim.rises(before, "write_pauses", reason="erofs")
    assert claim.loads(kept) == BLOCKS
    _remount(claim.root, "rw")
    claim.uses_storage_again()


def _fill(file: Path) -> None:
    """Until nothing fits any more."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="No space left"):
            while True:
                os.write(fd, bytes(4096))
    finally:
        os.close(fd)


def _remount(at: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(at)], check=True)
