"""Of all layers."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("hypothesis"):  # the engine's environment has none
    from hypothesis import HealthCheck, settings

    # How long an example takes is the machine's affair.
    settings.register_profile("gate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("gate")
