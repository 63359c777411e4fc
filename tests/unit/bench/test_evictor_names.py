# SPDX-License-Identifier: Apache-2.0
"""The evictor's scanner takes the invented filesystem for real. A user would lose: a promise that nobody holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_every_invented_file_is_known_to_the_leader_and_to_the_next_one(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.bench.evictor_names", "--files", "2048", "--minutes", "1"]
    seen = json.loads(subprocess.check_output([*argv, "--folder", str(tmp_path / "names")], text=True))
    assert seen["leader"]["files"] == seen["successor"]["files"] == 2048
    assert 0 < seen["leader"]["idle_ops_s"] < seen["leader"]["busy_ops_s"]
