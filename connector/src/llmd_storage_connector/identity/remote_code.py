# SPDX-License-Identifier: Apache-2.0
"""Which other repositories a model's configurations name for code: "owner/repository--module.Class" in an auto_map."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# What prepares text, images, sound and video may bring code that the model's own configuration knows nothing of.
_PREPROCESSING = ("*processor*.json", "tokenizer_config.json")


def repositories_in(auto_map: Any) -> set[str]:
    """Those of an auto_map's value: a text, or a list or mapping of such."""
    return {name.partition("--")[0] for name in _texts(auto_map) if "--" in name}


def repositories_of_preprocessing(places: Iterable[Path]) -> set[str]:
    """Those that files of these folders name. What is no JSON names none: nobody could have run it. Raises: OSError."""
    found: set[str] = set()
    for file in [file for place in places for pattern in _PREPROCESSING for file in place.glob(pattern)]:
        with contextlib.suppress(ValueError):
            for auto_map in _auto_maps(json.loads(file.read_bytes())):
                found |= repositories_in(auto_map)
    return found


def _auto_maps(value: Any) -> Iterator[Any]:
    """A processor's configuration may hold those of its parts."""
    for key, part in value.items() if isinstance(value, Mapping) else ():
        if key == "auto_map":
            yield part
        else:
            yield from _auto_maps(part)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
