"""What every part may use."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """figures(name=value, ...): what was measured, for the record and for a person's eye."""

    def keep(**values: float | str | list[float]) -> None:
        for name, value in values.items():
            short = round(value, 3) if isinstance(value, float) else value
            record_property(name, json.dumps(short))
            print(f"\n{name}: {short}")

    return keep
