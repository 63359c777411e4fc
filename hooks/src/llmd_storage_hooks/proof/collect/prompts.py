# SPDX-License-Identifier: Apache-2.0
"""The proof's prompt: new to every server, plain words, of a given length in tokens."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from pathlib import Path

from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.proof.collect.server import Server
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Prompt

WARM_UP = "Hello"  # shorter than any block: never stored, never looked up
_WORDS = (
    "river stone paper window garden market letter winter summer bridge engine copper silver forest harbor "
    "kitchen ladder mirror needle orange pepper rocket saddle tunnel valley wagon yellow anchor basket candle "
    "desert echo feather glacier hammer island jacket kettle lantern meadow north ocean pillow quarry ribbon "
    "school thunder umbrella village whistle artist bottle castle dragon eagle farmer guitar horizon insect "
    "jungle knight lemon museum nature office planet queen rabbit signal temple uncle violin water"
).split()


def random_words(count: int, seed: int) -> list[str]:
    """`count` words; the same ones for the same seed."""
    source = random.Random(seed)
    return [source.choice(_WORDS) for _ in range(count)]


def copied_words(count: int, seed: int) -> list[str]:
    """Random words, and from a quarter of `count` on the same ones again.

    How such a text goes on is certain for any model that can copy: no near-ties, in which rounding alone would turn
    an answer; and it copies from the begin of the prompt, which B has from storage.
    """
    part = random_words(max(1, count // 4), seed)
    return (part * (count // len(part) + 1))[:count]


def target_tokens(blocks: int, block_tokens: int, max_model_len: int | None, max_tokens: int) -> int:
    """Tokens for `blocks` full blocks and a part of one more, as far as the model's context reaches.

    The last token is always computed, so a prompt of exactly N blocks would only reuse N-1. Returns: 0 when
    not even one full block fits.
    """
    tail = max(2, min(block_tokens // 2, 16))
    if max_model_len is not None:
        blocks = min(blocks, (max_model_len - max_tokens - tail) // block_tokens)
    return blocks * block_tokens + tail if blocks > 0 else 0


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
        counted = count(text)
        if counted >= wanted:
            best, tokens, high = text, counted, middle
        else:
            low = middle + 1
    return best, tokens


def make_prompt(config: ProofConfig, server: Server) -> Prompt:
    """Random words that repeat, or a file's text behind a few random words (so that no server has it yet).

    Returns: an empty text when not even one block fits the model's context. Raises: CollectError.
    """
    seed = secrets.randbits(48)
    try:
        _, max_len = server.tokenize(WARM_UP)
    except NotFound:
        return _uncounted_prompt(config, seed)
    wanted = target_tokens(config.prompt_blocks, config.block_tokens, max_len, config.max_tokens)
    if wanted == 0:
        return Prompt("", 0, max_len)
    if config.prompt_file:
        words = random_words(8, seed) + _file_words(config.prompt_file)
        # As much of the document as the context takes, not only promptBlocks of it.
        most = (max_len or wanted) - config.max_tokens - 1
        text, tokens = fit(words, most, lambda text: server.tokenize(text)[0])
        if tokens > most:
            text, tokens = _shorten(text, most, server)
        return Prompt(text, tokens, max_len)
    words = copied_words(wanted, seed)  # a word is at least one token
    text, tokens = fit(words, wanted, lambda text: server.tokenize(text)[0])
    return Prompt(text, tokens, max_len)


def _shorten(text: str, most: int, server: Server) -> tuple[str, int]:
    words = text.split(" ")
    while len(words) > 1:
        words.pop()
        tokens = server.tokenize(" ".join(words))[0]
        if tokens <= most:
            return " ".join(words), tokens
    return "", 0


def _uncounted_prompt(config: ProofConfig, seed: int) -> Prompt:
    wanted = target_tokens(config.prompt_blocks, config.block_tokens, None, config.max_tokens)
    words = _file_words(config.prompt_file) if config.prompt_file else []
    return Prompt(" ".join(random_words(8, seed) + (words or copied_words(wanted, seed))), None, None)


def _file_words(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").split(" ")
    except OSError as error:
        raise CollectError(f"promptFile {path} cannot be read ({error.strerror})") from error
