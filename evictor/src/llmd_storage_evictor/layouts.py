# SPDX-License-Identifier: Apache-2.0
"""Where other connectors keep their blocks, for an evictor that is told to keep one of their directories. Pure.

A file is a block only where every folder on its way and its own name are exactly what the connector writes. All else
is none of ours: it is counted as unknown and never touched, and folders of other names are not entered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

Levels = tuple[re.Pattern[str], ...]

_MODEL = re.compile(r"[^./%][^/%]*")
_THREE, _TWO = re.compile(r"[0-9a-f]{3}"), re.compile(r"[0-9a-f]{2}")
_TWO_AND_GROUP = re.compile(r"([0-9a-f]{2})_g\d+")
# Of a 64-bit hash, of sha256, or of a key with a group behind it.
_HASH = re.compile(r"((?:[0-9a-f]{2}){8,40})\.bin")
_VLLM_SPACE = re.compile(r"([^./][^/]*)_[0-9a-f]{12}_r\d+")
_VLLM_SCRATCH = re.compile(r"(?:[0-9a-f]{2}){8,40}\.bin_\d{1,19}\.tmp")
_FS_BACKEND_SPACE = (
    re.compile(r"block_size_\d+_blocks_per_file_\d+"),
    re.compile(r"tp_\d+_pp_size_\d+_pcp_size_\d+"),
    re.compile(r"rank_\d+"),
    re.compile(r"(?:torch\.)?[a-z]+[a-z0-9_]*"),
)
# model@world@worker@hash@dtype, of one layer with its number, and tags; an earlier version had a format in front.
_LMCACHE_KEY = (
    r"(?:(?:vllm|huggingface)@)?[^@/]+@\d+@-?\d+@-?[0-9a-f]{1,64}(?:@[a-z][a-z0-9_]*)?(?:@\d+)?(?:@[^@/%]+%[^@/]*)*"
)
_LMCACHE = re.compile(_LMCACHE_KEY + r"\.data")
_LMCACHE_SCRATCH = re.compile(_LMCACHE_KEY + r"\.tmp")


@dataclass(frozen=True)
class Layout:
    """One connector's directory.

    spaces: folders from the root that make a namespace, each way to one; () for the root itself. folders: from there
    to the folder of a block. is_block: of the folders below the namespace, and a file's name. model: of the namespace.
    """

    name: str
    spaces: tuple[Levels, ...]
    folders: Levels
    is_block: Callable[[Sequence[str], str], bool]
    is_scratch: Callable[[str], bool]
    model: Callable[[Sequence[str]], str]


def space_name(parts: Sequence[str]) -> str:
    """A namespace's folders as one name."""
    return quote("/".join(parts), safe="") or "all"


def space_parts(name: str) -> tuple[str, ...]:
    """The inverse of space_name()."""
    return () if name == "all" else tuple(unquote(name).split("/"))


def _is_vllm_block(folders: Sequence[str], name: str) -> bool:
    found, second = _HASH.fullmatch(name), _TWO_AND_GROUP.fullmatch(folders[1])
    return found is not None and second is not None and found[1].startswith(folders[0] + second[1])


def _is_fs_backend_block(folders: Sequence[str], name: str) -> bool:
    found = _HASH.fullmatch(name)
    return found is not None and found[1].startswith("".join(folders))


def _vllm_model(parts: Sequence[str]) -> str:
    found = _VLLM_SPACE.fullmatch(parts[0])
    return found[1] if found else ""


LAYOUTS = {
    one.name: one
    for one in (
        # <model>_<digest>_r<rank>/<hhh>/<hh>_g<group>/<hash>.bin (vLLM 0.32)
        Layout(
            "vllm-fs",
            ((_VLLM_SPACE,),),
            (_THREE, _TWO_AND_GROUP),
            _is_vllm_block,
            lambda name: _VLLM_SCRATCH.fullmatch(name) is not None,
            _vllm_model,
        ),
        # <model, of one folder or two>/block_size_…/tp_…/rank_…/<dtype>/<hhh>/<hh>/<hash>.bin (llm-d-kv-cache)
        Layout(
            "llmd-fs-backend",
            ((_MODEL, *_FS_BACKEND_SPACE), (_MODEL, _MODEL, *_FS_BACKEND_SPACE)),
            (_THREE, _TWO),
            _is_fs_backend_block,
            lambda name: False,
            lambda parts: "/".join(parts[: -len(_FS_BACKEND_SPACE)]),
        ),
        # <key>.data, all in one folder (LMCache)
        Layout(
            "lmcache",
            ((),),
            (),
            lambda folders, name: _LMCACHE.fullmatch(name) is not None,
            lambda name: _LMCACHE_SCRATCH.fullmatch(name) is not None,
            lambda parts: "LMCache",
        ),
    )
}
