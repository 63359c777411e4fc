# SPDX-License-Identifier: Apache-2.0
"""Keeps a shared KV cache within its budget, and shows what is in it.

Packages, highest first; each may import those below it (contracts in the workspace's pyproject.toml):

    cli                              llmd-kv: one file a command
    service                          the evictor as a process
    controller | leader | sizing     the control loop | who may remove | is a cache worth it
    cache                            the shared directory: every system call on it
    core                             what is decided, without touching anything
    config, options, errors, sizes   settings and units
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
