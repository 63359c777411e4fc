# SPDX-License-Identifier: Apache-2.0
"""What an engine's weights are, found out in a thread of its own: it takes as long as reading them does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from llmd_storage_connector.errors import ConnectorError, Pending, Unusable
from llmd_storage_connector.identity.content import ContentReader
from llmd_storage_connector.identity.digest_cache import DigestCache
from llmd_storage_connector.identity.weights import Checkpoint, facts_of

logger = logging.getLogger("vllm.llmd_storage_connector.identity.fingerprint")

# A model's files, or what is to be said of weights that have none.
Weights = Checkpoint | Mapping[str, Any]


class Fingerprint:
    """See the module's head. Thread: one calls wait() and facts()."""

    def __init__(
        self, weights: Mapping[str, Weights], cache: DigestCache, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """weights: by their part in the engine ("model", "draft")."""
        self._weights = weights
        self._reader = ContentReader(cache, wall_clock)
        self._thread: threading.Thread | None = None
        self._result: dict[str, Any] | ConnectorError | None = None

    def wait(self, *, stalled_s: float, limit_s: float) -> bool:
        """Wait while bytes come. Returns: whether it is found out, or an error is.

        stalled_s: seconds without a byte after which waiting is given up; limit_s: in all.
        """
        self._start()
        now = time.monotonic()
        seen, limit, stalled = -1, now + limit_s, now + stalled_s
        while self._thread is not None and self._thread.is_alive() and now < min(limit, stalled):
            self._thread.join(0.1)
            now = time.monotonic()
            if self._reader.read_bytes != seen:
                seen, stalled = self._reader.read_bytes, now + stalled_s
        return self._thread is not None and not self._thread.is_alive()

    def facts(self, wait_s: float) -> dict[str, Any]:
        """The identity's weights. Blocks up to wait_s.

        Raises: Pending when they are not known yet; Unusable, Misconfigured: the next call tries again.
        """
        self._start()
        thread = self._thread
        assert thread is not None
        thread.join(wait_s)
        if thread.is_alive():
            raise Pending(f"the weights are being read, to know whose KV cache it is ({self._progress()})")
        if isinstance(self._result, dict):
            return self._result
        fault, self._thread = self._result, None
        raise fault or Unusable("reading the weights ended without a result")

    def _progress(self) -> str:
        read, total = self._reader.read_bytes / 2**30, self._reader.total_bytes / 2**30
        return f"{read:.1f} of {total:.1f} GiB" if total else "neither the model's folder nor root_dir has answered yet"

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._find_out, name="llmd-weights", daemon=True)
            self._thread.start()

    def _find_out(self) -> None:
        try:
            self._result = {part: self._of(weights) for part, weights in self._weights.items()}
        except ConnectorError as error:
            self._result = error
        except OSError as error:
            self._result = Unusable(
                f"the weights cannot be read, so nothing says whose KV cache it would be ({error})", transient=True
            )
        except Exception as error:
            logger.exception("reading the weights failed unexpectedly")
            self._result = Unusable(f"{error}" or type(error).__name__)

    def _of(self, weights: Weights) -> dict[str, Any]:
        if not isinstance(weights, Checkpoint):
            return dict(weights)
        return facts_of(self._reader.read(weights.files(), weights.loaded_after_s))
