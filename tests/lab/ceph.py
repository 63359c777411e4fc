"""CephFS on one machine: a monitor, a manager, one OSD on a sparse file, a metadata server."""

from __future__ import annotations

import os
import uuid

from tests.lab.inside import in_control
from tests.lab.paths import Lab
from tests.lab.proc import Console, output, start, succeeds

OSD_BYTES = 20 << 30

CONF = """[global]
fsid = {fsid}
mon_host = [v2:{ip}:23300,v1:{ip}:26789]
public_addr = {ip}
cluster_addr = {ip}
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_pg_warn_min_per_osd = 0
run_dir = {d}/run
admin_socket = {d}/run/$cluster-$name.$pid.asok
pid_file = {d}/run/$type.$id.pid
log_file = {log}/$name.log
mon_data = {d}/mon
mgr_data = {d}/mgr
osd_data = {d}/osd
mds_data = {d}/mds
setuser_match_path =
osd_memory_target = 1073741824
osd_failsafe_full_ratio = .90
bluestore_block_size = {size}
bluestore_block_wal_size = 0
bluestore_block_db_size = 0
mon_osd_full_ratio = .85
mon_osd_backfillfull_ratio = .80
mon_osd_nearfull_ratio = .75
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[client]
admin_socket = {d}/run/$name.$pid.asok
pid_file =
log_file = {log}/client.$pid.log
"""


def create(c: Console, lab: Lab) -> None:
    """Starts everything and mounts the whole filesystem for the CSI controller at run/ceph/root."""
    d, ns = lab.ceph, in_control(lab)
    log = lab.log / "ceph"
    for folder in (log, *(d / n for n in ("mon", "mgr", "osd", "mds", "run", "root"))):
        folder.mkdir(parents=True, exist_ok=True)
    for old in log.glob("*.log"):
        old.unlink()
    fsid, conf = str(uuid.uuid4()), d / "ceph.conf"
    size = os.environ.get("LLMD_LAB_OSD_BYTES", str(OSD_BYTES))
    conf.write_text(CONF.format(fsid=fsid, ip=lab.control_address, d=d, log=log, size=size))

    def daemon(name: str, program: str, *words: str) -> None:
        start(lab, name, [*ns, program, "-f", "-c", conf, *words])

    def ceph(*words: str) -> list[str]:
        return [*ns, "timeout", "60", "ceph", "-c", str(conf), *words]

    monmap = d / "monmap"
    # --addv wants the bracketed form, as mon_host has it.
    address = f"[v2:{lab.control_address}:23300,v1:{lab.control_address}:26789]"
    c.run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap])
    c.run([*ns, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "-c", conf])
    daemon("ceph-mon", "ceph-mon", "-i", "a")
    daemon("ceph-mgr", "ceph-mgr", "-i", "x")
    osd_uuid = str(uuid.uuid4())
    osd = output(ceph("osd", "new", osd_uuid)).strip()
    c.run([*ns, "ceph-osd", "-i", osd, "--mkfs", "--osd-uuid", osd_uuid, "-c", conf])
    daemon("ceph-osd", "ceph-osd", "-i", osd)
    for words in ("osd pool create meta 8", "osd pool create data 8", "fs new fs meta data"):
        c.run(ceph(*words.split()))
    daemon("ceph-mds", "ceph-mds", "-i", "m")
    c.until("the metadata server", lambda: "up:active" in output(ceph("mds", "stat")))
    daemon("ceph-fuse", "ceph-fuse", "--id", "admin", str(d / "root"))
    c.until("the mount", lambda: succeeds(["mountpoint", "-q", d / "root"]))
    (d / "root" / "volumes").mkdir()
