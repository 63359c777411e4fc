# SPDX-License-Identifier: Apache-2.0
"""One run of a hook as a process: its configuration, signals, where the report goes, the exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from llmd_storage_hooks.core import output
from llmd_storage_hooks.core.arguments import Arguments, config_data
from llmd_storage_hooks.core.catalogue import with_links
from llmd_storage_hooks.core.config import HookConfig, from_json
from llmd_storage_hooks.core.errors import ConfigError, Stopped
from llmd_storage_hooks.core.report import Report
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.timeout import STOP_SIGNALS
from llmd_storage_hooks.core.verdicts import Finding, Verdict, exit_code, override

USAGE = 2

C = TypeVar("C", bound=HookConfig)


def run_hook(
    hook: str,
    kind: type[C],
    run: Callable[[C], HookResult],
    arguments: Arguments,
    *,
    form: str,
    options: Mapping[str, Any] | None = None,
    sufficient: bool = False,
) -> None:
    """Run one hook from its configuration to its exit code. Does not return.

    form: table, json or junit. options, sufficient: as `config_data`.
    """
    try:
        config = from_json(kind, config_data(hook, arguments, options or {}, sufficient))
    except ConfigError as error:
        usage_error(hook, str(error))
        return
    started, began = datetime.now(UTC), time.monotonic()
    for one in STOP_SIGNALS:
        signal.signal(one, _stop)
    result = _run_guarded(hook, run, config)
    report = Report(
        hook=hook,
        release=config.release,
        namespace=config.namespace,
        started_at=started.isoformat(timespec="seconds"),
        duration_seconds=time.monotonic() - began,
        findings=tuple(with_links(override(result.findings, config.checks))),
        numbers=result.numbers,
        proof=result.proof,
    )
    if result.silent:
        _exit(0)
        return
    output.show(report, form)
    output.write_termination_message(report)
    code = exit_code(report.verdict, config.allow_inconclusive)
    if code:
        output.annotate_job(report, config.job_name)
    output.write_config_map(report, config.report_config_map)
    _exit(code)


def usage_error(hook: str, why: str) -> None:
    """Print one sentence and exit with 2. Does not return."""
    print(f"llmd-storage-hooks {hook}: {why}", file=sys.stderr)
    _exit(USAGE)


def _run_guarded(hook: str, run: Callable[[C], HookResult], config: C) -> HookResult:
    """A bug in the hook becomes a finding: a user who installs a chart has no use for a traceback."""
    try:
        return run(config)
    except Stopped:
        return HookResult([_stopped(hook)])
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{'/'.join(Path(where.tb_frame.f_code.co_filename).parts[-2:])}:{where.tb_lineno}" if where else "?"
        return HookResult(
            [
                Finding(
                    f"{hook}.internal",
                    Verdict.INCONCLUSIVE,
                    f"The {hook} itself broke ({type(error).__name__}: {error}; at {place}).",
                    f"Please report it with this line. To go on regardless, set hooks.{hook}.enabled=false.",
                )
            ]
        )


def _stop(signum: int, frame: FrameType | None) -> None:
    # A second signal changes nothing: the report is all that is left to do in the grace period.
    for one in STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    raise Stopped


def _stopped(hook: str) -> Finding:
    return Finding(
        f"{hook}.finished",
        Verdict.INCONCLUSIVE,
        f"The {hook} was told to end before it was done.",
        f"If its Job ran out of time, raise hooks.{hook}.timeoutSeconds; run it again with helm test.",
    )


def _exit(code: int) -> None:
    """Exit now: a thread that hangs in a dead filesystem must not hold the process back."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
