# SPDX-License-Identifier: Apache-2.0
"""The command line: arguments in, exit code out.

Exit codes: 0 pass (warnings allowed), 1 fail, 2 usage or bad config, 3 inconclusive.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, TypeVar

import typer

from llmd_storage_hooks import output as outlet
from llmd_storage_hooks.catalogue import with_links
from llmd_storage_hooks.config import ClaimConfig, Common, PreflightConfig, ProbeConfig, ProofConfig, parse
from llmd_storage_hooks.errors import ConfigError, Stopped
from llmd_storage_hooks.report import Report
from llmd_storage_hooks.run.outcome import Outcome
from llmd_storage_hooks.verdicts import Finding, Verdict, exit_code, override

USAGE = 2

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class OutputForm(StrEnum):
    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


ConfigOption = Annotated[str, typer.Option("--config", help="The config as JSON, or @file.json.")]
OutputOption = Annotated[
    OutputForm, typer.Option("--output", help="json, junit: the whole report as the last line, after the table.")
]

C = TypeVar("C", bound=Common)

# What the chart passes is in the hook's Job: kubectl get job -o yaml, or helm get hooks RELEASE.
EXAMPLES = {
    "preflight": """llmd-storage-hooks preflight --config
        '{"release": "kv", "namespace": "default", "storage": {"storageClassName": "cephfs"}}'""",
    "claim": """llmd-storage-hooks claim --config
        '{"release": "kv", "namespace": "default", "claimName": "kv-kv-cache", "podSelector": {"app": "vllm"}}'""",
    "probe": """PROBE_RUN_ID=1 JOB_COMPLETION_INDEX=0 NODE_NAME=a llmd-storage-hooks probe --config
        '{"release": "kv", "namespace": "default", "path": "/mnt/kv-cache"}' (and index 1 on another node)""",
    "proof": "llmd-storage-hooks proof --config @proof.json --output json",
}


def example(hook: str) -> str:
    return f"Example: {' '.join(EXAMPLES[hook].split())}"


@app.command(epilog=example("preflight"))
def preflight(config: ConfigOption, output: OutputOption = OutputForm.TABLE) -> None:
    """Before the install: can this cluster and this storage carry a shared cache at all? Reads only."""
    from llmd_storage_hooks.run.preflight import run

    _run("preflight", PreflightConfig, config, output, run)


@app.command(epilog=example("claim"))
def claim(config: ConfigOption, output: OutputOption = OutputForm.TABLE) -> None:
    """On the claim, from outside: waits until it is bound and mounted, and tells why it is not. Reads only."""
    from llmd_storage_hooks.run.claim import run

    _run("claim", ClaimConfig, config, output, run)


@app.command(epilog=example("probe"))
def probe(config: ConfigOption, output: OutputOption = OutputForm.TABLE) -> None:
    """On the claim: two pods check what a shared cache needs of the filesystem."""
    from llmd_storage_hooks.run.probe import run

    _run("probe", ProbeConfig, config, output, run)


@app.command(epilog=example("proof"))
def proof(config: ConfigOption, output: OutputOption = OutputForm.TABLE) -> None:
    """On the running servers: pod A prefills a prompt, pod B answers it from the shared storage."""
    from llmd_storage_hooks.run.proof import run

    _run("proof", ProofConfig, config, output, run)


def _run(hook: str, kind: type[C], config_text: str, form: OutputForm, run: Callable[[C], Outcome]) -> None:
    try:
        config = parse(kind, _config_text(config_text))
    except ConfigError as error:
        print(f"llmd-storage-hooks {hook}: {error}", file=sys.stderr)
        _leave(USAGE)
        return
    started, began = datetime.now(UTC), time.monotonic()
    signal.signal(signal.SIGTERM, _stop)
    outcome = _guarded(hook, run, config)
    report = Report(
        hook=hook,
        release=config.release,
        namespace=config.namespace,
        started_at=started.isoformat(timespec="seconds"),
        duration_seconds=time.monotonic() - began,
        findings=tuple(with_links(override(outcome.findings, config.checks))),
        numbers=outcome.numbers,
        proof=outcome.proof,
    )
    if outcome.silent:
        _leave(0)
        return
    outlet.show(report, form.value)
    outlet.write_termination_message(report)
    outlet.write_config_map(report, config.report_config_map)
    _leave(exit_code(report.verdict, config.allow_inconclusive))


def _config_text(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {text}: cannot be read ({error}).") from error


def _guarded(hook: str, run: Callable[[C], Outcome], config: C) -> Outcome:
    """A bug of ours is a finding as well: a user who installs a chart has no use for a traceback."""
    try:
        return run(config)
    except Stopped:
        return Outcome([_stopped(hook)])
    except Exception as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        return Outcome(
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
    # Once is enough: what is left is to report, within the grace that Kubernetes gives.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _stopped(hook: str) -> Finding:
    return Finding(
        f"{hook}.finished",
        Verdict.INCONCLUSIVE,
        f"The {hook} was told to end before it was done.",
        f"If its Job ran out of time, raise hooks.{hook}.timeoutSeconds; run it again with helm test.",
    )


def _leave(code: int) -> None:
    """Exit now: a thread that hangs in a dead filesystem must not hold the process back."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    app()
