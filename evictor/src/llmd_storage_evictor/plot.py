# SPDX-License-Identifier: Apache-2.0
"""The picture of a plan. The only module that knows matplotlib, which is not installed by default."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.planning import Plan


def draw(path: Path, plans: Sequence[Plan]) -> None:
    """Seconds to load and to compute, by length of the prefix. Raises: Misconfigured without matplotlib."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise Misconfigured("--plot needs matplotlib: pip install 'llm-d-storage-evictor[plot]'") from error
    figure, axes = pyplot.subplots(figsize=(7, 4.5), constrained_layout=True)
    lengths = [one.prompt_tokens for one in plans]
    axes.loglog(lengths, [one.load_s for one in plans], marker="o", label="load from storage")
    axes.loglog(lengths, [one.prefill_s for one in plans], marker="s", label="compute")
    axes.set_xlabel("tokens of the prefix")
    axes.set_ylabel("seconds")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)
