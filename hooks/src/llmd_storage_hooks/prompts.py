# SPDX-License-Identifier: Apache-2.0
"""The prompt of a proof: fresh (no server has seen it), plain words, of a wanted length in tokens."""

from __future__ import annotations

import random
from collections.abc import Callable

_WORDS = (
    "river stone paper window garden market letter winter summer bridge engine copper silver forest harbor "
    "kitchen ladder mirror needle orange pepper rocket saddle tunnel valley wagon yellow anchor basket candle "
    "desert echo feather glacier hammer island jacket kettle lantern meadow north ocean pillow quarry ribbon "
    "school thunder umbrella village whistle artist bottle castle dragon eagle farmer guitar horizon insect "
    "jungle knight lemon museum nature office planet queen rabbit signal temple uncle violin water"
).split()


def random_words(count: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [source.choice(_WORDS) for _ in range(count)]


def target_tokens(blocks: int, block_tokens: int, max_model_len: int | None, max_tokens: int) -> int:
    """Tokens for `blocks` full blocks and a part of one more, as far as the model's context reaches.

    The last token is always computed, so a prompt of exactly N blocks would only reuse N-1. Returns: 0 when
    not even one full block fits.
    """
    tail = max(2, min(block_tokens // 2, 16))
    if max_model_len is not None:
        blocks = min(blocks, (max_model_len - max_tokens - tail) // block_tokens)
    return blocks * block_tokens + tail if blocks > 0 else 0


def full_block_tokens(prompt_tokens: int, block_tokens: int) -> int:
    """Tokens that can come from the cache: whole blocks, and never the last token."""
    return max(0, (prompt_tokens - 1) // block_tokens * block_tokens)


def fit(words: list[str], wanted: int, count: Callable[[str], int]) -> tuple[str, int]:
    """The shortest start of `words` with at least `wanted` tokens (all of them when there are too few).

    `count` tokenizes; it is called about a dozen times.
    """
    low, high = 1, len(words)
    best = " ".join(words)
    tokens = count(best)
    if tokens < wanted:
        return best, tokens
    while low < high:
        middle = (low + high) // 2
        text = " ".join(words[:middle])
        seen = count(text)
        if seen >= wanted:
            best, tokens, high = text, seen, middle
        else:
            low = middle + 1
    return best, tokens
