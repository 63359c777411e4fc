# SPDX-License-Identifier: Apache-2.0
"""A hook's configuration from the command line: JSON, values for the chart, or single options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd_storage_hooks.core.errors import ConfigError
from llmd_storage_hooks.core.helm import Chart, rendered

RELEASE = "cache"
NAMESPACE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What the command line gives. config: JSON or @file; values: files for helm's -f; settings: as helm's --set;
    chart: as helm takes it. release and namespace win over what config and values say."""

    config: str = ""
    values: Sequence[Path] = ()
    settings: Sequence[str] = ()
    chart: str = ""
    release: str = ""
    namespace: str = ""


def config_data(
    hook: str, arguments: Arguments, options: Mapping[str, Any], sufficient: bool = False
) -> dict[str, Any]:
    """The configuration as JSON data.

    options: single keys, which win; None = not given. sufficient: they are enough without config and values.
    Raises: ConfigError.
    """
    if arguments.config and arguments.values:
        raise ConfigError("--config and -f both say what to look at; give one of them.")
    if not (arguments.config or arguments.values or sufficient):
        raise ConfigError(f"nothing says what to look at; see llmd-storage-hooks {hook} --help for examples.")
    release, namespace = arguments.release or RELEASE, arguments.namespace or NAMESPACE
    start: dict[str, Any] = {"release": release, "namespace": namespace}
    if arguments.values:
        start = rendered(hook, Chart(arguments.chart, arguments.values, arguments.settings), release, namespace)
    if arguments.config:
        start = _parsed(_json_text(arguments.config))
        start |= {
            key: value for key, value in (("release", arguments.release), ("namespace", arguments.namespace)) if value
        }
    return start | {key: value for key, value in options.items() if value is not None}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--config is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ConfigError(f"config must be a JSON object, not {found!r:.80}.")
    return found


def _json_text(arguments: str) -> str:
    if not arguments.startswith("@"):
        return arguments
    try:
        return Path(arguments[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {arguments}: cannot be read ({error}).") from error
