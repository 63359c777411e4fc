# SPDX-License-Identifier: Apache-2.0
"""Names of files that are being written. Pure."""

from __future__ import annotations

import re

SUFFIX = ".tmp"
_SCRATCH = re.compile(r"\.[0-9a-f]{12}-[0-9a-f]+" + re.escape(SUFFIX))


def scratch_name(writer: str, number: int) -> str:
    """Name of a file being written; `writer` is 12 hex digits, unique per process."""
    return f".{writer}-{number:x}{SUFFIX}"


def is_scratch(name: str) -> bool:
    """Whether scratch_name makes such names."""
    return _SCRATCH.fullmatch(name) is not None
