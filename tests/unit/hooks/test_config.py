# SPDX-License-Identifier: Apache-2.0
"""A typo in the values must cost one sentence, not a wrong verdict."""

import json

import pytest

from llmd_storage_hooks.core.config import parse
from llmd_storage_hooks.core.errors import ConfigError
from llmd_storage_hooks.preflight.config import PreflightConfig
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.proof.config import ProofConfig

BASE = {"release": "demo", "namespace": "ns"}
PROOF = {**BASE, "podSelector": {"a": "b"}, "model": "m", "blockTokens": 256}


def test_the_whole_preflight_config_is_read():
    config = parse(
        PreflightConfig,
        json.dumps(
            {
                **BASE,
                "reportConfigMap": "demo-storage-report",
                "checks": {"preflight.storageclass.rwx": "warn"},
                "allowInconclusive": True,
                "timeoutSeconds": 60,
                "crds": [{"name": "a.b.c", "version": "v1", "neededFor": "x"}],
                "gatewayClass": "istio",
                "storage": {
                    "existingClaim": "",
                    "claimName": "demo-kv-cache",
                    "storageClassName": "cephfs",
                    "createsStorageClass": False,
                    "provisioner": "",
                    "size": "18000Gi",
                    "accessMode": "ReadWriteMany",
                },
                "rwxOverrides": {"x.example.com": "yes"},
                "secrets": [{"name": "s", "key": "k", "required": False, "neededFor": "y"}],
                "accelerator": {"resource": "nvidia.com/gpu", "perPod": 2.0, "replicas": 2},
            }
        ),
    )
    assert config.crds[0].needed_for == "x"
    assert config.accelerator.per_pod == 2
    assert config.secrets[0].required is False
    assert config.timeout_seconds == 60.0


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        pytest.param(PreflightConfig, "{", "is not JSON", id="no json"),
        pytest.param(PreflightConfig, "[]", "must be a JSON object", id="no object"),
        pytest.param(PreflightConfig, {"release": "x"}, "config.namespace is missing", id="missing"),
        pytest.param(PreflightConfig, {**BASE, "storge": {}}, "(did you mean 'storage'?)", id="typo"),
        pytest.param(PreflightConfig, {**BASE, "zzzz": 1}, "(known: ", id="unknown"),
        pytest.param(
            PreflightConfig, {**BASE, "storage": {"sizes": "1Gi"}}, "unknown key config.storage.sizes", id="nested"
        ),
        pytest.param(PreflightConfig, {**BASE, "storage": 1}, "config.storage must be a JSON object", id="record"),
        pytest.param(PreflightConfig, {**BASE, "crds": {}}, "config.crds must be a list", id="list"),
        pytest.param(PreflightConfig, {**BASE, "checks": []}, "config.checks must be a JSON object", id="dict"),
        pytest.param(
            PreflightConfig, {**BASE, "checks": {"probe.nodes": "no"}}, "must be one of: fail, warn, skip", id="check"
        ),
        pytest.param(PreflightConfig, {**BASE, "checks": {"probe.node": "warn"}}, 'mean "probe.nodes"?', id="no check"),
        pytest.param(PreflightConfig, {**BASE, "rwxOverrides": {"a": "maybe"}}, "must be one of: yes, no", id="rwx"),
        pytest.param(PreflightConfig, {**BASE, "timeoutSeconds": 0}, "more than 0", id="time"),
        pytest.param(PreflightConfig, {**BASE, "timeoutSeconds": "5"}, "must be a number", id="number"),
        pytest.param(PreflightConfig, {**BASE, "release": 5}, "must be a string", id="string"),
        pytest.param(PreflightConfig, {**BASE, "allowInconclusive": 1}, "true or false", id="bool"),
        pytest.param(
            PreflightConfig, {**BASE, "accelerator": {"perPod": 1.5}}, "must be a whole number", id="fraction"
        ),
        pytest.param(ProbeConfig, {**BASE, "path": "/x", "publish": "copy"}, "config.publish", id="publish"),
        pytest.param(ProbeConfig, {**BASE, "path": "/x", "deadlineSeconds": 0}, "deadlineSeconds", id="deadline"),
        pytest.param(ProbeConfig, {**BASE, "path": "/x", "floors": {"read": 1}}, "readMiBps", id="floors"),
        pytest.param(ProofConfig, {**PROOF, "podSelector": {}}, "podSelector is empty", id="selector"),
        pytest.param(ProofConfig, {**PROOF, "blockTokens": 0}, "blockTokens is 0", id="block"),
        pytest.param(ProofConfig, {**PROOF, "minReusedFraction": 1.5}, "minReusedFraction", id="fraction of reuse"),
    ],
)
def test_a_bad_config_is_one_sentence(kind, raw, said):
    text = raw if isinstance(raw, str) else json.dumps(raw)
    with pytest.raises(ConfigError) as caught:
        parse(kind, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_the_documented_ones():
    config = parse(ProofConfig, json.dumps(PROOF))
    assert (config.prompt_blocks, config.max_tokens, config.min_reused_fraction) == (16, 16, 0.95)
    assert parse(ProbeConfig, json.dumps({**BASE, "path": "/x"})).publish == "auto"
