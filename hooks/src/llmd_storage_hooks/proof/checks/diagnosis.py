# SPDX-License-Identifier: Apache-2.0
"""Proof, diagnosis: why nothing was stored or nothing reused, by a server's own counters."""

from __future__ import annotations

from collections.abc import Mapping

from llmd_storage_hooks.core.kube.objects import PodState
from llmd_storage_hooks.proof.connectors import CONNECTORS, LLMD_STORAGE, LMCACHE
from llmd_storage_hooks.proof.facts import Counters

# A cause and a remedy, one sentence or two each.
Diagnosis = tuple[str, str]

NAMESPACES = (
    "Compare the two pods' model, revision, dtype, tensorParallelSize, blockTokens, PYTHONHASHSEED and root_dir "
    "(manifest.json in each namespace directory on the volume says them), and see both pods' logs for lookups "
    "that ran into their deadline."
)
_UNHEALTHY = "See that pod's log for the first error, the storage's health, and the probe's report: helm test."
_PERMISSIONS = (
    "Give all pods of the cache one uid and gid, and make the volume writable for them (fsGroup, or chown the export)."
)

# By the `reason` label of llmd-storage's counters of misses and failed loads.
_MISSES: dict[str, Diagnosis] = {
    "slower": (
        "The connector did not load, because loading was slower than computing (skip_slow_loads).",
        "Nothing is broken: longer prompts, larger models or faster storage gain more. To load in any case, set "
        "modelserver.storageTier.skipSlowLoads=false; the probe's throughput says what the volume gives.",
    ),
    "breaker": ("The connector leaves storage alone, because it failed or missed its deadlines.", _UNHEALTHY),
    "unusable": (
        "The connector serves without storage, because it could not open its folder on the volume.",
        "See that pod's log for the reason; modelserver.storageTier.failFast=true makes it an error at start.",
    ),
    "owner": ("The blocks belong to a user and a group that are none of this pod's, so it does not trust them.",
              _PERMISSIONS),
    "eacces": ("This pod may not read the blocks.", _PERMISSIONS),
    "identity": ("The blocks are of another identity than this pod's.", NAMESPACES),
    "deadline": (
        "Storage did not answer before the connector's deadline.",
        "See the probe's first lookup times; if the volume is only slow, raise "
        "modelserver.storageTier.lookupDeadlineSeconds and loadDeadlineSeconds.",
    ),
}  # fmt: skip
_MISSES |= {"slow": _MISSES["slower"], "eperm": _MISSES["eacces"]}
_MOUNT_ERRORS = ("eio", "estale", "enotconn", "econnaborted", "enodev", "etimedout")
_MISSES |= {
    name: (f"Storage answered with {name.upper()}: the mount on this pod's node is unhealthy.",
           "Restart the pods so that the volume is mounted anew, and see the CSI driver's pods and the storage.")
    for name in _MOUNT_ERRORS
}  # fmt: skip

_REFUSALS: dict[str, Diagnosis] = {
    "enospc": ("The volume is full (ENOSPC).", "Enlarge storage.size, or delete blocks nobody needs."),
    "edquot": ("The quota of the volume is used up (EDQUOT).", "Raise it, or delete blocks nobody needs."),
    "erofs": (
        "The volume is mounted read-only (EROFS).",
        "Remove ro from the class's mountOptions or the claim's volume.",
    ),
    "eacces": ("The pod may not write to the volume (EACCES).", _PERMISSIONS),
    "paused": ("The connector does not store, because storage refuses writing.", _UNHEALTHY),
    "breaker": _MISSES["breaker"],
    "unusable": _MISSES["unusable"],
    "queue_full": (
        "Storage was slower than the blocks came, so they were dropped from the queue.",
        "See the probe's throughput; raise modelserver.storageTier.storeQueueSize.",
    ),
}
_REFUSALS["eperm"] = _REFUSALS["eacces"]


def not_loaded(connector: str) -> Diagnosis:
    """The server's metrics lack those of the connector."""
    loaded = CONNECTORS[connector].loaded
    remedy = (
        f"See that --kv-transfer-config names the connector of modelserver.connector={connector} on that pod, and "
        "that its log shows it."
    )
    if loaded == LMCACHE:
        remedy += " Its metrics are shown only where PROMETHEUS_MULTIPROC_DIR names a folder, as in the chart's pods."
    return f"it has no storage tier (its metrics lack {loaded}*), so the connector is not loaded.", remedy


