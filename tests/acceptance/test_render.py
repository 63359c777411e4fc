"""`helm template` answers at once: processor time, which other programs' work does not change."""

from __future__ import annotations

import resource
from collections.abc import Callable

from tests.chart import helm


def rendered(scenario: str) -> float:
    """Returns: seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = helm.helm("template", helm.RELEASE, helm.CHART, "-n", helm.NAMESPACE, "-f", helm.scenario_file(scenario))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_each_scenario_is_rendered_in_less_than_a_second_of_work(figures: Callable[..., None]) -> None:
    took: dict[str, float] = {}
    for scenario in helm.SCENARIOS:
        took[scenario] = min(rendered(scenario) for _ in range(2))
    slowest = max(took, key=lambda one: took[one])
    figures(scenarios=len(took), slowest=slowest, slowest_cpu_s=took[slowest])
    assert took[slowest] < 1.0
