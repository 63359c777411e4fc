# SPDX-License-Identifier: Apache-2.0
"""The table of provisioners: a wrong entry refuses good storage, or lets bad storage through."""

import pytest

from llmd_storage_hooks.preflight.checks.rwx import Rwx, find, rwx_support
from llmd_storage_hooks.preflight.run import rwx_table
from tests import scripts

TABLE = rwx_table()


def test_the_table_and_the_page_are_what_the_charts_facts_give():
    """Else the preflight refuses what the chart lets pass, or the other way round."""
    for path, text in scripts.module("charts/tools", "make_backends").rendered().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run make generate"


@pytest.mark.parametrize(
    ("provisioner", "parameters", "expected"),
    [
        ("nfs.csi.k8s.io", {}, "yes"),
        ("cephfs.csi.ceph.com", {}, "yes"),
        ("rook-ceph.cephfs.csi.ceph.com", {}, "yes"),
        ("openshift-storage.cephfs.csi.ceph.com", {}, "yes"),
        ("efs.csi.aws.com", {}, "yes"),
        ("fsx.csi.aws.com", {}, "yes"),
        ("filestore.csi.storage.gke.io", {}, "yes"),
        ("lustre.csi.storage.gke.io", {}, "yes"),
        ("rancher.io/local-path", {}, "no"),
        ("ebs.csi.aws.com", {}, "no"),
        ("pd.csi.storage.gke.io", {}, "no"),
        ("disk.csi.azure.com", {}, "no"),
        ("rook-ceph.rbd.csi.ceph.com", {}, "no"),
        ("topolvm.io", {}, "no"),
        ("hostpath.csi.k8s.io", {}, "no"),
        ("kubernetes.io/no-provisioner", {}, "unknown"),
        ("driver.longhorn.io", {}, "yes"),
        ("driver.longhorn.io", {"nfsOptions": "vers=4.2"}, "yes"),
        ("driver.longhorn.io", {"migratable": "true", "nfsOptions": "x"}, "no"),
        ("csi.trident.netapp.io", {"backendType": "ontap-nas-economy"}, "yes"),
        ("csi.trident.netapp.io", {"backendType": "ontap-san"}, "no"),
        ("csi.trident.netapp.io", {}, "unknown"),
        ("csi.vsphere.vmware.com", {"csi.storage.k8s.io/fstype": "nfs4"}, "yes"),
        ("csi.vsphere.vmware.com", {"fstype": "ext4"}, "no"),
        ("csi-unity.dellemc.com", {"protocol": "NFS"}, "yes"),
        ("csi-unity.dellemc.com", {"protocol": "iSCSI"}, "no"),
        ("csi.trident.netapp.io", {"storageDriverName": "ontap-nas"}, "yes"),
        ("csi.huawei.com", {"protocol": "nfs"}, "yes"),
        ("csi.huawei.com", {"volumeType": "lun"}, "no"),
        ("csi-powermax.dellemc.com", {"csi.storage.k8s.io/fstype": "nfs"}, "yes"),
        ("csi-powermax.dellemc.com", {}, "unknown"),
        ("csi-powerstore.dellemc.com", {"csi.storage.k8s.io/fstype": "xfs"}, "no"),
        ("csi-powerstore.dellemc.com", {}, "unknown"),
        ("csi-unity.dellemc.com", {}, "unknown"),
        ("csi.hpe.com", {"nfsResources": "true", "accessProtocol": "iscsi"}, "yes"),
        ("csi.hpe.com", {"accessProtocol": "nfs"}, "yes"),
        ("csi.hpe.com", {"accessProtocol": "fc"}, "no"),
        ("csi.hpe.com", {}, "unknown"),
        ("csi.trident.netapp.io", {"backendType": "google-cloud-netapp-volumes"}, "yes"),
        ("csi.trident.netapp.io", {"backendType": "google-cloud-netapp-volumes-san"}, "no"),
        ("csi.trident.netapp.io", {"backendType": "ontap-nas", "trident.netapp.io/nasType": "smb"}, "no"),
        ("file.csi.azure.com", {"protocol": "nfs"}, "yes"),
        ("file.csi.azure.com", {"protocol": "smb"}, "unknown"),
        ("file.csi.azure.com", {}, "unknown"),  # SMB is what the driver takes unless it is told otherwise
        ("kubernetes.io/azure-file", {}, "unknown"),
        ("s3.csi.aws.com", {}, "no"),
        ("gcsfuse.csi.storage.gke.io", {}, "no"),
        ("blob.csi.azure.com", {}, "no"),
        ("blob.csi.azure.com", {"protocol": "fuse2"}, "no"),
        ("blob.csi.azure.com", {"protocol": "nfs"}, "unknown"),
        ("ossplugin.csi.alibabacloud.com", {}, "no"),
        ("nasplugin.csi.alibabacloud.com", {}, "yes"),
        ("diskplugin.csi.alibabacloud.com", {}, "no"),
        ("com.tencent.cloud.csi.cfs", {}, "yes"),
        ("com.tencent.cloud.csi.cbs", {}, "no"),
        ("csi.cubefs.com", {}, "yes"),
        ("csi.quobyte.com", {}, "yes"),
        ("com.hammerspace.csi", {}, "yes"),
        ("com.hammerspace.csi", {"fsType": "xfs"}, "no"),
        ("csi.nutanix.com", {"storageType": "NutanixFiles"}, "yes"),
        ("csi.nutanix.com", {"storageType": "NutanixVolumes"}, "no"),
        ("csi.nutanix.com", {}, "unknown"),
        ("cluster.local/team-a-nfs-subdir-external-provisioner", {}, "yes"),
        ("cluster.local/nas", {"archiveOnDelete": "false"}, "yes"),
        ("cluster.local/nas", {}, "unknown"),
        ("linstor.csi.linbit.com", {}, "unknown"),
        ("something.example.com", {}, "unknown"),
    ],
)
def test_verdict(provisioner, parameters, expected):
    assert rwx_support(TABLE, provisioner, parameters, {}).rwx.value == expected


def test_an_override_wins_and_is_named():
    got = rwx_support(TABLE, "rancher.io/local-path", {}, {"rancher.io/local-path": "yes"})
    assert got.rwx is Rwx.YES
    assert "rwxOverrides" in got.because


def test_the_parameter_that_decided_is_named():
    assert "backendType" in rwx_support(TABLE, "csi.trident.netapp.io", {"backendtype": "ontap-nas"}, {}).because


def test_every_entry_has_a_source_and_its_own_name():
    assert all(entry.source.startswith("https://") for entry in TABLE)
    names = [entry.name for entry in TABLE]
    assert len(names) == len(set(names))


def test_most_verdicts_were_read_somewhere():
    """The file says of each entry what was read for it; one without that is a claim of the vendor's alone."""
    unread = [entry.name for entry in TABLE if not entry.checked]
    assert len(unread) < len(TABLE) / 10, unread


def test_an_exact_name_wins_over_a_pattern():
    assert find(TABLE, "cephfs.csi.ceph.com") is not None
    assert find(TABLE, "csi.weka.io").name == "csi.weka.io"
