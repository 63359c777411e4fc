"""The promise itself: an install that reports success has proven a cross-pod hit from shared storage."""

from __future__ import annotations

import json
from collections import Counter

import jsonschema
import pytest

from tests.cluster.harness import HTTP, LAB_VALUES, ROOT, Cluster, Release, ask, metrics
from tests.patience import CEILING_S

pytestmark = pytest.mark.cluster


def test_the_install_ends_well_after_failed_tries(release: Release) -> None:
    assert release.install is not None
    status = json.loads(release.cluster.helm("status", release.name, "-n", release.namespace, "-o", "json").ok().out)
    assert status["info"]["status"] == "deployed"
    release.wait_deployed()


@pytest.mark.parametrize("hook", ["probe", "proof"])
def test_every_report_follows_its_schema_and_passes(release: Release, hook: str) -> None:
    schema = json.loads((ROOT / "schemas" / "hook-report.schema.json").read_text())
    report = release.report(hook)
    jsonschema.validate(report, schema)
    assert report["verdict"] == "pass", report["findings"]


def test_pod_b_answered_from_storage_with_the_tokens_of_pod_a(release: Release) -> None:
    proof = release.report("proof")["proof"]
    assert proof["source"] == "storage"
    assert proof["reusedFraction"] >= 0.95
    assert proof["tokensEqual"] is True
    assert proof["podA"] != proof["podB"]
    assert proof["nodeA"] != proof["nodeB"]
    assert proof["bytesRead"] > 0


def test_helm_test_proves_it_again(release: Release) -> None:
    before = release.report("proof")["startedAt"]
    release.test()
    assert release.report("proof")["startedAt"] > before


def test_requests_through_the_router_reach_the_model_servers(release: Release) -> None:
    with release.cluster.forward(release.namespace, f"deploy/{release.name}-router", 8080) as url:
        answers = [ask(url, f"Request {i}: the shared cache", max_tokens=2) for i in range(6)]
        assert all(len(a.tokens) == 2 for a in answers)
        assert HTTP.get(f"{url}/v1/models", timeout=CEILING_S).json()["data"][0]["id"] == "smollm2"


def test_the_picker_sends_one_prefix_to_one_pod(release: Release) -> None:
    """The endpoint picker is in the path: a repeated long prompt stays where its prefix is."""
    served: Counter[str] = Counter()
    pods = release.wait_ready()
    prompt = "The picker remembers which server has seen this beginning. " * 40
    with release.cluster.forward(release.namespace, f"deploy/{release.name}-router", 8080) as url:
        for _ in range(5):
            before = {p: _requests(release, p) for p in pods}
            ask(url, prompt, max_tokens=1)
            served.update(p for p in pods if _requests(release, p) > before[p])
    assert sum(served.values()) == 5
    assert max(served.values()) >= 4, served


def _requests(release: Release, pod: str) -> float:
    with release.vllm(pod) as url:
        return sum(v for k, v in metrics(url).items() if k.startswith("vllm:request_success_total"))


def test_two_renders_give_the_same_bytes(cluster: Cluster, release: Release) -> None:
    argv = ("template", release.name, str(ROOT / "charts" / "llm-d-storage"), "-f", str(LAB_VALUES))
    assert cluster.helm(*argv).ok().out == cluster.helm(*argv).ok().out
