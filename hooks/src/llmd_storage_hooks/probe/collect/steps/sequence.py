# SPDX-License-Identifier: Apache-2.0
"""The steps after the meeting, in the order in which both pods run them."""

from __future__ import annotations

from llmd_storage_hooks.probe.collect.context import StepFunction
from llmd_storage_hooks.probe.collect.steps import consistency
from llmd_storage_hooks.probe.collect.steps.first_lookup import lookup_from
from llmd_storage_hooks.probe.collect.steps.housekeeping import housekeeping
from llmd_storage_hooks.probe.collect.steps.transfer import throughput

STEPS: tuple[tuple[str, StepFunction], ...] = (
    ("lookup by pod 1", lookup_from(0)),
    ("lookup by pod 0", lookup_from(1)),
    ("replace", consistency.replace),
    ("permissions", consistency.permissions),
    ("exclusive create", consistency.exclusive),
    ("delete and re-create", consistency.recreate),
    ("negative lookup", consistency.negative),
    ("overwrite", consistency.overwrite),
    ("housekeeping", housekeeping),
    ("throughput", throughput),
)
