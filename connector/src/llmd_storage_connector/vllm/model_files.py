# SPDX-License-Identifier: Apache-2.0
"""Where the files are that vLLM has loaded an engine's models from, as vLLM 0.32 finds them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.identity import hub
from llmd_storage_connector.identity.fingerprint import Weights
from llmd_storage_connector.identity.remote_code import repositories_in, repositories_of_preprocessing
from llmd_storage_connector.identity.weights import Checkpoint

if TYPE_CHECKING:
    from vllm.config import LoadConfig, ModelConfig, VllmConfig

# Formats of --load-format that read the files of a local folder. sharded ones: the folder's own.
_FROM_FILES = frozenset(
    "auto hf safetensors fastsafetensors instanttensor mistral pt npcache sharded_state runai_streamer "
    "runai_streamer_sharded bitsandbytes gguf".split()
)
_OTHER_FORMATS = frozenset({"pt", "npcache"})
# Where npcache keeps what it has made of the weights at their first load, and from then on loads instead of them.
_CONVERTED = "np"
# Importing vLLM alone takes longer.
_IMPORTS_S = 0.5


def weights_of(vllm_config: VllmConfig, weights_id: str | None) -> dict[str, Weights]:
    """The weights of every model that keeps KV in the blocks. weights_id: the operator's name for them all.

    Raises: Misconfigured when there are no files that say what the weights are; OSError.
    """
    if weights_id:
        return {"model": {"kind": "named", "id": weights_id}}
    load, model = vllm_config.load_config, vllm_config.model_config
    weights = {"model": _weights(model, load)}
    speculative = vllm_config.speculative_config
    draft = getattr(speculative, "draft_model_config", None)
    if draft is not None and (draft.model, draft.revision) != (model.model, model.revision):
        # A draft model's layers keep their KV in the same blocks.
        weights["draft"] = _weights(draft, getattr(speculative, "draft_load_config", None) or load)
    return weights


def model_name(vllm_config: VllmConfig) -> str:
    """The model's repository on the hub; "" of a folder's."""
    model = vllm_config.model_config
    path = str(getattr(model, "model_weights", "") or model.model)
    if "://" in path:
        return path
    return hub.repository_of(os.path.abspath(path)) if os.path.exists(path) else path


def _weights(model: ModelConfig, load: LoadConfig) -> Weights:
    load_format = str(load.load_format)
    if load_format == "dummy":
        return {"kind": "dummy", "seed": model.seed}
    elsewhere = getattr(model, "model_weights", "") or ("://" in str(model.model) and model.model)
    if elsewhere or load_format not in _FROM_FILES:
        raise Misconfigured(
            f"the weights come from {elsewhere or 'load format ' + load_format}, where the connector cannot read them, "
            "so nothing says whose KV cache this would be: set weights_id in kv_connector_extra_config "
            "(modelserver.storageTier.weightsId) to a name that changes whenever they do, or serve from a local folder"
        )
    path = Path(model.model)
    local = path.exists()
    places = (path,) if local else _hub_places(model, load.download_dir)
    return Checkpoint(
        places,
        other_formats=load_format in _OTHER_FORMATS,
        code=bool(model.trust_remote_code),
        converted=_CONVERTED if load_format == "npcache" else "",
        other_code=_other_code(model, places) if model.trust_remote_code else (),
        media=bool(getattr(model, "is_multimodal_model", True)),
        # What is in the hub's cache never changes under its name.
        loaded_after_s=_started_s() if local else None,
    )


def _hub_places(model: ModelConfig, download_dir: str | None) -> tuple[Path, ...]:
    """The snapshot that was loaded, weights first; never downloads.

    vLLM puts weights into download_dir, but leaves configurations and code in the hub's own cache.
    """
    caches = [Path(download_dir)] if download_dir else []
    caches.append(_hub_cache())
    folders = [hub.folder_of(cache, model.model) for cache in caches]
    for folder in folders:
        snapshot = hub.loaded_snapshot(folder, model.revision, _started_s())
        if snapshot is not None:
            same = (other / "snapshots" / snapshot.name for other in folders)
            return (snapshot, *(place for place in same if place != snapshot and place.is_dir()))
    raise Misconfigured(
        f"the weights of {model.model!r} are neither a local directory nor in the hub cache: the connector "
        "cannot tell whose KV cache this would be; download the model to a directory and serve that"
    )


def _other_code(model: ModelConfig, places: tuple[Path, ...]) -> tuple[tuple[str, Path], ...]:
    """Repositories that a model's configurations name for its code, with the snapshots that vLLM has run.

    What is not in the hub's cache was not run: vLLM has an implementation of its own.
    """
    named = {(name, model.code_revision) for name in repositories_in(getattr(model.hf_config, "auto_map", None))}
    # vLLM's code_revision is of the model's code only.
    named |= {(name, None) for name in repositories_of_preprocessing(places)}
    found = []
    for repository, revision in sorted(named, key=str):
        folder = hub.folder_of(_hub_cache(), repository)
        snapshot = hub.loaded_snapshot(folder, revision, _started_s(), (".py",))
        if snapshot is not None and repository != str(model.model):
            found.append((f"{repository}@{revision}" if revision else repository, snapshot))
    return tuple(found)


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE  # type: ignore[import-not-found]  # vLLM's

    return Path(HF_HUB_CACHE)


def _started_s() -> float:
    """Unix time just after this process started, when neither it nor its children had loaded anything.

    The kernel counts starts in ticks of 10 ms: files that were written just before must not seem newer.
    """
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return _IMPORTS_S + time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
