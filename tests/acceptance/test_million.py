"""An evictor over a million files, and over ten million names: what it holds in memory, and what it asks of storage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.evictor_names import DEFAULTS

FILES = 1_000_000
NAMES = 10_000_000
LIMIT_MIB = 512


def measured(script: str, files: int, folder: Path) -> dict[str, Any]:
    """What a script of tests/bench prints."""
    argv = [sys.executable, "-m", f"tests.bench.{script}", "--files", str(files), "--folder", str(folder / "cache")]
    printed: dict[str, Any] = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return printed


@pytest.mark.timeout(3600)
def test_a_million_files_are_known_kept_and_removed(tmp_path: Path, figures: Callable[..., None]) -> None:
    seen = measured("evictor_scale", FILES, tmp_path)
    figures(**seen)
    assert seen["evicted_files"] > 0
    assert seen["rss_after_scan_mib"] < LIMIT_MIB
    assert seen["idle_cpu_share_at_poll_10s"] < 0.05


@pytest.mark.timeout(3600)
def test_ten_million_names_fit_and_cost_no_more_operations_than_are_allowed(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    """On a filesystem that is invented (tests/bench/evictor_names.py): ten million real files would be its test."""
    seen = measured("evictor_names", NAMES, tmp_path)
    leader, successor = seen["leader"], seen["successor"]
    figures(**{f"ten_million_{name}": value for name, value in leader.items() if name != "files"})
    figures(ten_million_next_leader_peak_mib=successor["peak_mib"])
    assert leader["files"] == successor["files"] > 0.99 * NAMES
    assert max(leader["peak_mib"], successor["peak_mib"]) < LIMIT_MIB
    assert leader["idle_ops_s"] <= leader["busy_ops_s"] <= DEFAULTS.metadata_ops_s
