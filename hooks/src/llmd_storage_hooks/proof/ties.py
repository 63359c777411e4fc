# SPDX-License-Identifier: Apache-2.0
"""Where two answers part, and whether it was a near-tie.

On accelerators equal prompts do not always give equal tokens: a cold prefill and a warm one are computed in batches of
another shape, and where two tokens are about as probable, their rounding decides.
"""

from __future__ import annotations

import math

from llmd_storage_hooks.proof.facts import Answer

# Two tokens are a near-tie below this: two steps of bfloat16 between the logits of 16 to 32 that models have.
NEAR_TIE = 0.25


def same_tokens(first: Answer, other: Answer) -> bool:
    """By ids where the server gives them; a router may drop them, then by text."""
    if first.tokens and other.tokens:
        return first.tokens == other.tokens
    return first.text == other.text


def near_tie(first: Answer, other: Answer) -> bool:
    """Whether the answers differ, and only as A's own near-tie lets them."""
    return not same_tokens(first, other) and gap_at(first, parting(first, other)) <= NEAR_TIE


def parting(first: Answer, other: Answer) -> int | None:
    """The first token that differs; None where that is not known."""
    pairs = zip(first.tokens, other.tokens, strict=False)
    return next((place for place, (one, two) in enumerate(pairs) if one != two), None)


def gap_at(first: Answer, at: int | None) -> float:
    """A's gap there; where the place is not known, the smallest of its answer. Infinite = not known."""
    if at is None:
        return min(first.gaps, default=math.inf)
    return first.gaps[at] if at < len(first.gaps) else math.inf
