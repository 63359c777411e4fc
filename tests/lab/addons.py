"""Add-ons that make something in the cluster, and who takes it away again.

Each has a folder of its name in the run while it is there. Its programs are components (``proc.ADDON``), so `down` and
`leftovers` find them; `up` and the next test take away what a killed test run left.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lab import argocd, istio, registry
from tests.lab.paths import Lab

END: dict[str, Callable[[Lab], None]] = {
    istio.NAME: istio.end,
    argocd.NAMESPACE: argocd.end,
    registry.NAME: registry.end,
}


def left(lab: Lab) -> list[str]:
    """Those that nobody has taken away."""
    return [name for name in END if (lab.run / name).exists()]


def end_all(lab: Lab) -> None:
    for name in left(lab):
        END[name](lab)
