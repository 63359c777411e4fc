# SPDX-License-Identifier: Apache-2.0
"""Which requests are kept out of the cache, for good or while another connector has their prompt.

For good: those whose blocks vLLM does not name by all that is in them.

vLLM's block hash (v1/core/kv_cache_utils.py, generate_block_hash_extra_keys) has of a LoRA adapter its name and path,
not its weights, and of an image the id that a client gave, if it gave one, not its pixels. In one process that is a
matter of minutes; this cache outlives the process and serves the fleet. Prompt embeddings are hashed by content.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmd_storage_connector.config import Config

if TYPE_CHECKING:
    from vllm.v1.request import Request

ADAPTER = "adapter"
MEDIA = "media"
SESSION = "session"

EXPLANATIONS = {
    ADAPTER: "requests for a LoRA adapter are computed without the cache, because vLLM names their blocks by the "
    "adapter's name and path: if these stand for the same weights on every pod and for ever, set adapters_by_name",
    MEDIA: "requests with images, audio or video are computed without the cache, because a client can give them ids of "
    "its own: if no client does, or equal ids are equal content, set media_by_id",
    SESSION: "requests whose input is streamed are computed without the cache, because vLLM changes blocks that it has "
    "named",
}


def bypass_reason(request: Request, config: Config) -> str:
    """Why the request must not meet the cache; "" if it may."""
    if request.resumable:
        return SESSION
    if request.lora_request is not None and not config.adapters_by_name:
        return ADAPTER
    if request.mm_features and not config.media_by_id:
        return MEDIA
    return ""


@contextmanager
def without_offloading(request: Request) -> Iterator[None]:
    """While vLLM takes the request on: it looks for none of its blocks and offloads none, to no tier."""
    given = request.kv_transfer_params
    request.kv_transfer_params = {**(given or {}), "max_load_tokens": 0, "max_offload_tokens": 0}
    try:
        yield
    finally:
        request.kv_transfer_params = given


def is_handed_over(request: Request) -> bool:
    """Whether another connector within MultiConnector still has to bring the prompt from where it was prefilled.

    It unsets what the router set, once it has begun to: if it fails, vLLM asks again, and this cache is asked too.
    """
    return bool((request.kv_transfer_params or {}).get("do_remote_prefill"))


@contextmanager
def without_looking(request: Request) -> Iterator[None]:
    """While vLLM asks what there is of a request: nothing, and no tier is asked for it."""
    given = request.skip_reading_prefix_cache
    request.skip_reading_prefix_cache = True
    try:
        yield
    finally:
        request.skip_reading_prefix_cache = given
