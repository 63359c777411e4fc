"""Claim, StorageClass and static volume of each backend. A wrong parameter is a claim that stays Pending for ever."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
import yaml

from llmd_storage_hooks.preflight.checks import rwx
from tests.chart import helm

KEEP = {"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Delete=false,Prune=false"}
VALUES = {s: helm.load_yaml(helm.scenario_file(s).read_text())[:1] for s in helm.SCENARIOS}
CLASSES = [
    s for s, v in VALUES.items() if v and v[0].get("storage", {}).get("storageClass", {}).get("create")
]  # without rendering: this is read at collection
STATIC = [s for s in helm.SCENARIOS if s.startswith("static-")]
SCHEMA = json.loads((helm.CHART / "values.schema.json").read_text())
BACKENDS = SCHEMA["$defs"]["storage"]["properties"]["backend"]["enum"]


def storage_class(scenario: str, *extra: str) -> dict[str, Any]:
    (found,) = (o for o in helm.objects(scenario, *extra) if o["kind"] == "StorageClass")
    return found


def claim(scenario: str, *extra: str) -> dict[str, Any]:
    return helm.one(helm.objects(scenario, *extra), "PersistentVolumeClaim", "-kv-cache")


def volume(scenario: str, *extra: str) -> dict[str, Any]:
    return helm.one(helm.objects(scenario, *extra), "PersistentVolume", "-kv-cache")


def test_claim_is_kept_and_is_no_hook() -> None:
    for scenario in helm.SCENARIOS:
        claims = [o for o in helm.objects(scenario) if o["kind"] == "PersistentVolumeClaim"]
        if scenario == "existing-claim":
            assert not claims
            continue
        (one,) = claims
        kept = scenario != "static-nfs"
        notes = {k: v for k, v in one["metadata"].get("annotations", {}).items() if k != "example.com/owner"}
        assert notes == (KEEP if kept else {}), "no hook: a hook is made anew"
        assert one["spec"]["accessModes"] == ["ReadWriteMany"]
    gone = helm.objects("default", "--set", "storage.keepOnUninstall=false")
    assert "annotations" not in helm.one(gone, "PersistentVolumeClaim", "-kv-cache")["metadata"]


def test_claim_names_the_class_only_when_it_should() -> None:
    assert "storageClassName" not in claim("default")["spec"]  # "" would mean "no class at all"
    assert claim("lab")["spec"]["storageClassName"] == "cephfs"
    for scenario in CLASSES:
        assert claim(scenario)["spec"]["storageClassName"] == storage_class(scenario)["metadata"]["name"]


# What each driver is to be told, as its own documentation has it.
SECRETS = ("provisioner", "controller-publish", "controller-expand", "node-stage", "node-publish")
EXPECTED: dict[str, tuple[str, dict[str, str]]] = {
    "gcp-lustre": ("lustre.csi.storage.gke.io", {"network": "my-network", "perUnitStorageThroughput": "1000"}),
    "gcp-filestore": ("filestore.csi.storage.gke.io", {"tier": "zonal", "network": "my-network"}),
    "aws-efs": (
        "efs.csi.aws.com",
        {
            "provisioningMode": "efs-ap",
            "fileSystemId": "fs-0123456789abcdef0",
            "directoryPerms": "770",
            "uid": "1000",
            "gid": "1000",
            "basePath": "/kv-cache",
        },
    ),
    "aws-fsx-lustre": (
        "fsx.csi.aws.com",
        {
            "subnetId": "subnet-0123456789abcdef0",
            "securityGroupIds": "sg-0123456789abcdef0",
            "deploymentType": "PERSISTENT_2",
            "perUnitStorageThroughput": "1000",
            "fileSystemTypeVersion": "2.15",
        },
    ),
    "azure-lustre": (
        "azurelustre.csi.azure.com",
        {
            "sku-name": "AMLFS-Durable-Premium-250",
            "zone": "1",
            "maintenance-day-of-week": "Sunday",
            "maintenance-time-of-day-utc": "22:00",
        },
    ),
    "azure-files-nfs": ("file.csi.azure.com", {"protocol": "nfs", "skuName": "Premium_ZRS"}),
    "cephfs": (
        "cephfs.csi.ceph.com",
        {
            "clusterID": "b9127830-b0cc-4e34-aa47-9d1a2e9949a8",
            "fsName": "kv",
            "csi.storage.k8s.io/provisioner-secret-name": "csi-cephfs-secret",
            "csi.storage.k8s.io/provisioner-secret-namespace": "ceph-csi",
            "csi.storage.k8s.io/controller-expand-secret-name": "csi-cephfs-secret",
            "csi.storage.k8s.io/controller-expand-secret-namespace": "ceph-csi",
            "csi.storage.k8s.io/node-stage-secret-name": "csi-cephfs-secret",
            "csi.storage.k8s.io/node-stage-secret-namespace": "ceph-csi",
        },
    ),
    "cephfs-rook": (
        "rook-ceph.cephfs.csi.ceph.com",
        {
            "clusterID": "rook-ceph",
            "fsName": "kv",
            "pool": "kv-replicated",
            "csi.storage.k8s.io/provisioner-secret-name": "rook-csi-cephfs-provisioner",
            "csi.storage.k8s.io/provisioner-secret-namespace": "rook-ceph",
            "csi.storage.k8s.io/controller-expand-secret-name": "rook-csi-cephfs-provisioner",
            "csi.storage.k8s.io/controller-expand-secret-namespace": "rook-ceph",
            "csi.storage.k8s.io/controller-publish-secret-name": "rook-csi-cephfs-provisioner",
            "csi.storage.k8s.io/controller-publish-secret-namespace": "rook-ceph",
            "csi.storage.k8s.io/node-stage-secret-name": "rook-csi-cephfs-node",
            "csi.storage.k8s.io/node-stage-secret-namespace": "rook-ceph",
        },
    ),
    "nfs": ("nfs.csi.k8s.io", {"server": "nfs.example.com", "share": "/kv-cache"}),
    "ibm-scale": (
        "spectrumscale.csi.ibm.com",
        {"volBackendFs": "gpfs0", "version": "2", "uid": "1000", "gid": "1000", "permissions": "770"},
    ),
    "weka": (
        "csi.weka.io",
        {
            "volumeType": "dir/v1",
            "filesystemName": "default",
            "capacityEnforcement": "HARD",
            "ownerUid": "1000",
            "ownerGid": "1000",
            "permissions": "0770",
        }
        | {f"csi.storage.k8s.io/{role}-secret-name": "csi-wekafs-api-secret" for role in SECRETS}
        | {f"csi.storage.k8s.io/{role}-secret-namespace": "csi-wekafs" for role in SECRETS},
    ),
    "vast": (
        "csi.vastdata.com",
        {"root_export": "/kv", "view_policy": "default", "vip_pool_name": "vippool-1"}
        | {f"csi.storage.k8s.io/{role}-secret-name": "vast-mgmt" for role in SECRETS if role != "node-stage"}
        | {f"csi.storage.k8s.io/{role}-secret-namespace": "vast-csi" for role in SECRETS if role != "node-stage"},
    ),
    "juicefs": (
        "csi.juicefs.com",
        {
            "csi.storage.k8s.io/provisioner-secret-name": "juicefs-secret",
            "csi.storage.k8s.io/provisioner-secret-namespace": "juicefs",
            "csi.storage.k8s.io/node-publish-secret-name": "juicefs-secret",
            "csi.storage.k8s.io/node-publish-secret-namespace": "juicefs",
        },
    ),
    "custom-class": ("beegfs.csi.netapp.com", {"sysMgmtdHost": "10.0.0.1", "volDirBasePath": "/kv"}),
}


def test_every_backend_that_makes_a_class_is_a_scenario() -> None:
    for scenario in helm.SCENARIOS:
        assert any(o["kind"] == "StorageClass" for o in helm.objects(scenario)) == (scenario in CLASSES)
    assert set(CLASSES) == EXPECTED.keys()
    assert {s.removesuffix("-class") for s in CLASSES} == set(BACKENDS) - {"default"}


@pytest.mark.parametrize("scenario", EXPECTED)
def test_class_tells_the_driver_what_it_needs(scenario: str) -> None:
    provisioner, parameters = EXPECTED[scenario]
    found = storage_class(scenario)
    assert (found["provisioner"], found["parameters"]) == (provisioner, parameters)


def test_zones_become_the_drivers_topology() -> None:
    for scenario in ("gcp-lustre", "gcp-filestore"):
        terms = storage_class(scenario)["allowedTopologies"]
        assert terms == [
            {"matchLabelExpressions": [{"key": "topology.gke.io/zone", "values": ["us-central1-a"]}]},
        ]


def test_mount_options_are_the_backends_unless_set() -> None:
    """An NFS client that remembers that a file is not there misses what another node has just stored."""
    assert storage_class("nfs")["mountOptions"] == ["nfsvers=4.1", "lookupcache=positive"]
    assert storage_class("vast")["mountOptions"] == ["nconnect=8", "lookupcache=positive"]
    assert "mountOptions" not in storage_class("cephfs")
    assert volume("static-nfs")["spec"]["mountOptions"][0] == "nfsvers=4.2"


def test_another_secret_for_mounting() -> None:
    parameters = storage_class("weka", "--set", "storage.storageClass.nodeSecretName=mounter")["parameters"]
    assert parameters["csi.storage.k8s.io/node-stage-secret-name"] == "mounter"
    assert parameters["csi.storage.k8s.io/provisioner-secret-name"] == "csi-wekafs-api-secret"


@pytest.mark.parametrize("scenario", STATIC)
def test_static_volume_and_claim_are_made_for_each_other(scenario: str) -> None:
    """Without both names a claim of somebody else could take the volume, or a default class the claim."""
    pvc, pv = claim(scenario), volume(scenario)
    assert pvc["spec"]["volumeName"] == pv["metadata"]["name"] == "inference.kv-kv-cache"
    assert pvc["spec"]["storageClassName"] == pv["spec"]["storageClassName"] == ""
    ref = pv["spec"]["claimRef"]
    assert (ref["namespace"], ref["name"]) == (helm.NAMESPACE, pvc["metadata"]["name"])
    assert pv["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert pv["spec"]["capacity"]["storage"] == pvc["spec"]["resources"]["requests"]["storage"]
    assert pv["metadata"].get("annotations") == pvc["metadata"].get("annotations"), "they are kept together"


def test_static_volumes_say_where_they_are() -> None:
    assert volume("static-nfs")["spec"]["nfs"] == {"server": "nfs.example.com", "path": "/exports/kv-cache"}
    ceph = volume("static-cephfs")["spec"]["csi"]
    assert ceph["driver"] == "cephfs.csi.ceph.com"
    assert ceph["volumeAttributes"]["staticVolume"] == "true"
    assert ceph["nodeStageSecretRef"] == {"name": "csi-cephfs-secret", "namespace": "ceph-csi"}
    assert "nodePublishSecretRef" not in ceph
    lustre = volume("static-gcp-lustre")["spec"]["csi"]
    assert (lustre["driver"], lustre["volumeHandle"]) == (
        "lustre.csi.storage.gke.io",
        "my-project/us-central1-a/kv-cache",
    )


@pytest.mark.parametrize("scenario", STATIC)
def test_preflight_judges_a_static_volume_by_its_driver(scenario: str) -> None:
    job = helm.one(helm.objects(scenario), "Job", "-preflight")
    seen = json.loads(job["spec"]["template"]["spec"]["containers"][0]["args"][2])["storage"]
    assert seen["static"] is True, "else it would look for the cluster's default class"
    spec = volume(scenario)["spec"]
    assert seen["provisioner"] == (spec["csi"]["driver"] if "csi" in spec else "nfs.csi.k8s.io")


@pytest.mark.parametrize(
    ("backend", "setting"),
    [
        ("gcp-lustre", "perUnitStorageThroughput=300"),
        ("gcp-lustre", "tier=premium"),
        ("gcp-filestore", "tier=fast"),
        ("aws-efs", "fileSystemID=fs-1"),
        ("aws-fsx-lustre", "deploymentType=PERSISTENT_3"),
        ("azure-lustre", "sku-name=AMLFS-Premium"),
        ("azure-files-nfs", "skuName=Standard_LRS"),
        ("cephfs", "fsname=kv"),
        ("nfs", "share=kv"),
        ("ibm-scale", "permissions=rwx"),
        ("weka", "volumeType=fs"),
        ("vast", "vip_pool=1"),
    ],
)
def test_a_parameter_that_the_driver_does_not_know_is_refused(backend: str, setting: str) -> None:
    said = helm.refusal("--set", f"storage.backend={backend},storage.storageClass.parameters.{setting}")
    assert "at '/storage/storageClass/parameters" in said


def facts() -> dict[str, Any]:
    """The one file that chart, preflight, schema and page are made from."""
    return helm.load_yaml((helm.CHART / "charts/storage/files/backends.yaml").read_text())[0]


def test_hooks_know_every_driver_and_its_sizes() -> None:
    """Two tables of one fact: the preflight would refuse what the chart lets pass."""
    table = rwx.table(yaml.safe_load(files("llmd_storage_hooks").joinpath("data/rwx.yaml").read_text()))
    known = {one["name"]: one for one in facts()["provisioners"]}
    assert facts()["backends"].keys() == set(BACKENDS)
    for backend in (b for b in facts()["backends"].values() if "provisioner" in b):
        answer = rwx.rwx_support(table, backend["provisioner"], backend.get("parameters", {}), {})
        assert answer.rwx is rwx.Rwx.YES, backend["provisioner"]
        assert answer.provisioner
        sold = known.get(backend["provisioner"], {}).get("sizes", {"enforced": False})
        assert (answer.provisioner.sizes is None) == (not sold.get("enforced", True)), backend["provisioner"]
        if answer.provisioner.sizes:
            rules = {tier: tuple(one.values()) for tier, (one,) in sold["rules"].items()}
            assert rules == {t: (r.min_gi, r.max_gi, r.step_gi) for t, r in answer.provisioner.sizes.rules.items()}
            # Of a class that is not the release's, the chart refuses only what no tier has.
            any_tier = tuple(sold["any"].values())
            assert all(any_tier[0] <= low and high <= any_tier[1] for low, high, _ in rules.values())
            assert all(step % any_tier[2] == 0 for _, _, step in rules.values())


def test_lustre_begins_where_google_sells_it() -> None:
    """By MB/s for each TiB: GiB of the smallest, and the step."""
    (lustre,) = (one for one in facts()["provisioners"] if one["name"] == "lustre.csi.storage.gke.io")
    sold = {tier: (one["minGi"], one["stepGi"]) for tier, (one,) in lustre["sizes"]["rules"].items()}
    assert sold == {"1000": (9000, 9000), "500": (18000, 18000), "250": (36000, 36000), "125": (72000, 72000)}
    assert lustre["sizes"]["otherwise"] == "1000"


def test_filestore_sizes_are_not_refused() -> None:
    """Its driver rounds up, and claims that share an enterprise instance are smaller than any tier."""
    done = helm.helm(
        "template", "kv", helm.CHART, "-f", helm.scenario_file("gcp-filestore"), "--set", "storage.size=50Gi"
    )
    assert done.returncode == 0, done.stderr


def test_a_root_that_belongs_to_root_is_given_to_the_pods() -> None:
    """On Lustre no fsGroup is applied, and every block that vLLM stores would be refused."""
    objs = helm.objects("aws-fsx-lustre", "--set", "storage.chownRoot=true")
    job = helm.one(objs, "Job", "-chown")
    weights = {
        o["metadata"]["name"].rpartition("-")[2]: int(o["metadata"]["annotations"]["helm.sh/hook-weight"])
        for o in objs
        if o["kind"] == "Job"
    }
    assert weights["claim"] < weights["chown"] < weights["probe"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["chown", "1000:1000", "/mnt/kv-cache"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert container["securityContext"]["runAsUser"] == 0 and pod["automountServiceAccountToken"] is False
    assert not [o for o in helm.objects("aws-fsx-lustre") if o["metadata"]["name"].endswith("-chown")]
    ids = "global.podSecurity.runAsUser=none,storage.chownRoot=true"
    assert "set runAsUser and fsGroup" in helm.refusal("--set", ids)


def test_a_claim_of_the_users_by_its_earlier_name_is_the_same_release() -> None:
    earlier, now = (
        helm.objects("service", "--set", f"{key}=mine,evictor.config.budget_bytes=1Ti")
        for key in ("global.existingClaim", "storage.existingClaim")
    )
    assert earlier == now
    assert not [o for o in now if o["kind"] == "PersistentVolumeClaim"]
