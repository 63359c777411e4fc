# SPDX-License-Identifier: Apache-2.0
"""What happens in a soak, and when: the storage's faults, and what is done to engines meanwhile. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FAULT_S = (1.0, 8.0)
REST_S = (1.0, 6.0)
# One of so many faults has an event in its midst: of a run of two minutes a few.
EVENT_EVERY = 3


@dataclass(frozen=True)
class Turn:
    """A fault of the storage below engine `at`, then a rest.

    event: what is done to engine `to` while the fault lasts; "": nothing. fault_s, rest_s: how long is asked then.
    """

    fault: str
    at: int
    fault_s: float
    event: str
    to: int
    rest_s: float


def turns(rng: random.Random, faults: Sequence[str], events: Sequence[str], engines: int) -> Iterator[Turn]:
    """Without end. Of each kind each comes once before one comes again; the same for the same seed."""
    next_fault, next_event = _rounds(rng, faults), _rounds(rng, events)
    for number in itertools.count():
        yield Turn(
            next(next_fault),
            rng.randrange(engines),
            rng.uniform(*FAULT_S),
            next(next_event) if number % EVENT_EVERY == 1 else "",
            rng.randrange(engines),
            rng.uniform(*REST_S),
        )


def _rounds(rng: random.Random, names: Sequence[str]) -> Iterator[str]:
    while True:
        yield from rng.sample(sorted(names), len(names))
