# SPDX-License-Identifier: Apache-2.0
"""Which configured rule holds for each namespace."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.manifests import model_of


class NamespaceRules:
    """Reads each namespace's manifest once. Without a manifest, no rule for a model matches. Thread: one."""

    def __init__(self, config: Config, directory: CacheDirectory, log: RateLimitedLog) -> None:
        self._config, self._directory, self._log = config, directory, log
        self._rules: dict[str, NamespaceRule] = {}

    def of(self, namespaces: Iterable[str]) -> dict[str, NamespaceRule]:
        """The rule of each namespace."""
        present = set(namespaces)
        self._rules = {name: rule for name, rule in self._rules.items() if name in present}
        for name in present - set(self._rules):
            self._rules[name] = policy.rule_for(self._config, name, self._model(name))
        return self._rules

    def _model(self, namespace: str) -> str:
        """The model in the manifest; "" when there is none, or it cannot be read."""
        try:
            return model_of(self._directory.manifest(namespace))
        except OSError as error:
            self._log.log(logging.WARNING, "manifest", "the manifest of %s cannot be read: %s", namespace, error)
            return ""
