from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.paths import Lab


@pytest.fixture
def lab_here(tmp_path: Path) -> Lab:
    """A lab in an empty folder; nothing of it runs."""
    return Lab(tmp_path / "home")
