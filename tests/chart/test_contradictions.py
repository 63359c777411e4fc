"""Values that contradict each other get one sentence: what is wrong, why it matters, what to set."""

from __future__ import annotations

import pytest

from tests.chart import helm

CPU = "modelserver.accelerator.resource=,modelserver.tensorParallelSize=1"
LUSTRE = (
    "storage.storageClass.create=true,storage.storageClass.name=l,"
    "storage.storageClass.provisioner=lustre.csi.storage.gke.io"
)
ENV = "modelserver.extraEnv[0].name"

# (values, what the sentence must name, what it must tell to set)
TABLE: dict[str, tuple[str, str, str]] = {
    "existing claim and a class": (
        f"global.existingClaim=mine,{LUSTRE}",
        "global.existingClaim is",
        "set only one of them",
    ),
    "class without a name": (
        "storage.storageClass.create=true",
        "storage.storageClass.create is true but its name",
        "set storage.storageClass.name",
    ),
    "two classes": (
        f"{LUSTRE},storage.storageClassName=other",
        "storage.storageClassName is",
        "leave storage.storageClassName empty",
    ),
    "lustre step": (
        f"{LUSTRE},storage.size=20000Gi",
        "storage.size is",
        "18000Gi, 27000Gi, 36000Gi",
    ),
    "lustre too small": (f"{LUSTRE},storage.size=9000Gi", "storage.size is", "18000Gi"),
    "lustre too large": (f"{LUSTRE},storage.size=963000Gi", "storage.size is", "18000Gi"),
    "TP on CPU": (
        "modelserver.accelerator.resource=",
        "modelserver.tensorParallelSize is 2",
        "set tensorParallelSize to 1",
    ),
    "accelerator twice": (
        r"modelserver.resources.limits.nvidia\.com/gpu=8",
        "modelserver.resources.limits names nvidia.com/gpu",
        "remove it from resources",
    ),
    "CPU tier larger than memory": (
        "modelserver.cpuTier.size=250Gi",
        "modelserver.resources.requests.memory is 200Gi",
        "set memory to the sum",
    ),
    "CPU tier larger than the limit": (
        "modelserver.resources.limits.memory=64Gi",
        "modelserver.resources.limits.memory is 64Gi",
        "smaller cpuTier.size",
    ),
    "block of half a vLLM block": (
        "modelserver.storageTier.blockTokens=24",
        "modelserver.storageTier.blockTokens is 24",
        "set blockTokens to 16, 32, 64",
    ),
    "block against blockSize": (
        "modelserver.blockSize=48",
        "no multiple of vLLM's block size of 48",
        "modelserver.blockSize",
    ),
    "block on CPU": (
        f"{CPU},modelserver.storageTier.blockTokens=64",
        "no multiple of vLLM's block size of 128",
        "set blockTokens to 128",
    ),
    "flag with a value": (
        "modelserver.extraArgs={--max-num-seqs=4}",
        'modelserver.extraArgs holds "--max-num-seqs=4"',
        "set modelserver.maxNumSeqs",
    ),
    "flag in vLLM's other spelling": (
        "modelserver.extraArgs={--block_size=32}",
        'modelserver.extraArgs holds "--block_size=32"',
        "set modelserver.blockSize",
    ),
    "connector config by hand": (
        "modelserver.extraArgs={--kv-transfer-config}",
        "--kv-transfer-config",
        "set modelserver.cpuTier and modelserver.storageTier",
    ),
    "reserved environment": (f"{ENV}=PYTHONPATH", "modelserver.extraEnv sets PYTHONPATH", "remove it"),
    "token twice": (f"{ENV}=HF_TOKEN", "modelserver.extraEnv sets HF_TOKEN", "hfToken.enabled to false"),
    "environment twice": (
        f"{ENV}=A,modelserver.extraEnv[1].name=A",
        "modelserver.extraEnv names A twice",
        "keep one",
    ),
    "volume name taken": (
        "modelserver.extraVolumes[0].name=shm",
        'modelserver.extraVolumes names "shm"',
        "give it another",
    ),
    "mount path taken": (
        "modelserver.extraVolumeMounts[0].name=tmp,modelserver.extraVolumeMounts[0].mountPath=/tmp/",
        'mounts on "/tmp/"',
        "mount it elsewhere",
    ),
    "mount of no volume": (
        "modelserver.extraVolumeMounts[0].name=m,modelserver.extraVolumeMounts[0].mountPath=/m",
        'uses the volume "m"',
        "add it to modelserver.extraVolumes",
    ),
    "gateway of no class": ("gateway.className=", "gateway.className is empty", "set gateway.className"),
    "picker with nothing to pick by": (
        "inferencepool.scorers.queue=0,inferencepool.scorers.kvCacheUtilization=0,inferencepool.scorers.prefixCache=0",
        "inferencepool.scorers are all 0",
        "set at least one weight",
    ),
    "proof with one pod": ("modelserver.replicas=1", "modelserver.replicas is 1", "set replicas to 2 or more"),
    "proof without time": (
        "hooks.proof.timeoutSeconds=1200",
        "hooks.proof.timeoutSeconds is 1200",
        "set timeoutSeconds to 4860 or more",
    ),
    "name that no Service may have": ("global.nameOverride=1st", '"1st"', "set global.nameOverride"),
}


@pytest.mark.parametrize("case", TABLE)
def test_one_sentence_says_what_to_set(case: str) -> None:
    values, what, fix = TABLE[case]
    said = [line for line in helm.refusal("--set", values).splitlines() if line.startswith("  - ")]
    assert len(said) == 1, said
    assert what in said[0] and fix in said[0], said[0]
    assert "%!" not in said[0] and "<no value>" not in said[0], said[0]


def test_all_contradictions_are_shown_at_once() -> None:
    said = helm.refusal("--set", "modelserver.replicas=1,gateway.className=")
    assert said.count("\n  - ") == 2


@pytest.mark.parametrize("size", ["18000Gi", "27000Gi", "954000Gi"])
def test_lustre_sizes_that_are_sold(size: str) -> None:
    done = helm.helm("template", "kv", helm.CHART, "--set", f"{LUSTRE},storage.size={size}")
    assert done.returncode == 0, done.stderr


def test_the_proof_can_be_left_out_for_one_replica() -> None:
    done = helm.helm("template", "kv", helm.CHART, "--set", "modelserver.replicas=1,hooks.proof.enabled=false")
    assert done.returncode == 0, done.stderr
