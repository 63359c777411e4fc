"""Values that contradict each other get one sentence: what is wrong, why it matters, what to set."""

from __future__ import annotations

import pytest

from tests.chart import helm

CPU = "modelserver.accelerator.resource=none,modelserver.tensorParallelSize=1"
LUSTRE = (
    "storage.storageClass.create=true,storage.storageClass.name=l,"
    "storage.storageClass.provisioner=lustre.csi.storage.gke.io"
)
THROUGHPUT = "storage.storageClass.parameters.perUnitStorageThroughput"
ROUTER = "inferencepool.picker=llm-d-router,inferencepool.epp.image.repository=epp"
STATIC = (
    "storage.persistentVolume.create=true,storage.persistentVolume.nfs.server=s,storage.persistentVolume.nfs.path=/p"
)
ENV = "modelserver.extraEnv[0].name"

# (values, what the sentence must name, what it must tell to set)
TABLE: dict[str, tuple[str, str, str]] = {
    "existing claim and a class": (
        f"storage.existingClaim=mine,evictor.enabled=false,{LUSTRE}",
        "storage.existingClaim is",
        "set only one of them",
    ),
    "two existing claims": (
        "global.existingClaim=yours,storage.existingClaim=mine,evictor.enabled=false",
        "global.existingClaim, its earlier name",
        "set storage.existingClaim to",
    ),
    "two places of a trace": (
        "benchmark.trace.url=https://a.example.com/t,benchmark.trace.claimName=c",
        "more than one of configMapName, claimName and url",
        "set only that one",
    ),
    "a trace's file is not named": (
        "benchmark.trace.configMapName=traces",
        "benchmark.trace.file is not set",
        "set it to the ConfigMap's key",
    ),
    "a file of nothing": (
        "benchmark.trace.file=a.jsonl",
        "benchmark.trace.file is a.jsonl but not of what",
        "set benchmark.trace.configMapName or claimName",
    ),
    "empty text for not set": ("storage.storageClassName=", 'storage.storageClassName is ""', "set it to null"),
    "zero for not set": ("modelserver.blockSize=0", "modelserver.blockSize is 0", "set it to null"),
    "accelerator of no name": (
        "modelserver.accelerator.resource=,modelserver.tensorParallelSize=1",
        "modelserver.accelerator.resource is",
        "set it to none",
    ),
    "class without a name": (
        "storage.storageClass.create=true",
        "storage.storageClass.create is true but its name",
        "set storage.storageClass.name",
    ),
    "existing claim and a static volume": (
        f"storage.existingClaim=mine,evictor.enabled=false,{STATIC}",
        "storage.existingClaim is",
        "set only one of them",
    ),
    "static volume and a class": (
        f"storage.storageClassName=x,{STATIC}",
        "storage.persistentVolume.create is true and a StorageClass is set too",
        "storage.storageClassName to null",
    ),
    "backend that nothing uses": (
        "storage.backend=cephfs",
        "storage.backend is cephfs but no class and no volume is named",
        "set storage.storageClassName",
    ),
    "class without what its driver needs": (
        "storage.backend=nfs,storage.storageClass.create=true,storage.storageClass.name=n,"
        "storage.storageClass.parameters.server=s",
        "lack share, without which nfs.csi.k8s.io",
        "set storage.storageClass.parameters.share",
    ),
    "class without one of two": (
        "storage.backend=aws-efs,storage.storageClass.create=true,storage.storageClass.name=n",
        "lack fileSystemId or fileSystemIdConfigRef or",
        "set storage.storageClass.parameters.fileSystemId",
    ),
    "class without credentials": (
        "storage.backend=juicefs,storage.storageClass.create=true,storage.storageClass.name=n",
        "storage.storageClass.secretName is not set",
        "set storage.storageClass.secretName and secretNamespace",
    ),
    "credentials without a namespace": (
        "storage.backend=juicefs,storage.storageClass.create=true,storage.storageClass.name=n,"
        "storage.storageClass.secretName=s",
        "its namespace is not set",
        "set storage.storageClass.secretNamespace",
    ),
    "zones of an unknown kind": (
        "storage.backend=nfs,storage.storageClass.create=true,storage.storageClass.name=n,"
        "storage.storageClass.parameters.server=s,storage.storageClass.parameters.share=/s,"
        "storage.storageClass.zones={a}",
        "storage.storageClass.zones is set",
        "set storage.storageClass.allowedTopologies",
    ),
    "static volume of nothing": (
        "storage.persistentVolume.create=true",
        "neither an NFS server nor a CSI driver",
        "set storage.persistentVolume.nfs.server",
    ),
    "static volume without a handle": (
        "storage.backend=weka,storage.persistentVolume.create=true",
        "storage.persistentVolume.csi.volumeHandle is not set",
        "set it to what the driver calls the volume",
    ),
    "static volume of two": (
        f"{STATIC},storage.persistentVolume.csi.volumeHandle=v",
        "names an NFS server and a CSI volume",
        "set nfs.server or csi.volumeHandle to null",
    ),
    "static volume without a path": (
        "storage.persistentVolume.create=true,storage.persistentVolume.nfs.server=s",
        "nfs.path is not set",
        "set storage.persistentVolume.nfs.path",
    ),
    "lustre step by its backend": (
        "storage.backend=gcp-lustre,storage.storageClassName=lustre-rwx,storage.size=20000Gi",
        "storage.size is",
        "18000Gi or 27000Gi",
    ),
    "two classes": (
        f"{LUSTRE},storage.storageClassName=other",
        "storage.storageClassName is",
        "storage.storageClassName to null",
    ),
    "lustre step": (
        f"{LUSTRE},storage.size=20000Gi",
        "with perUnitStorageThroughput 1000 are sold from 9000Gi to 10008000Gi in steps of 9000Gi",
        "18000Gi or 27000Gi",
    ),
    "lustre step of a slower tier": (
        f"{LUSTRE},{THROUGHPUT}=500,storage.size=27000Gi",
        "with perUnitStorageThroughput 500 are sold from 18000Gi",
        "18000Gi or 36000Gi",
    ),
    "lustre too small": (f"{LUSTRE},storage.size=8000Gi", "storage.size is", "set storage.size to 9000Gi."),
    "lustre too small for its tier": (
        f"{LUSTRE},{THROUGHPUT}=125,storage.size=18000Gi",
        "storage.size is",
        "set storage.size to 72000Gi.",
    ),
    "lustre too large": (f"{LUSTRE},storage.size=10017000Gi", "storage.size is", "set storage.size to 10008000Gi."),
    "model claim without a name": (
        "modelserver.modelSource.type=claim,modelserver.model=/models/m",
        "claimName is not set",
        "set modelserver.modelSource.claimName",
    ),
    "model image without a name": (
        "modelserver.modelSource.type=image,modelserver.model=/models/m",
        "imageReference is not set",
        "set modelserver.modelSource.imageReference",
    ),
    "mounted model that is not used": (
        "modelserver.modelSource.type=claim,modelserver.modelSource.claimName=m",
        "whose files are under /models",
        "set modelserver.model to /models",
    ),
    "autoscaler with nothing to scale by": (
        "modelserver.autoscaling.kind=hpa",
        "kind is hpa but metrics is empty",
        "set modelserver.autoscaling.metrics",
    ),
    "KEDA with nothing to scale by": (
        "modelserver.autoscaling.kind=keda",
        "kind is keda but triggers is empty",
        "set modelserver.autoscaling.triggers",
    ),
    "autoscaler to one": (
        "modelserver.autoscaling.kind=keda,modelserver.autoscaling.triggers[0].type=cron,modelserver.autoscaling.minReplicas=1",
        "modelserver.autoscaling.minReplicas is 1",
        "set autoscaling.minReplicas to 2 or more",
    ),
    "autoscaler upside down": (
        "modelserver.autoscaling.kind=keda,modelserver.autoscaling.triggers[0].type=cron,modelserver.autoscaling.maxReplicas=1",
        "modelserver.autoscaling.maxReplicas is 1, less than minReplicas",
        "set maxReplicas to 2",
    ),
    "label by which pods are found": (
        r"modelserver.podLabels.llm-d\.ai/inference-serving=no",
        "modelserver.podLabels sets llm-d.ai/inference-serving",
        "remove it",
    ),
    "container name taken": (
        "modelserver.extraContainers[0].name=vllm",
        'names "vllm"',
        "give it another",
    ),
    "setting of another connector": (
        "modelserver.connector=lmcache,modelserver.storageTier.failFast=true",
        "modelserver.storageTier.failFast is true but modelserver.connector is lmcache",
        "set connector to llmd-storage",
    ),
    "option beside its value": (
        "modelserver.storageTier.extraConfig.io_threads=4",
        "modelserver.storageTier.extraConfig names io_threads",
        "set modelserver.storageTier.ioThreads",
    ),
    "option of the chart": (
        "modelserver.storageTier.extraConfig.block_size=4",
        "modelserver.storageTier.extraConfig names block_size",
        "set modelserver.storageTier.blockTokens",
    ),
    "option for nobody": (
        "modelserver.connector=none,hooks.proof.enabled=false,modelserver.storageTier.extraConfig.a=1",
        "modelserver.storageTier.extraConfig is set but modelserver.connector is none",
        "set connector",
    ),
    "connector that needs a GPU": (
        f"modelserver.connector=vllm-fs,modelserver.storageTier.blockTokens=128,{CPU}",
        "modelserver.connector is vllm-fs, which needs an accelerator",
        "set connector to llmd-storage",
    ),
    "proof of nothing": (
        "modelserver.connector=none",
        "there is no cache to prove",
        "set hooks.proof.enabled to false",
    ),
    "download cache of what is not downloaded": (
        "modelserver.modelSource.type=claim,modelserver.modelSource.claimName=m,modelserver.model=/models,"
        "modelserver.modelSource.cacheClaimName=hf",
        'modelserver.modelSource.cacheClaimName is "hf" but type is claim',
        "set cacheClaimName to null",
    ),
    "prefill and decode": (
        "modelserver.prefill.replicas=2",
        "modelserver.prefill is set but this chart makes one group",
        "set modelserver.replicas",
    ),
    "TP on CPU": (
        "modelserver.accelerator.resource=none",
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
        "set modelserver.connector, modelserver.cpuTier and modelserver.storageTier",
    ),
    "reserved environment": (f"{ENV}=PYTHONPATH", "modelserver.extraEnv sets PYTHONPATH", "remove it"),
    "folder of counters": (
        f"modelserver.connector=lmcache,{ENV}=PROMETHEUS_MULTIPROC_DIR",
        "modelserver.extraEnv sets PROMETHEUS_MULTIPROC_DIR",
        "remove it",
    ),
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
    "gateway of no class": (
        "gateway.provider=custom",
        "gateway.className is not set",
        "set gateway.className",
    ),
    "listener of another's gateway": (
        "gateway.existing.name=g,gateway.pathPrefix=/,gateway.tls.secretName=s",
        "gateway.existing.name is",
        "set those where that Gateway is made",
    ),
    "a whole gateway that others use": (
        "gateway.existing.name=g",
        'gateway.existing.name is "g", a Gateway that others use too',
        "set gateway.hostnames, gateway.models or gateway.pathPrefix",
    ),
    "route that leaves out the served model": (
        "gateway.models={other}",
        'gateway.models lacks "Qwen/Qwen3-32B"',
        "set modelserver.servedModelName to one of other",
    ),
    "half of another's gateway": (
        "gateway.existing.namespace=g",
        "gateway.existing.name is not set",
        "set the name too",
    ),
    "scorer that the picker lacks": (
        "inferencepool.scorers.noHitLru=1",
        "inferencepool.scorers.noHitLru is 1",
        "or picker to llm-d-router",
    ),
    "scorer without an index": (
        f"{ROUTER},inferencepool.scorers.cpuPrefixCache=1",
        "keeps no index of the CPU tier",
        "set inferencepool.prefixIndex.cpuTierSize to 100Gi",
    ),
    "index of another size": (
        "inferencepool.prefixIndex.cpuTierSize=50Gi",
        "modelserver.cpuTier.size is 100Gi",
        "set both to the same size",
    ),
    "picker with another's image": (
        "inferencepool.picker=llm-d-router",
        "inferencepool.epp.image is gateway-api-inference-extension/epp",
        "set inferencepool.epp.image",
    ),
    "picker with nothing to pick by": (
        "inferencepool.scorers.queue=0,inferencepool.scorers.kvCacheUtilization=0,inferencepool.scorers.prefixCache=0",
        "inferencepool.scorers are all 0",
        "set at least one weight",
    ),
    "evictor without a budget": (
        "storage.existingClaim=mine",
        "the size of mine is not known",
        "set evictor.config.budget_bytes",
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
    said = helm.refusal("--set", "modelserver.replicas=1,gateway.provider=custom")
    assert said.count("\n  - ") == 2


@pytest.mark.parametrize(
    "values",
    [
        *(f"storage.size={size}" for size in ("9000Gi", "18000Gi", "27000Gi", "954000Gi")),
        f"storage.size=36000Gi,{THROUGHPUT}=500",
        f"storage.size=72000Gi,{THROUGHPUT}=125",
    ],
)
def test_lustre_sizes_that_are_sold(values: str) -> None:
    done = helm.helm("template", "kv", helm.CHART, *helm.REGISTRY, "--set", f"{LUSTRE},{values}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("values", ["hooks.proof.enabled=false", "hooks.allowInconclusive=true"])
def test_one_replica_is_possible(values: str) -> None:
    done = helm.helm("template", "kv", helm.CHART, *helm.REGISTRY, "--set", f"modelserver.replicas=1,{values}")
    assert done.returncode == 0, done.stderr


def test_no_replica_can_be_proven() -> None:
    said = helm.refusal("--set", "modelserver.replicas=0,hooks.allowInconclusive=true")
    assert "modelserver.replicas is 0" in said


def test_the_projects_image_is_somewhere() -> None:
    """Else the preflight's pod waits for an image that Docker Hub does not have, until its deadline."""
    done = helm.helm("template", "kv", helm.CHART)
    assert done.returncode and "set global.image.registry" in done.stderr and done.stderr.count("\n  - ") == 1
    for way in ("global.imageRegistry=mirror", "global.image.repository=ghcr.io/acme/llm-d-storage"):
        assert helm.helm("template", "kv", helm.CHART, "--set", way).returncode == 0, way
