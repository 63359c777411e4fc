"""The other connectors: each as its own project configures it, and none with what belongs to another."""

from __future__ import annotations

import json
from typing import Any

from tests.chart import helm
from tests.chart.test_modelserver import kv_config, vllm

OTHERS = ("vllm-fs", "llmd-fs-backend", "lmcache", "no-cache")


def pod(scenario: str) -> dict[str, Any]:
    return helm.one(helm.objects(scenario), "Deployment", "-modelserver")["spec"]["template"]["spec"]


def test_vllms_own_tier() -> None:
    assert kv_config(vllm("vllm-fs")["args"]) == {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "spec_name": "TieringOffloadingSpec",
            "cpu_bytes_to_use": 100 * 2**30,
            "block_size": 256,
            "offload_prompt_only": True,
            "secondary_tiers": [
                {"type": "fs", "root_dir": "/mnt/kv-cache/vllm-fs", "n_read_threads": 16, "n_write_threads": 16}
            ],
        },
    }


def test_the_guides_backend() -> None:
    """A user would lose: requests, to a block that was gone between its lookup and its load."""
    assert kv_config(vllm("llmd-fs-backend")["args"]) == {
        "kv_connector": "OffloadingConnector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
        "kv_connector_extra_config": {
            "spec_name": "SharedStorageOffloadingSpec",
            "spec_module_path": "llmd_fs_backend.spec",
            "shared_storage_path": "/mnt/kv-cache/llmd-fs-backend",
            "block_size": 256,
            "threads_per_gpu": 64,
        },
    }


def test_lmcache_is_shared_between_pods() -> None:
    """Its local_disk keeps the index in memory: on a shared volume no pod would find what another one wrote."""
    assert kv_config(vllm("lmcache")["args"]) == {
        "kv_connector": "LMCacheConnectorV1",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "recompute",
    }
    text = helm.one(helm.objects("lmcache"), "ConfigMap", "-lmcache")["data"]["lmcache.yaml"]
    (config,) = helm.load_yaml(text)
    assert config["remote_storage_plugins"] == ["fs"]
    assert config["extra_config"]["remote_storage_plugin.fs.base_path"] == "/mnt/kv-cache/lmcache"
    assert config["chunk_size"] == 256
    assert config["max_local_cpu_size"] == 50, "for each of two ranks"
    assert not [key for key in config if "disk" in key]
    env = {e["name"]: e.get("value") for e in vllm("lmcache")["env"]}
    assert env["LMCACHE_CONFIG_FILE"] == "/etc/lmcache/lmcache.yaml"
    assert env["LMCACHE_TRACK_USAGE"] == "false"
    assert {"name": "lmcache-metrics", "mountPath": env["PROMETHEUS_MULTIPROC_DIR"]} in vllm("lmcache")["volumeMounts"]
    assert env["PYTHONHASHSEED"], "its keys are Python hashes"
    mount = {"name": "lmcache", "mountPath": "/etc/lmcache", "readOnly": True}
    assert mount in vllm("lmcache")["volumeMounts"]


def test_a_new_lmcache_configuration_restarts_the_model_servers() -> None:
    def checksum(*extra: str) -> str:
        deployment = helm.one(helm.objects("lmcache", *extra), "Deployment", "-modelserver")
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/lmcache"]

    assert checksum() != checksum("--set", "modelserver.storageTier.blockTokens=512")


def test_no_cache_means_none() -> None:
    container = vllm("no-cache")
    assert "--kv-transfer-config" not in container["args"]
    assert not [m for m in container["volumeMounts"] if m["mountPath"] == "/mnt/kv-cache"]
    # The claim stays: to switch back must not begin with an empty filesystem.
    assert helm.one(helm.objects("no-cache"), "PersistentVolumeClaim", "-kv-cache")


def test_our_connector_is_there_only_when_it_is_used() -> None:
    for scenario in OTHERS:
        spec = pod(scenario)
        assert "initContainers" not in spec
        assert not {v["name"] for v in spec["volumes"]} & {"connector"}
        assert "PYTHONPATH" not in {e["name"] for e in spec["containers"][0]["env"]}


def test_shared_memory_holds_a_cpu_tier_only_where_it_lies_there() -> None:
    sizes = {}
    for scenario in ("default", *OTHERS):
        (shm,) = (v for v in pod(scenario)["volumes"] if v["name"] == "shm")
        sizes[scenario] = shm["emptyDir"]["sizeLimit"]
    assert sizes["default"] == sizes["vllm-fs"] == "106496Mi"
    assert sizes["lmcache"] == sizes["llmd-fs-backend"] == sizes["no-cache"] == "4096Mi"


def test_the_proof_knows_who_counts() -> None:
    """Each connector counts what it moves under its own names, or not at all."""
    for scenario, connector in (("default", "llmd-storage"), ("vllm-fs", "vllm-fs"), ("lmcache", "lmcache")):
        job = helm.one(helm.objects(scenario), "Job", "-proof")
        seen = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][2])
        assert seen["connector"] == connector and seen["checks"] == {}
