# SPDX-License-Identifier: Apache-2.0
"""A shared-filesystem storage tier for vLLM's KV offloading.

Layers, lowest first; nothing imports upwards, and only the last row imports vLLM or torch:

    errors, outcomes, config, format, layout, identity, chain, worth, pace, allowance     pure
    mounts, publish, files, reading, folders, weights, namespace, store, sweep, notices, orphans     files
    counters, quiet, verdicts, accounts, lookups, jobs, ledger, moving, breaker, pause, room, engine     threads
    collect, worker, spec, tier, connector     vLLM
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
