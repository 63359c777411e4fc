# SPDX-License-Identifier: Apache-2.0
"""A hook's configuration from what a person gave on the command line: JSON, values for the chart, single options."""

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
    """config: JSON or @file; values: files for helm's -f; release and namespace win over what the others say."""

    config: str = ""
    values: Sequence[Path] = ()
    settings: Sequence[str] = ()
    chart: str = ""
    release: str = ""
    namespace: str = ""


def raw(hook: str, given: Arguments, options: Mapping[str, Any], enough: bool = False) -> dict[str, Any]:
    """The configuration as JSON data. options: single keys, None = not given. enough: they can do without the rest.

    Raises: ConfigError.
    """
    if given.config and given.values:
        raise ConfigError("--config and -f both say what to look at; give one of them.")
    if not (given.config or given.values or enough):
        raise ConfigError(f"nothing says what to look at; see llmd-storage-hooks {hook} --help for examples.")
    release, namespace = given.release or RELEASE, given.namespace or NAMESPACE
    start: dict[str, Any] = {"release": release, "namespace": namespace}
    if given.values:
        start = rendered(hook, Chart(given.chart, given.values, given.settings), release, namespace)
    if given.config:
        start = _parsed(_text(given.config))
        start |= {key: value for key, value in (("release", given.release), ("namespace", given.namespace)) if value}
    return start | {key: value for key, value in options.items() if value is not None}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--config is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ConfigError(f"config must be a JSON object, not {found!r:.80}.")
    return found


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {given}: cannot be read ({error}).") from error
