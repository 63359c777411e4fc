"""modelserver.extraArgs and extraEnv as people write them: they work, or get a sentence; never a crash loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart import helm
from tests.chart.test_modelserver import kv_config


def rendered(folder: Path, server: dict[str, Any]) -> list[helm.Object]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump({"modelserver": server}))
    return helm.objects("default", "-f", str(path))


def vllm(objs: list[helm.Object]) -> dict[str, Any]:
    spec = helm.one(objs, "Deployment", "-modelserver")["spec"]["template"]["spec"]
    return {**spec["containers"][0], "shm": next(v for v in spec["volumes"] if v["name"] == "shm")}


def test_numbers_and_yes_need_no_quotes(tmp_path: Path) -> None:
    """YAML reads 131072 as a number; Kubernetes takes texts alone, and Helm prints large numbers as 1e+06."""
    args = ["--max-model-len", 1048576, "--gpu-memory-utilization", 0.9, "--trust", True, "4096"]
    env = [{"name": "OMP_NUM_THREADS", "value": 8}, {"name": "DO_NOT_TRACK", "value": True}]
    secret = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    container = vllm(rendered(tmp_path, {"extraArgs": args, "extraEnv": [*env, secret]}))
    given = ["--max-model-len", "1048576", "--gpu-memory-utilization", "0.9", "--trust", "true", "4096"]
    assert container["args"][-len(given) :] == given
    assert [e["value"] for e in container["env"] if e["name"] in ("OMP_NUM_THREADS", "DO_NOT_TRACK")] == ["8", "true"]
    assert secret in container["env"]


@pytest.mark.parametrize(
    ("args", "accelerators", "engines"),
    [
        (["--data-parallel-size=8", "--enable-expert-parallel"], 8, 8),
        (["--data-parallel-size", 4], 4, 4),
        (["-dp", "2", "-pp", "2"], 4, 2),
        (["-dp=2"], 2, 2),
        (["--pipeline_parallel_size=3"], 3, 1),
        (["--decode-context-parallel-size=2"], 1, 1),  # shares those of tensor parallelism
    ],
)
def test_a_pod_asks_for_the_accelerators_that_its_engines_take(
    tmp_path: Path, args: list[Any], accelerators: int, engines: int
) -> None:
    """Fewer, and vLLM ends at its start. The CPU tier is of the whole pod: each engine gets its share of /dev/shm."""
    objs = rendered(tmp_path, {"tensorParallelSize": 1, "extraArgs": args})
    container = vllm(objs)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(accelerators)
    share = kv_config(container["args"])["kv_connector_extra_config"]["cpu_bytes_to_use"]
    assert share == 100 * 2**30 // engines
    assert container["shm"]["emptyDir"]["sizeLimit"] == "106496Mi"
    preflight = helm.one(objs, "Job", "-preflight")["spec"]["template"]["spec"]["containers"][0]["args"][2]
    assert json.loads(preflight)["accelerator"]["perPod"] == accelerators


REFUSED = {
    "two words": ("--max-model-len 32768", 'write two items: "--max-model-len", "32768"'),
    "three words": ("--lora-modules a=b c=d", "a flag and its value in one item"),
    "a JSON value": ('--hf-overrides {"a": 1}', r'write two items: "--hf-overrides", "{\"a\": 1}"'),
    "TLS": ("--ssl-keyfile=/tls/key", "set global.modelserverTls.secretName"),
    "a socket": ("--uds=/tmp/s", "ask on port 8000"),
    "offloading": ("--kv-offloading-size=10", "set modelserver.connector and modelserver.cpuTier.size"),
    "offloading's kind": ("--kv_offloading_backend=lmcache", "set modelserver.connector"),
    "several pods": ("--nnodes=2", "modelserver.nodes to spread the engines"),
    "several pods, for short": ("-dpl=4", "says where engines run"),
    "no number": ("--data-parallel-size=eight", "without a whole number"),
    "nothing after it": ("-dp", "without a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_crash_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    arg, fix = REFUSED[case]
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({"modelserver": {"extraArgs": [arg]}}))
    said = [line for line in helm.refusal("-f", str(path)).splitlines() if line.startswith("  - ")]
    assert len(said) == 1 and "modelserver.extraArgs holds" in said[0] and fix in said[0], said


def test_values_of_several_words_are_values(tmp_path: Path) -> None:
    module = 'sql={"name": "sql", "path": "/adapters/sql"}'
    assert vllm(rendered(tmp_path, {"extraArgs": ["--lora-modules", module]}))["args"][-1] == module


def test_engines_on_cpu_share_no_accelerators(tmp_path: Path) -> None:
    cpu = "modelserver.accelerator.resource=none,modelserver.tensorParallelSize=1,modelserver.extraArgs={-dp=2}"
    said = helm.refusal("--set", f"{cpu},modelserver.storageTier.blockTokens=128")
    assert "modelserver.extraArgs split the model over 2 accelerators" in said


@pytest.mark.parametrize("model", ["/modelsXL/m", "/models-old"])
def test_a_path_beside_the_models_is_none_below_it(model: str) -> None:
    source = "modelserver.modelSource.type=claim,modelserver.modelSource.claimName=m"
    assert "whose files are under /models" in helm.refusal("--set", f"{source},modelserver.model={model}")
