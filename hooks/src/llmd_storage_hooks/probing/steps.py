# SPDX-License-Identifier: Apache-2.0
"""The steps that both pods take, in this order, each in its own role. They observe; verdicts come later."""

from __future__ import annotations

from llmd_storage_hooks.probing import semantics
from llmd_storage_hooks.probing.context import Step
from llmd_storage_hooks.probing.lookup import lookup_from
from llmd_storage_hooks.probing.moving import throughput
from llmd_storage_hooks.probing.upkeep import upkeep

STEPS: tuple[tuple[str, Step], ...] = (
    ("lookup by pod 1", lookup_from(0)),
    ("lookup by pod 0", lookup_from(1)),
    ("replace", semantics.replace),
    ("permissions", semantics.permissions),
    ("exclusive create", semantics.exclusive),
    ("delete and re-create", semantics.recreate),
    ("negative lookup", semantics.negative),
    ("overwrite", semantics.overwrite),
    ("upkeep", upkeep),
    ("throughput", throughput),
)
