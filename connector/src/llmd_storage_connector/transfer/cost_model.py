# SPDX-License-Identifier: Apache-2.0
"""Whether loading is quicker than computing, learnt from what both took. Pure: times come in as numbers.

    compute  seconds a block's tokens take to prefill, from the engine's own steps
    load     seconds a block takes to load, from the loads so far

While `load` is above `compute` nothing is loaded, except that every RETRY_S one request tries again. A load that
cannot win is cancelled after a twelfth of what computing would have taken, so that a trial costs a twelfth at most.

Thread: the scheduler's.
"""

from __future__ import annotations

# Between two requests that try slow storage again.
RETRY_S = 30.0
# Part of the computing time that may be lost to finding out that loading is slower: with all else, below a tenth.
TRIAL_SHARE = 1 / 12
# Below this no wait matters, and the machine's own hiccups are as long.
SHORTEST_S = 0.1
# Weight of a new figure; a better one counts at once, since waiting may only have been a queue.
_WEIGHT = 0.3
# A step with fewer tokens is decoding: its time says nothing of a prefill's.
_PREFILL_TOKENS = 64


class CostModel:
    """See the module's head. enabled: False answers as if loading always paid."""

    def __init__(self, tokens_per_block: int, enabled: bool = True) -> None:
        self._tokens_per_block = tokens_per_block
        self._enabled = enabled and tokens_per_block > 0
        self._token_s: float | None = None
        self._load_s: float | None = None
        self._next_trial = 0.0

    def step_done(self, tokens: int, seconds: float) -> None:
        """A step of the engine took this long for this many tokens."""
        if tokens < _PREFILL_TOKENS or seconds <= 0:
            return
        self._token_s = _learn(self._token_s, seconds / tokens)

    def load_done(self, blocks: int, seconds: float) -> None:
        """A load of `blocks` ended well."""
        sample = seconds / blocks
        if seconds >= SHORTEST_S or self._load_s is None or sample < self._load_s:
            self._load_s = _learn(self._load_s, sample)

    def load_cancelled(self, blocks: int, done: float, seconds: float) -> None:
        """A load was cancelled with the part `done` (0 to 1) of it there: it is not tried again for a while.

        What was seen may be next to nothing, so it counts as twice the time of computing at least.
        """
        compute = self.compute_s(1)
        self._load_s = max(seconds / (blocks * max(done, TRIAL_SHARE)), 2 * (compute or 0.0))

    def compute_s(self, blocks: int) -> float | None:
        """Seconds that computing these blocks would take; None while nothing was computed here yet."""
        return None if self._token_s is None else blocks * self._tokens_per_block * self._token_s

    def skips_storage(self, now: float) -> bool:
        """Whether a request should not be told of what storage has. Asked once a request."""
        compute = self.compute_s(1)
        if not self._enabled or compute is None or self._load_s is None or self._load_s <= compute:
            return False
        if now < self._next_trial:
            return True
        first = self._next_trial == 0.0
        self._next_trial = now + RETRY_S
        return first

    def lookup_timeout_s(self, blocks: int, longest_s: float) -> float:
        """How long a request may wait to learn which of these blocks are there; at most longest_s."""
        compute = self.compute_s(blocks)
        if not self._enabled or compute is None:
            return longest_s
        return min(longest_s, max(SHORTEST_S, TRIAL_SHARE * compute))

    def should_cancel(self, blocks: int, done: float, seconds: float, others_progress: bool) -> bool:
        """Whether a load under way will be slower than computing. seconds: since it began to be worked on.

        others_progress: whether anything at all was loaded meanwhile; then a first result may still be due.
        """
        compute = self.compute_s(blocks)
        if not self._enabled or compute is None or seconds < max(SHORTEST_S, TRIAL_SHARE * compute):
            return False
        if done == 0:
            return not others_progress or seconds > compute / 2
        return seconds / done > compute


def _learn(known: float | None, sample: float) -> float:
    return sample if known is None or sample < known else known + _WEIGHT * (sample - known)
