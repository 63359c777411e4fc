# SPDX-License-Identifier: Apache-2.0
"""Whether loading is quicker than computing, learnt from what both took. Pure: times come in as numbers.

Computing: the engine's own steps, averaged by tokens, so that a busy engine is known to be slow. Loading: how far each
load is. One that cannot win is cancelled, which costs its request a twelfth of what computing would have taken, and
everybody else nothing. Only after STRIKES bad loads in a row is storage left out, except that one request tries again
after a pause; one good load, and it is used by all.

A second of the accelerator that a load saves is another request's: while others run, a load may take as long again as
computing.

Thread: the scheduler's.
"""

from __future__ import annotations

from llmd_storage_connector.transfer.tasks import LoadProgress

# Bad loads in a row, or late lookups, after which storage is left out; within EPISODE_S they are one: a hiccup hits all
# that are under way.
STRIKES = 3
EPISODE_S = 1.0
# Between two requests that try slow storage again: twice as long after each that was bad.
FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 60.0
# Part of the computing time that may be lost to finding out that loading is slower: with all else, below a tenth.
TRIAL_SHARE = 1 / 12
# Until this part of it has passed a load is cancelled only when it would take twice as long as computing.
EARLY_SHARE = 1 / 4
# Below this no wait matters, and the machine's own hiccups are as long.
SHORTEST_S = 0.25
# Tokens of prefill after which a step counts half: seconds to minutes of a busy engine.
_HALF_TOKENS = 50_000
# A step with fewer tokens is decoding: its time says nothing of a prefill's.
_PREFILL_TOKENS = 64


class CostModel:
    """See the module's head. enabled: False answers as if loading always paid."""

    def __init__(self, tokens_per_block: int, enabled: bool = True) -> None:
        self._tokens_per_block = tokens_per_block
        self._enabled = enabled and tokens_per_block > 0
        self._tokens = self._seconds = 0.0
        self._others_run = False
        self._bad_loads = self._late_lookups = 0
        self._last_strike = float("-inf")
        self._retry_s, self._next_trial = FIRST_RETRY_S, 0.0

    def step_begun(self, requests: int) -> None:
        """The engine computes for so many requests now; one that waits for a load is none of them."""
        self._others_run = requests > 0

    def step_done(self, tokens: int, seconds: float) -> None:
        """A step of the engine took this long for this many tokens."""
        if tokens < _PREFILL_TOKENS or seconds <= 0:
            return
        kept = 0.5 ** (tokens / _HALF_TOKENS)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds

    def load_done(self, blocks: int, seconds: float, now: float) -> None:
        """A load of `blocks` ended well."""
        patience = self._patience_s(blocks)
        if patience is None or seconds <= patience:
            self._bad_loads = 0
            self._be_content()
        elif seconds >= SHORTEST_S:
            self.load_cancelled(now)

    def load_cancelled(self, now: float) -> None:
        """A load was cancelled because it could not win."""
        self._bad_loads = self._strike(self._bad_loads, now)

    def lookup_done(self) -> None:
        """A request has learnt in time which of its blocks are there."""
        self._late_lookups = 0
        self._be_content()

    def lookup_late(self, now: float) -> None:
        """A request has waited for lookup_timeout_s in vain."""
        self._late_lookups = self._strike(self._late_lookups, now)

    def compute_s(self, blocks: int) -> float | None:
        """Seconds that computing these blocks would take; None while nothing was computed here yet."""
        return None if self._tokens == 0 else blocks * self._tokens_per_block * self._seconds / self._tokens

    def skips_storage(self, now: float) -> bool:
        """Whether a request should not be told of what storage has. Asked once a request."""
        if not self._enabled or max(self._bad_loads, self._late_lookups) < STRIKES:
            return False
        if now < self._next_trial:
            return True
        self._next_trial = now + self._retry_s
        return False

    def lookup_timeout_s(self, blocks: int, longest_s: float) -> float:
        """How long a request may wait to learn which of these blocks are there; at most longest_s."""
        compute = self.compute_s(blocks)
        if not self._enabled or compute is None:
            return longest_s
        return min(longest_s, max(SHORTEST_S, TRIAL_SHARE * compute))

    def should_cancel(self, blocks: int, load: LoadProgress) -> bool:
        """Whether a load of so many blocks that is under way will be slower than computing."""
        compute, patience = self.compute_s(blocks), self._patience_s(blocks)
        if not self._enabled or compute is None or patience is None:
            return False
        if load.seconds < max(SHORTEST_S, TRIAL_SHARE * compute):
            return False
        if load.part == 0:  # with others under way a first result may still be due
            return not load.others_progress or load.seconds > patience / 2
        # The first block had to wait for what the others find warm: it says nothing of them.
        since_first, more = load.seconds - load.first_seconds, load.part - load.first_part
        if more <= 0:
            return load.seconds > patience / 2
        allowed = 2 * patience if load.seconds < EARLY_SHARE * compute else patience
        return load.first_seconds + since_first / more * (1 - load.first_part) > allowed

    def _patience_s(self, blocks: int) -> float | None:
        compute = self.compute_s(blocks)
        return None if compute is None else compute * (2 if self._others_run else 1)

    def _be_content(self) -> None:
        if self._bad_loads == self._late_lookups == 0:
            self._retry_s = FIRST_RETRY_S

    def _strike(self, strikes: int, now: float) -> int:
        """Of one kind, with this one."""
        if now - self._last_strike < EPISODE_S:
            return strikes
        self._last_strike = now
        if strikes >= STRIKES:
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        self._next_trial = now + self._retry_s
        return strikes + 1
