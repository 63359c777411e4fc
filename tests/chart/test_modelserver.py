"""What vLLM is started with. A wrong flag here is a cache that silently does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.chart import helm

CONNECTOR_SCHEMA = helm.CHART.parents[1] / "schemas" / "connector-config.schema.json"


def vllm(scenario: str, *extra: str) -> dict[str, Any]:
    (pod,) = (spec for where, spec in helm.pod_specs(helm.objects(scenario, *extra)) if where.endswith("-modelserver"))
    container: dict[str, Any] = pod["containers"][0]
    assert container["name"] == "vllm", "the first one is what kubectl logs and exec take"
    return container


def kv_config(args: list[str]) -> dict[str, Any]:
    return json.loads(args[args.index("--kv-transfer-config") + 1])


def face(extra: dict[str, Any]) -> dict[str, Any]:
    """The connector's public face."""
    return {
        "kv_connector": "LlmdStorageConnector",
        "kv_connector_module_path": "llmd_storage_connector.vllm.connector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": extra,
    }


def test_default_command_line() -> None:
    container = vllm("default")
    assert container["command"] == ["vllm"]
    args = container["args"]
    assert args[:-2] == [
        "serve",
        "Qwen/Qwen3-32B",
        "--port",
        "8000",
        "--tensor-parallel-size",
        "2",
        "--max-num-seqs",
        "1024",
        "--shutdown-timeout",
        "90",
        "--kv-transfer-config",
    ]
    assert args[-1] == "--enable-prompt-tokens-details"
    assert json.loads(args[-2]) == face(
        {
            "root_dir": "/mnt/kv-cache/blocks",
            "cpu_bytes_to_use": 107374182400,
            "block_size": 256,
            "publish": "auto",
            "offload_prompt_only": True,
            "fail_fast": False,
        }
    )


def test_lab_command_line() -> None:
    args = vllm("lab")["args"]
    at = args.index("--kv-transfer-config")
    assert args[:at] + args[at + 2 :] == [
        "serve",
        "/models/SmolLM2-135M-Instruct",
        "--port",
        "8000",
        "--served-model-name",
        "smollm2",
        "--tensor-parallel-size",
        "1",
        "--block-size",
        "32",
        "--max-num-seqs",
        "8",
        "--shutdown-timeout",
        "10",
        "--enable-prompt-tokens-details",
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        "4096",
        "--kv-cache-memory-bytes",
        "268435456",
        "--distributed-executor-backend",
        "uni",
        "--disable-access-log-for-endpoints",
        "/health,/metrics",
    ]
    extra = kv_config(args)["kv_connector_extra_config"]
    assert (extra["cpu_bytes_to_use"], extra["block_size"]) == (512 * 2**20, 32)


def test_every_tuning_key_reaches_the_connector() -> None:
    assert kv_config(vllm("everything")["args"]) == face(
        {
            "root_dir": "/mnt/kv-cache/blocks",
            "cpu_bytes_to_use": 200 * 2**30,
            "block_size": 512,
            "publish": "rename_fsync",
            "direct_io": "off",
            "offload_prompt_only": False,
            "fail_fast": True,
            "io_threads": 32,
            "lookup_threads": 64,
            "lookup_deadline_s": 0.5,
            "load_deadline_s": 10,
            "store_deadline_s": 30,
            "store_queue_bytes": 2 * 2**30,
            "adapters_by_name": True,
            "media_by_id": True,
            "self_describing_kv_events": True,
            "weights_id": "odd@7",
        }
    )


def test_connector_takes_its_configuration() -> None:
    schema = json.loads(CONNECTOR_SCHEMA.read_text())
    seen = 0
    for scenario in helm.SCENARIOS:
        args = vllm(scenario)["args"]
        config = kv_config(args) if "--kv-transfer-config" in args else {}
        if config.get("kv_connector") == "LlmdStorageConnector":
            jsonschema.validate(config["kv_connector_extra_config"], schema)
            seen += 1
    assert seen > 20


def test_every_key_of_the_connector_has_a_value_or_a_reason() -> None:
    """A key that the connector learns and the chart does not cannot be set from a values file."""
    schema = json.loads(CONNECTOR_SCHEMA.read_text())
    tier = "modelserver.storageTier"
    tuned = f"{tier}.skipSlowLoads=false,{tier}.evictionPolicy=arc,{tier}.canonicalLayout=true"
    theirs = {"secondary_tiers": [{"type": "fs", "root_dir": "/mnt/nvme"}], "backpressure": {}}
    options = ["--set", tuned, "--set-json", f"{tier}.extraConfig={json.dumps(theirs)}"]
    given = kv_config(vllm("everything", *options)["args"])["kv_connector_extra_config"]
    assert set(schema["properties"]) == set(given)
    assert (given["skip_slow_loads"], given["eviction_policy"], given["canonical_layout"]) == (False, "arc", True)


def test_on_and_off_need_no_quotes() -> None:
    """YAML reads them as true and false."""
    for given, word in (("true", "on"), ("false", "off"), ("auto", "auto")):
        args = ("--set", f"modelserver.storageTier.directIo={given}")
        extra = kv_config(vllm("default", *args)["args"])["kv_connector_extra_config"]
        assert extra["direct_io"] == word
        probe = helm.one(helm.objects("default", *args), "Job", "-probe")["spec"]["template"]["spec"]
        assert json.loads(probe["containers"][0]["args"][2])["directIo"] == word


