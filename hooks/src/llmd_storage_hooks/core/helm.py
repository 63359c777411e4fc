# SPDX-License-Identifier: Apache-2.0
"""Have helm render the chart, and take the configuration that an install with these values would give a hook."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmd_storage_hooks.core.errors import ConfigError

HELM_TIMEOUT_S = 60.0
_ERROR_CHARS = 1500  # of helm's own: its errors name the value at their end


@dataclass(frozen=True, slots=True)
class Chart:
    """`path`: a folder, a package or an OCI address; what helm takes."""

    path: str
    values: Sequence[Path]
    settings: Sequence[str] = ()  # as helm's --set


def rendered(hook: str, chart: Chart, release: str, namespace: str) -> dict[str, Any]:
    """Blocks up to: HELM_TIMEOUT_S. Raises: ConfigError, with helm's own message when the values are wrong."""
    helm = shutil.which("helm")
    if helm is None:
        raise ConfigError("-f needs helm on PATH, which renders the chart: install Helm 4, or use --config.")
    argv = [helm, "template", release, chart.path, "-n", namespace]
    argv += [word for one in chart.values for word in ("-f", str(one))]
    argv += [word for one in chart.settings for word in ("--set", one)]
    argv += ["--set", f"hooks.{hook}.enabled=true", "--show-only", f"templates/hooks/{hook}/job.yaml"]
    try:
        helm_run = subprocess.run(argv, capture_output=True, text=True, timeout=HELM_TIMEOUT_S, check=False)
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ConfigError(f"helm template did not end well ({error}).") from error
    if helm_run.returncode != 0:
        raise ConfigError(f"helm cannot render the chart with these values: {helm_run.stderr.strip()[-_ERROR_CHARS:]}")
    return _config_of(yaml.safe_load(helm_run.stdout), hook)


def _config_of(job: Any, hook: str) -> dict[str, Any]:
    """The JSON that the chart passes to the hook's container, with no ConfigMap or Job to write on."""
    try:
        args = job["spec"]["template"]["spec"]["containers"][0]["args"]
        config = json.loads(args[args.index("--config") + 1])
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"this chart has no {hook} hook as this program knows it ({error!r}).") from error
    return {**config, "reportConfigMap": "", "jobName": ""}
