"""An evictor over a million files: what a scan costs, what it holds in memory, what it does while nothing happens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FILES = 1_000_000


@pytest.mark.timeout(3600)
def test_a_million_files_are_known_kept_and_removed(tmp_path: Path, figures: Callable[..., None]) -> None:
    argv = [sys.executable, "-m", "tests.bench.evictor_scale", "--files", str(FILES), "--folder", str(tmp_path / "c")]
    seen = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)
    figures(**seen)
    assert seen["evicted_files"] > 0
    assert seen["rss_after_scan_mib"] < 512
    assert seen["idle_cpu_share_at_poll_10s"] < 0.05
