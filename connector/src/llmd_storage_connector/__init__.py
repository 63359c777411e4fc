# SPDX-License-Identifier: Apache-2.0
"""A shared-filesystem storage tier for vLLM's KV offloading.

Layers, lowest first; nothing imports upwards, and only the last row imports vLLM or torch:

    errors, config, format, layout, identity, chain, worth, pace     pure
    mounts, publish, folders, weights, namespace, store, sweep, notices, orphans     files
    counters, quiet, verdicts, lookups, jobs, ledger, breaker, pause, engine     threads, queues, deadlines
    collect, worker, spec, tier, connector     vLLM
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
