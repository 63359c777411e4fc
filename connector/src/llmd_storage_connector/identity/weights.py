# SPDX-License-Identifier: Apache-2.0
"""Which files of a model say what its KV is, and what of them goes into the identity.

All that an engine computes with: weights and their index, configurations (of quantization too), code that the model
brings, and what prepares images and sound. Not what only makes tokens of text, since a block's key names tokens, nor
READMEs. The folder's path and times do not count: a hub snapshot and a copy of it are the same.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.identity.facts import canonical_json

_TENSORS = ("*.safetensors", "*.safetensors.index.json")
# vLLM falls back to these where there is no safetensors file.
_OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.gguf")
_CONFIGURATIONS = ("config*.json", "params.json", "*quant*.json")
_MEDIA = ("*processor*.json",)
_CODE = ("*.py",)
# Folders beside the weights that no engine reads: other formats of the same weights, and states of a training.
_NOT_LOADED = (".*", "original", "checkpoint-*")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The files of one model.

    places: one file, or folders, of which the first that has a file of some name counts. other_formats: formats other
    than safetensors count although there is safetensors. converted: a folder of which every file counts; "": none.
    code: the model's own runs. other_code: name and folder of further repositories whose code runs.
    media: it takes more than text.
    loaded_after_s: Unix time; a file that was changed later may not be what was loaded. None: they never change.
    """

    places: tuple[Path, ...]
    other_formats: bool = False
    converted: str = ""
    code: bool = False
    other_code: tuple[tuple[str, Path], ...] = ()
    media: bool = False
    loaded_after_s: float | None = None

    def files(self) -> dict[str, Path]:
        """{name within the model: path} of all that count. Raises: Misconfigured without weights; OSError."""
        if self.places[0].is_file():
            return {"": self.places[0]}
        found: dict[str, Path] = {}
        for place in self.places:
            for name, path in _walk(place):
                found.setdefault(name, path)
        has_tensors = any(_is_like(name, _TENSORS[:1]) and "/" not in name for name in found)
        weights = _TENSORS[:1] + (() if has_tensors and not self.other_formats else _OTHER_FORMATS)
        if not any(_is_like(name, weights) for name in found):
            raise Misconfigured(
                f"no weight files ({', '.join(_TENSORS[:1] + _OTHER_FORMATS)}) in {self.places[0]}: the connector "
                "cannot tell whose KV cache this would be; serve the model from a directory that has them, or set "
                "weights_id in kv_connector_extra_config (modelserver.storageTier.weightsId)"
            )
        index = () if has_tensors else ("*.index.json",)
        counting = weights + _TENSORS + index + _CONFIGURATIONS
        counting += (_MEDIA if self.media else ()) + (_CODE if self.code else ())
        counted = {
            name: path
            for name, path in sorted(found.items())
            if _is_like(name, counting) or (self.converted and name.startswith(f"{self.converted}/"))
        }
        for repository, folder in self.other_code:
            counted |= {f"{repository}--{name}": path for name, path in _walk(folder) if _is_like(name, _CODE)}
        return counted


def facts_of(contents: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """What the identity says of a model's files, given {name: (bytes, digest)}."""
    said = sorted([name, size, digest] for name, (size, digest) in contents.items())
    return {
        "kind": "content",
        "files": len(said),
        "bytes": sum(size for size, _ in contents.values()),
        "sha256": hashlib.sha256(canonical_json(said).encode()).hexdigest(),
    }


def _is_like(name: str, patterns: tuple[str, ...]) -> bool:
    base = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(base, pattern) for pattern in patterns)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name from the folder on, path) of every file. A hub snapshot's are links. Raises: OSError."""
    for at, below, names in os.walk(folder, onerror=_refuse):
        below[:] = [name for name in below if not any(fnmatch.fnmatchcase(name, no) for no in _NOT_LOADED)]
        for name in names:
            path = Path(at, name)
            yield path.relative_to(folder).as_posix(), path


def _refuse(error: OSError) -> None:
    raise error