def test_further_keys_are_handed_on_as_they_are() -> None:
    """Of a connector that is newer than the chart, or of another one."""
    args = ("--set", "modelserver.storageTier.extraConfig.new_option=12345678901")
    for scenario in ("default", "vllm-fs", "llmd-fs-backend", "lmcache"):
        assert kv_config(vllm(scenario, *args)["args"])["kv_connector_extra_config"]["new_option"] == 12345678901


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("100Gi", 107374182400),
        ("1Ti", 1099511627776),
        ("999999Ti", 999999 * 2**40),
        ("123456789k", 123456789000),
        ("7M", 7000000),
        ("3G", 3000000000),
        ("1T", 10**12),
        ("524288Ki", 524288 * 1024),
    ],
)
def test_sizes_become_whole_bytes(size: str, count: int) -> None:
    """A rounded byte count would be printed into vLLM's configuration as 1.0737e+11."""
    args = vllm("default", "--set", f"modelserver.cpuTier.size={size},modelserver.resources.requests=null")["args"]
    assert kv_config(args)["kv_connector_extra_config"]["cpu_bytes_to_use"] == count


def test_null_takes_a_default_away() -> None:
    values = "modelserver.resources.requests.cpu=null,inferencepool.epp.resources.limits=null"
    assert "cpu" not in vllm("default", "--set", values)["resources"]["requests"]
    picker = helm.one(helm.objects("default", "--set", values), "Deployment", "-epp")
    assert "limits" not in picker["spec"]["template"]["spec"]["containers"][0]["resources"]


def test_large_numbers_are_printed_as_such() -> None:
    args = vllm("default", "--set", "hooks.proof.maxTokens=1000,modelserver.maxNumSeqs=65536")["args"]
    assert args[args.index("--max-num-seqs") + 1] == "65536"


@pytest.mark.parametrize(("scenario", "size"), [("default", "106496Mi"), ("lab", "576Mi")])
def test_shared_memory_holds_the_cpu_tier(scenario: str, size: str) -> None:
    pod = helm.one(helm.objects(scenario), "Deployment", "-modelserver")["spec"]["template"]["spec"]
    (shm,) = (v for v in pod["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": size}
    assert {"name": "shm", "mountPath": "/dev/shm"} in vllm(scenario)["volumeMounts"]


def test_connector_comes_from_the_projects_image() -> None:
    pod = helm.one(helm.objects("lab"), "Deployment", "-modelserver")["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    assert init["image"] == "localhost/llm-d-storage:0.1.0"
    assert init["command"] == ["cp", "-r", "/opt/llm-d-storage/connector/.", "/connector"]
    mount = {"name": "connector", "mountPath": "/opt/llmd-connector", "readOnly": True}
    assert mount in pod["containers"][0]["volumeMounts"]
    env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert env["PYTHONPATH"] == "/opt/llmd-connector"
    assert env["PYTHONHASHSEED"]


def test_hugging_face_token_only_when_wanted() -> None:
    def token(scenario: str) -> list[dict[str, Any]]:
        return [e for e in vllm(scenario)["env"] if e["name"] == "HF_TOKEN"]

    (entry,) = token("default")
    assert entry["valueFrom"]["secretKeyRef"] == {"name": "llm-d-hf-token", "key": "HF_TOKEN"}
    assert not token("lab")


def test_an_extra_variable_replaces_the_charts() -> None:
    homes = [e["value"] for e in vllm("everything")["env"] if e["name"] == "HOME"]
    assert homes == ["/models/home"]


def test_accelerators_follow_tensor_parallelism() -> None:
    assert vllm("default")["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert vllm("everything")["resources"]["limits"] == {"memory": "500Gi", "amd.com/gpu": "4"}
    assert vllm("lab")["resources"] == {"requests": {"cpu": "500m", "memory": "3Gi"}}


def test_two_replicas_land_on_two_nodes() -> None:
    deployment = helm.one(helm.objects("lab"), "Deployment", "-modelserver")["spec"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert (spread["maxSkew"], spread["whenUnsatisfiable"]) == (1, "DoNotSchedule")
    labels = deployment["template"]["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


def test_a_slow_start_is_not_a_failure_and_a_stop_is_graceful() -> None:
    for scenario, budget in (("default", 3600), ("lab", 300)):
        deployment = helm.one(helm.objects(scenario), "Deployment", "-modelserver")["spec"]
        probe = vllm(scenario)["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= budget
        assert deployment["progressDeadlineSeconds"] > budget
    pod = helm.one(helm.objects("default"), "Deployment", "-modelserver")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 130
    assert vllm("default")["lifecycle"] == {"preStop": {"sleep": {"seconds": 30}}}


def test_no_secret_value_and_no_shell() -> None:
    for path in Path(helm.CHART).rglob("templates/**/*.yaml"):
        text = path.read_text()
        assert "sh, -c" not in text and "/bin/sh" not in text, path
