# SPDX-License-Identifier: Apache-2.0
"""Which configured rule holds for each namespace."""

from __future__ import annotations

import logging
from collections.abc import Callable

from llmd_storage_connector.telemetry.rate_limited_log import RateLimitedLog
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.config import Config, NamespaceRule
from llmd_storage_evictor.controller.other_releases import OtherReleases
from llmd_storage_evictor.core import policy
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.manifests import model_of, title_of

logger = logging.getLogger(__name__)

_RETRY_S = 10.0


class NamespaceRules:
    """Reads each namespace's manifest until it names a repository, which later engines may add; the index keeps it.

    unknown: namespaces whose model is not known though a rule asks for it: they count as pinned. unmatched: rules, as
    the operator wrote them, under which no namespace falls. Thread: one.
    """

    def __init__(
        self,
        config: Config,
        directory: CacheDirectory,
        others: OtherReleases,
        log: RateLimitedLog,
        clock: Callable[[], float],
    ) -> None:
        self._config, self._directory, self._others, self._log = config, directory, others, log
        self._clock = clock
        self._tried: dict[str, float] = {}
        self.unknown: list[str] = []
        self.unmatched: list[str] = []

    def of(self, index: Index) -> dict[str, NamespaceRule]:
        """The rule of each namespace."""
        names = index.namespaces()
        self._tried = {name: at for name, at in self._tried.items() if name in names}
        for name in names:
            is_final = "/" in index.models.get(name, "")
            if not is_final and self._clock() - self._tried.get(name, float("-inf")) >= _RETRY_S:
                self._read_model(index, name)
        rules = {name: policy.rule_for(self._config.namespaces, name, index.models.get(name)) for name in names}
        self._others.refresh()
        others = self._others.rules()
        theirs = {name: [policy.rule_for(one, name, index.models.get(name)) for one in others] for name in names}
        self.unknown = [
            name for name in names if any(one is policy.UNKNOWN_MODEL for one in (rules[name], *theirs[name]))
        ]
        if self.unknown:
            text = (
                "the manifest of %s is missing or damaged (%d such namespaces), and a rule asks for models: nothing "
                "of it is removed until an engine has written it anew"
            )
            self._log.log(logging.WARNING, "unknown model", text, self.unknown[0], len(self.unknown))
        elif names:
            self._tell_unmatched(rules, index)
        return {name: policy.protected_by(rule, theirs[name]) for name, rule in rules.items()}

    def _read_model(self, index: Index, namespace: str) -> None:
        self._tried[namespace] = self._clock()
        try:
            manifest = self._directory.manifest(namespace)
        except OSError as error:
            self._log.log(logging.WARNING, "manifest", "the manifest of %s cannot be read: %s", namespace, error)
            return
        if manifest is not None:
            index.models[namespace], index.titles[namespace] = model_of(manifest), title_of(manifest)

    def _tell_unmatched(self, rules: dict[str, NamespaceRule], index: Index) -> None:
        used = {id(rule) for rule in rules.values()}
        before, self.unmatched = (
            self.unmatched,
            [
                f"namespaces[{place}] ({rule.model or rule.namespace or 'any'})"
                for place, rule in enumerate(self._config.namespaces)
                if id(rule) not in used
            ],
        )
        if self.unmatched and self.unmatched != before:
            logger.warning(
                "%s: no namespace falls under it, so it protects and limits nothing; the models here are %s",
                ", ".join(self.unmatched),
                ", ".join(sorted({model or "(none named)" for model in index.models.values()})),
            )