def why_not_stored(wrote: Counters) -> Diagnosis:
    """Why A wrote nothing, when its connector is loaded."""
    named = wrote.pauses if wrote.writes_paused else ()
    for reason in (*named, *_by_count(wrote.refusals)):
        if reason in _REFUSALS:
            return _REFUSALS[reason]
    if wrote.breaker_open:
        return _REFUSALS["breaker"]
    if not wrote.usable:
        return _REFUSALS["unusable"]
    failed = f"{wrote.storage_write_failures:.0f} writes failed." if wrote.storage_write_failures else ""
    return (
        failed,
        "See that pod's log: a full or read-only volume, permissions (fsGroup), or a /dev/shm or cpuTier.size "
        "too small for the prompt's blocks.",
    )


def why_not_reused(
    reused: Counters, connector: str, pods: tuple[PodState, ...] = (), differences: tuple[str, ...] = ()
) -> Diagnosis:
    """Why B computed what A has stored. differences: of their namespaces' manifests, where they are known."""
    if connector == LLMD_STORAGE and not reused.connector_loaded:
        cause, remedy = not_loaded(connector)
        return f"B: {cause}", remedy
    if reused.local_tokens > 0:
        return (
            "It had the prompt in its own device memory.",
            "The prompt was not fresh: prove again, and see that the router does not send it to B by itself.",
        )
    reason = _connectors_reason(reused)
    if reason is not None:
        return reason
    if CONNECTORS[connector].counts_blocks:
        return _by_blocks(reused, pods, differences)
    return _without_hash_seed(pods) or (
        f"The connector {connector} does not say why.",
        f"See B's log for the connector's own words. {NAMESPACES}",
    )


def _by_blocks(reused: Counters, pods: tuple[PodState, ...], differences: tuple[str, ...]) -> Diagnosis:
    if reused.storage_queries == 0:
        return (
            "B never asked the storage tier for a block.",
            f"See B's log for the connector's own words. {NAMESPACES}",
        )
    if reused.storage_hits == 0:
        asked = f"B asked the storage tier for {reused.storage_queries:.0f} blocks and found none"
        if differences:
            return (
                f"{asked}: it looks in another namespace than A writes to. By their manifests, the two used last "
                f"differ in {'; '.join(differences)}.",
                "Make these equal in all pods of the cache (model, flags, image, kind of node).",
            )
        return _without_hash_seed(pods) or (
            f"{asked}: it looks in another namespace than A writes to, or does not see A's files in time.",
            NAMESPACES,
        )
    if reused.storage_read_failures > 0 or reused.storage_read_bytes == 0:
        return (
            f"B found {reused.storage_hits:.0f} blocks but could not load them "
            f"({reused.storage_read_failures:.0f} loads failed).",
            "See B's log: loads that ran into their deadline, damaged blocks, or a cpuTier.size too small.",
        )
    return (
        f"B found {reused.storage_hits:.0f} of {reused.storage_queries:.0f} blocks it asked for.",
        "See the probe's first lookup times, and raise the connector's lookup deadline if the volume is slow.",
    )


def skipped_as_slower(reused: Counters) -> bool:
    """Whether the connector chose not to load because computing was quicker; then nothing need be broken."""
    reasons = [reason for reason in _by_count(reused.misses) if reason in _MISSES]
    return bool(reasons) and reasons[0] in ("slower", "slow")


def _connectors_reason(reused: Counters) -> Diagnosis | None:
    """What llmd-storage itself counted, if anything."""
    for reason in _by_count(reused.misses):
        if reason in _MISSES:
            return _MISSES[reason]
    if reused.breaker_open:
        return _MISSES["breaker"]
    if not reused.usable:
        return _MISSES["unusable"]
    if reused.damaged:
        return (
            f"B refused {reused.damaged:.0f} block files as damaged.",
            "See B's log for the rule they break, and the storage's health; damaged files are quarantined and stored "
            "again. The probe says whether this filesystem gives back what was written: helm test.",
        )
    return None


def _without_hash_seed(pods: tuple[PodState, ...]) -> Diagnosis | None:
    bare = [pod.name for pod in pods if pod.hash_seed == ""]
    if not bare:
        return None
    return (
        f"PYTHONHASHSEED is not set on {', '.join(bare)}: vLLM then begins its hashes with random bytes, so that no "
        "pod finds what another has stored.",
        "Set it to the same number in all pods (the chart does; see modelserver.extraEnv).",
    )


def _by_count(reasons: Mapping[str, float]) -> list[str]:
    """Those that counted, the most frequent first."""
    return sorted((name for name, count in reasons.items() if count > 0), key=lambda name: -reasons[name])
