# SPDX-License-Identifier: Apache-2.0
"""The plot of a plan. The only module that uses matplotlib, which is optional."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from llmd_storage_evictor.errors import Misconfigured
from llmd_storage_evictor.sizing.planning import Plan


def draw(path: Path, plan: Plan, storage_mib_s: float) -> None:
    """Plot the seconds to load the prefix, by storage speed, against the seconds to compute it.

    storage_mib_s: the speed to mark; 0: none. Requires: plan.prefill_s is set. Raises: Misconfigured without
    matplotlib.
    """
    assert plan.prefill_s is not None and plan.break_even_mib_s is not None
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise Misconfigured("--plot needs matplotlib: pip install 'llm-d-storage-evictor[plot]'") from error
    figure, axes = pyplot.subplots(figsize=(7, 4.5), constrained_layout=True)
    speeds = [plan.break_even_mib_s * 2 ** (step / 4) for step in range(-20, 21)]
    seconds = [plan.prompt_bytes / 2**20 / speed for speed in speeds]
    axes.loglog(speeds, seconds, label="load from storage")
    axes.axhline(plan.prefill_s, color="tab:orange", label="compute")
    worth = [one < plan.prefill_s for one in seconds]
    axes.fill_between(speeds, seconds, plan.prefill_s, where=worth, alpha=0.15, color="tab:green", label="worth it")
    if storage_mib_s:
        here = plan.prompt_bytes / 2**20 / storage_mib_s
        axes.plot([storage_mib_s], [here], "o", color="black", label="this storage")
    axes.set_xlabel("storage speed, MiB/s")
    axes.set_ylabel("seconds")
    axes.set_title(f"A prefix of {plan.prompt_tokens} tokens, {plan.prompt_bytes / 2**30:.2f} GiB")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)
    pyplot.close(figure)
