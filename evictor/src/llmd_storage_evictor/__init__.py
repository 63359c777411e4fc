# SPDX-License-Identifier: Apache-2.0
"""Keeps a shared KV cache within its budget, and shows what is in it.

Layers, lowest first; nothing imports upwards:

    errors, sizes, config, names, policy, index    pure
    tree, remover, journal, checkpoint, fence      files
    scanner, sweeps, lease, progress, metrics      what the controller uses
    controller, server, run                        one process
    cli                                            llmd-kv
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
