"""Every ci/ scenario before a real API server, in a dry run: each object is taken, and warned about only as listed.

If not, a user's `helm install` stops half way, or a cluster with policies of its own refuses the pods.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from tests.chart import helm
from tests.chart.test_properties import VALUES
from tests.cluster import apiserver
from tests.cluster.harness import LAB_VALUES, Cluster

pytestmark = pytest.mark.cluster

EXCEPTIONS = yaml.safe_load((apiserver.POLICIES / "exceptions.yaml").read_text())
EXCUSED = {(one["policy"], who) for one in EXCEPTIONS for who in one["who"]}

each_scenario = pytest.mark.parametrize("scenario", helm.SCENARIOS)


@pytest.fixture(scope="module")
def rendered(cluster: Cluster) -> dict[str, str]:
    def one(scenario: str) -> str:
        return apiserver.render(cluster, "-f", str(helm.scenario_file(scenario)))

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(helm.SCENARIOS, pool.map(one, helm.SCENARIOS), strict=True))


@pytest.fixture(scope="module")
def judged(cluster: Cluster, rendered: dict[str, str]) -> Iterator[Cluster]:
    """The cluster, with the policies in force and every kind served that a scenario makes."""
    kinds = {(o["apiVersion"], o["kind"]) for text in rendered.values() for o in helm.load_yaml(text)}
    with apiserver.kinds_served(cluster, kinds), apiserver.policed(cluster):
        yield cluster


@pytest.fixture(scope="module")
def answers(judged: Cluster, rendered: dict[str, str]) -> dict[str, apiserver.Answer]:
    with ThreadPoolExecutor(4) as pool:
        said = pool.map(lambda text: apiserver.dry_run(judged, text), rendered.values())
        return dict(zip(rendered, said, strict=True))


@each_scenario
def test_the_api_server_takes_every_object(answers: dict[str, apiserver.Answer], scenario: str) -> None:
    answer = answers[scenario]
    assert not answer.errors
    assert answer.taken == answer.sent > 0


@each_scenario
def test_pods_are_restricted_and_nothing_is_deprecated(answers: dict[str, apiserver.Answer], scenario: str) -> None:
    assert answers[scenario].other_warnings == []


@each_scenario
def test_policies_are_kept_but_for_the_reasoned_exceptions(answers: dict[str, apiserver.Answer], scenario: str) -> None:
    assert answers[scenario].violations <= EXCUSED


def test_every_exception_is_needed_and_has_a_reason(answers: dict[str, apiserver.Answer]) -> None:
    needed = set().union(*(answer.violations for answer in answers.values()))
    assert needed == EXCUSED
    assert all(len(one["reason"]) > 20 for one in EXCEPTIONS)


def test_the_judges_see_what_is_wrong(judged: Cluster, rendered: dict[str, str]) -> None:
    """Checks that let everything through would make those above worthless."""
    answer = apiserver.dry_run(judged, apiserver.OFFENDER)
    assert {policy for policy, _ in answer.violations} == apiserver.policies()
    assert any("PodSecurity" in warning for warning in answer.other_warnings)
    for kind, field in (("Deployment", "replica"), ("HTTPRoute", "host"), ("HealthCheckPolicy", "defaults")):
        obj = next(o for o in helm.load_yaml(rendered["gateway-gke"]) if o["kind"] == kind)
        obj["spec"][field] = {}
        answer = apiserver.dry_run(judged, yaml.safe_dump(obj))
        assert field in answer.errors and not answer.taken


def test_a_server_side_dry_run_of_helm_makes_nothing(cluster: Cluster) -> None:
    before = cluster.get("ns")["items"]
    done = cluster.helm("install", "dry", str(helm.CHART), "-n", "default", "-f", str(LAB_VALUES), "--dry-run=server")
    assert "kind: Deployment" in done.ok().out
    assert (
        cluster.kubectl("get", "all,pvc,cm", "-n", "default", "-l", "app.kubernetes.io/instance=dry", "-o", "name").out
        == ""
    )
    assert len(cluster.get("ns")["items"]) == len(before)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(VALUES)
def test_whatever_the_schema_accepts_the_api_server_takes(
    judged: Cluster, tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    """The chart's tests do the same with schemas; a real server also knows what no schema says."""
    path = tmp_path_factory.mktemp("values") / "values.json"
    path.write_text(json.dumps(values, ensure_ascii=False))
    where = ("template", apiserver.RELEASE, str(helm.CHART), *helm.REGISTRY, "-n", apiserver.NAMESPACE)
    done = judged.helm(*where, "-f", str(path))
    if done.code:
        assert "the values contradict each other" in done.out, done.out
        return
    answer = apiserver.dry_run(judged, done.out)
    assert not answer.errors, answer.errors
    assert answer.taken == answer.sent
