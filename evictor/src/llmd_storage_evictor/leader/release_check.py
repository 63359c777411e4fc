# SPDX-License-Identifier: Apache-2.0
"""Whether the release still wants this evictor.

A Deployment can outlive its release: what a failed upgrade had made is in no later manifest, so neither a rollback nor
an uninstall takes it away. Every revision has the ConfigMap, with the configuration or `wanted: "false"`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llmd_storage_evictor.config import Config, parse

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 10.0
_NOT_FOUND = 404
_CONFIG_KEY = "config.json"


class ReleaseCheck:
    """Thread: one calls look(); reason is a string, replaced whole.

    reason: why this process must not lead; "" while it may, and while nobody can say.
    """

    def __init__(self, config: Config, read: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        """read: the release's ConfigMap, or the client's exception."""
        self._config, self._read, self._clock = config, read, clock
        self._looked_at = float("-inf")
        self.reason = ""

    def look(self) -> None:
        """Read the ConfigMap, if that is due. Never raises. Blocks: as long as the API server does."""
        if self._clock() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at, before = self._clock(), self.reason
        try:
            self.reason = unwanted(self._config, self._read().data or {})
        except Exception as error:  # the client's and urllib3's errors
            if getattr(error, "status", None) != _NOT_FOUND:
                return
            self.reason = "the release is gone, and this evictor was left behind: delete its Deployment"
        if self.reason and self.reason != before:
            logger.warning("not leading: %s", self.reason)


def unwanted(config: Config, data: Mapping[str, str]) -> str:
    """Why the release does not want an evictor with this configuration; "" when it does. data: of its ConfigMap."""
    if data.get("wanted") == "false":
        return "the release wants no evictor any more, and this one was left behind: delete its Deployment"
    if _CONFIG_KEY not in data:
        return ""
    try:
        theirs = parse(json.loads(data[_CONFIG_KEY]))
    except ValueError as error:
        return f"the release's configuration cannot be read: {error}"
    # What the command line may have changed.
    theirs = replace(theirs, dry_run=config.dry_run, leader_election=config.leader_election)
    return "" if theirs == config else "the release has other settings by now, for which another pod is started"
