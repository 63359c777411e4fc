# SPDX-License-Identifier: Apache-2.0
"""Which configured rule holds for each namespace."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from llmd_storage_connector.quiet import Quiet
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.manifests import model_of


class NamespaceRules:
    """Reads each namespace's manifest once. Without a manifest, no rule for a model matches. Thread: one."""

    def __init__(self, config: Config, directory: CacheDirectory, quiet: Quiet) -> None:
        self._config, self._directory, self._quiet = config, directory, quiet
        self._by_model: dict[str, NamespaceRule] = {}

    def of(self, namespaces: Iterable[str]) -> dict[str, NamespaceRule]:
        """The rule of each namespace."""
        present = set(namespaces)
        self._by_model = {name: rule for name, rule in self._by_model.items() if name in present}
        for name in present - set(self._by_model):
            try:
                manifest = self._directory.manifest(name)
            except OSError as error:
                self._quiet.log(logging.WARNING, "manifest", "the manifest of %s cannot be read: %s", name, error)
                continue
            if manifest is not None:
                self._by_model[name] = policy.rule_for(self._config, name, model_of(manifest))
        without = present - set(self._by_model)
        return self._by_model | {name: policy.rule_for(self._config, name, "") for name in without}
