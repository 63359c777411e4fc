# SPDX-License-Identifier: Apache-2.0
"""How long a test waits: one ceiling, which only a hang reaches.

No test of the gate asserts how long something took: a busy machine would make it fail. What must happen is waited
for, and what must not wait is asked while its reason to wait is still there. LLMD_TEST_PATIENCE multiplies the ceiling,
for a machine slower than any that this was run on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

PATIENCE = float(os.environ.get("LLMD_TEST_PATIENCE", "1"))
CEILING_S = 300.0 * PATIENCE


def eventually(check: Callable[[], Any], what: str, *, every_s: float = 0.5, within_s: float = CEILING_S) -> Any:
    """The first true value of ``check()``. Fails, naming ``what``, when there is none."""
    end = time.monotonic() + within_s
    while not (value := check()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {within_s:.0f} s in vain for {what}")
        time.sleep(every_s)
    return value
