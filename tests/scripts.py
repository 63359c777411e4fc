"""Scripts that people run by their path (charts/tools, docs/site, the chart's files), as modules."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def module(folder: str, name: str) -> ModuleType:
    """``folder``/``name``.py, from the root on; its neighbours are found as when Python runs it."""
    path = str(ROOT / folder)
    sys.path.insert(0, path)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(path)
