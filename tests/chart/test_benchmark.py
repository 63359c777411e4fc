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


def job_with_trace(where: str) -> dict[str, Any]:
    objs = helm.objects("benchmark", "--set", f"benchmark.trace.{where}", "--set-json", "benchmark.trace.scale=0.25")
    return dict(helm.one(objs, "Job", "-benchmark")["spec"]["template"]["spec"])


def test_a_trace_takes_the_place_of_the_prefixes() -> None:
    flags = ("--set", "benchmark.trace.url=https://traces.example.com/a.jsonl,benchmark.trace.seconds=600")
    seen = config("lab", *flags, "--set-json", "benchmark.trace.scale=0.25")
    source = {"source": "https://traces.example.com/a.jsonl", "seconds": 600}
    assert seen["trace"] == {"format": "mooncake", "scale": 0.25, "speed": 1} | source
    assert seen["generator"][:2] == ["python3", "/benchmark/replay.py"]
    assert not {"prefixes", "promptsPerPrefix", "prefixTokens", "rates"} & set(seen), "the report would tell of them"
    assert "trace" not in config("lab") and config("lab")["generator"] == ["vllm", "bench", "serve"]


def test_the_scripts_come_whole() -> None:
    data = helm.one(helm.objects("benchmark"), "ConfigMap", "-benchmark")["data"]
    for path in (helm.CHART / "files" / "benchmark").glob("*.py"):
        assert data[path.name] == path.read_text()


def test_a_trace_is_read_from_a_config_map_or_a_claim() -> None:
    for where, volume in (
        ("configMapName=traces", {"configMap": {"name": "traces"}}),
        ("claimName=traces", {"persistentVolumeClaim": {"claimName": "traces", "readOnly": True}}),
    ):
        pod = job_with_trace(f"{where},benchmark.trace.file=a.jsonl")
        assert {"name": "trace", **volume} in pod["volumes"]
        assert {"name": "trace", "mountPath": "/trace", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_a_trace_on_the_caches_own_claim_is_read_there() -> None:
    """A pod that mounts one claim by two names waits for the second mount for ever."""
    where = "benchmark.trace.claimName=kv-kv-cache,benchmark.trace.file=traces/a.jsonl"
    assert config("lab", "--set", where)["trace"]["source"] == "/mnt/kv-cache/traces/a.jsonl"
    pod = helm.one(helm.objects("benchmark", "--set", where), "Job", "-benchmark")["spec"]["template"]["spec"]
    assert "trace" not in [volume["name"] for volume in pod["volumes"]]


def test_network_policies_let_the_trace_in() -> None:
    flags = ("--set", "benchmark.trace.url=https://traces.example.com:8443/a.jsonl")
    egress = helm.one(helm.objects("benchmark", *flags), "NetworkPolicy", "-benchmark")["spec"]["egress"]
    assert {"ports": [{"port": 8443, "protocol": "TCP"}]} in egress
