# SPDX-License-Identifier: Apache-2.0
"""What the parts of the control loop share."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from llmd_storage_evictor.cache import storage_clock
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.controller.liveness import Liveness
from llmd_storage_evictor.controller.metrics import Metrics
from llmd_storage_evictor.controller.troubles import Troubles


@dataclass(slots=True)
class Context:
    """pool: threads for system calls. may_remove: whether this process leads now. Clocks are replaced in tests.

    release: shared_rules.release_name(). wall_clock: this node's; the parts of the control loop are given the storage's
    instead.
    """

    directory: CacheDirectory
    pool: Executor
    may_remove: Callable[[], bool]
    metrics: Metrics
    liveness: Liveness
    troubles: Troubles
    release: str = "local"
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    storage_time: Callable[[CacheDirectory], float] = storage_clock.touch
    cpu_clock: Callable[[], float] = time.process_time
