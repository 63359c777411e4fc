"""The benchmark Job: without any right, on the claim, and only when asked for."""

from __future__ import annotations

import json
from typing import Any

from tests.chart import helm


def config(scenario: str, *extra: str) -> dict[str, Any]:
    flags = ("--set", "benchmark.enabled=true", *extra)
    return dict(json.loads(helm.one(helm.objects(scenario, *flags), "ConfigMap", "-benchmark")["data"]["config.json"]))


def test_it_is_not_there_unless_asked_for() -> None:
    assert not [o for o in helm.objects("default") if o["metadata"]["name"].endswith("-benchmark")]


def test_it_has_no_account() -> None:
    pod = helm.one(helm.objects("benchmark"), "Job", "-benchmark")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False and "serviceAccountName" not in pod


def test_it_comes_after_the_proof_which_wants_quiet_servers() -> None:
    def weight(suffix: str) -> int:
        job = helm.one(helm.objects("benchmark"), "Job", suffix)
        return int(job["metadata"]["annotations"]["helm.sh/hook-weight"])

    assert weight("-benchmark") > weight("-proof")


def test_it_asks_where_requests_come_in_and_reads_every_server() -> None:
    seen = config("lab")
    assert seen["url"] == "http://kv-router.inference.svc:80"
    assert seen["metricsHost"] == "kv-benchmark.inference.svc.cluster.local"
    service = helm.one(helm.objects("benchmark"), "Service", "-benchmark")["spec"]
    assert service["clusterIP"] == "None", "one address for all would give one server's counters"
    assert config("default")["url"] == "http://kv-modelserver.inference.svc:8000"
    assert config("default", "--set", "benchmark.url=https://llm.example.com")["url"] == "https://llm.example.com"


def test_it_speaks_of_the_model_as_clients_do_and_finds_its_tokenizer() -> None:
    seen = config("lab")
    assert (seen["model"], seen["tokenizer"]) == ("smollm2", "/models/SmolLM2-135M-Instruct")
    pod = helm.one(helm.objects("model-claim-hpa", "--set", "benchmark.enabled=true"), "Job", "-benchmark")
    assert {"name": "model", "mountPath": "/models", "readOnly": True} in (
        pod["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    )


def test_large_counts_stay_whole_numbers() -> None:
    assert config("lab", "--set", "benchmark.seed=2000000001,benchmark.prefixTokens=1048576")["seed"] == 2000000001


def test_it_takes_no_accelerator() -> None:
    job = helm.one(helm.objects("default", "--set", "benchmark.enabled=true"), "Job", "-benchmark")
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert not [name for part in resources.values() for name in part if "/" in name]


def test_a_wrong_rate_is_refused() -> None:
    assert "/benchmark/rates/0" in helm.refusal("--set", "benchmark.rates={0}")
    assert "/benchmark/rates" in helm.refusal("--set-json", "benchmark.rates=[]")
