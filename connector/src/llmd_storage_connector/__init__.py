# SPDX-License-Identifier: Apache-2.0
"""A shared-filesystem storage tier for vLLM's KV offloading.

Packages, highest first; nothing imports upwards (import-linter holds it), and only the first imports vLLM or torch:

    vllm        what vLLM calls: connector, spec, tier; its configuration and memory
    engine      the tier without vLLM: its parts, their threads, and what one part's news means for another
    lookup      which blocks storage has
    transfer    jobs, tasks and their order; whether loading pays
    eviction    what the evictor says, and what it is told
    health      whether storage is used, and whether it is written to
    blocks      block files: format, names, publishing, reading
    identity    whose blocks they are
    telemetry   metrics and log lines
    config, errors
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
