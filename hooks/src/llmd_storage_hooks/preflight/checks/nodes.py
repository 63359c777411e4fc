# SPDX-License-Identifier: Apache-2.0
"""Preflight, nodes: do the model servers' pods fit the nodes' allocatable resources?"""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import Accelerator, PreflightConfig, Toleration, Workload
from llmd_storage_hooks.preflight.facts import Node, PreflightFacts, ResourceRequests, Taint

_GPUS = "https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/"
_TAINTS = "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"
_RESOURCES = "https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"
_SHM = "https://kubernetes.io/docs/concepts/storage/volumes/#emptydir"
GI = 1024**3
MEMORY, CPU = "memory", "cpu"
_GKE = "cloud.google.com/gke-nodepool"  # a label of every node of GKE


def check(config: PreflightConfig, facts: PreflightFacts, resources: ResourceRequests) -> list[Finding]:
    """Findings about accelerators, and about room, taints and shared memory where a workload is set."""
    findings = [accelerators(config.accelerator, facts.nodes, config.workload)]
    if config.workload.replicas:
        findings += [
            taints(config.workload, facts.nodes),
            room(config.workload, resources, facts.nodes),
            shared_memory(resources),
        ]
    return findings


def open_to(workload: Workload, nodes: tuple[Node, ...]) -> list[Node]:
    """The nodes on which such a pod may be scheduled, if they have room."""
    return [node for node in _selected(workload, nodes) if not _keeping_out(workload, node)]


def _selected(workload: Workload, nodes: tuple[Node, ...]) -> list[Node]:
    wanted = workload.node_selector.items()
    return [node for node in nodes if node.ready and node.schedulable and wanted <= node.labels.items()]


def _keeping_out(workload: Workload, node: Node) -> list[Taint]:
    tolerations = (*workload.tolerations, *_added_by_cloud(workload, node))
    return [taint for taint in node.taints if not any(tolerates(one, taint) for one in tolerations)]


def _added_by_cloud(workload: Workload, node: Node) -> list[Toleration]:
    """GKE runs the admission plugin ExtendedResourceToleration: who asks for GPUs or TPUs tolerates their taint."""
    if _GKE not in node.labels:
        return []
    asked = [name for name in workload.requests | workload.limits if "/" in name]
    return [Toleration(key=name, operator="Exists", effect="NoSchedule") for name in asked]


def tolerates(one: Toleration, taint: Taint) -> bool:
    """As the scheduler decides: Exists without a key is all taints, no effect is all effects."""
    if one.effect and one.effect != taint.effect:
        return False
    if one.operator == "Exists":
        return one.key in ("", taint.key)
    return (one.key, one.value) == (taint.key, taint.value)


def accelerators(wanted: Accelerator, nodes: tuple[Node, ...] | Unknown, workload: Workload | None = None) -> Finding:
    """The nodes have accelerators for all replicas; other pods' use is not subtracted."""
    check_id = "preflight.accelerator.count"
    if wanted.claims:
        said = "The model servers get their accelerators by ResourceClaims, which no count of the nodes' resources has."
        return Finding(check_id, Verdict.SKIPPED, said)
    if not wanted.resource or wanted.per_pod < 1:
        return Finding(check_id, Verdict.SKIPPED, "The model servers ask for no accelerator (CPU).")
    if isinstance(nodes, Unknown):
        return Finding(
            check_id,
            Verdict.WARN,
            f"Could not check for {wanted.resource} on the nodes: {nodes.reason}.",
            "Look yourself: kubectl describe nodes, under Allocatable.",
        )
    usable = open_to(workload or Workload(tolerations=(Toleration(operator="Exists"),)), nodes)
    counts = {node.name: node.allocatable.get(wanted.resource, 0) for node in usable}
    places = sum(count // wanted.per_pod for count in counts.values())
    observed = {"allocatable": {name: count for name, count in counts.items() if count}, "places": places}
    need = f"{wanted.replicas} pod(s) with {wanted.per_pod} x {wanted.resource} each"
    if places >= wanted.replicas:
        return Finding(
            check_id,
            Verdict.PASS,
            f"The nodes have room for {need} (what other pods use is not subtracted).",
            observed=observed,
        )
    having = ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or "none on any node"
    return Finding(
        check_id,
        Verdict.FAIL,
        f"The model servers need {need}, but the nodes open to them have room for {places} ({having}).",
        "Add nodes, or lower modelserver.replicas or modelserver.tensorParallelSize, or set "
        "modelserver.accelerator.resource to what the nodes offer. If an autoscaler adds such nodes, set "
        f'hooks.checks."{check_id}"="warn".',
        _GPUS,
        observed,
    )


def taints(workload: Workload, nodes: tuple[Node, ...] | Unknown) -> Finding:
    """At least two nodes are open to the model servers."""
    check_id = "preflight.nodes.taints"
    if isinstance(nodes, Unknown):
        return _unread(check_id, "which nodes are open to the model servers", nodes)
    selected = _selected(workload, nodes)
    free = open_to(workload, nodes)
    names = [node.name for node in free]
    shut = {node.name: [str(one) for one in _keeping_out(workload, node)] for node in selected if node not in free}
    observed = {"open": names, "tainted": shut}
    if len(free) >= min(2, workload.replicas):
        sentence = f"{len(free)} node(s) are open to the model servers."
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    by = "; ".join(f"{name}: {', '.join(keys)}" for name, keys in shut.items())
    why = f"taints keep them out of {by}" if by else f"{len(nodes)} node(s) there are in all"
    selector = ", ".join(f"{key}={value}" for key, value in sorted(workload.node_selector.items()))
    asked = f" (ready, and with {selector})" if selector else " (ready)"
    remedy = (
        "Set modelserver.tolerations for these taints" if by else "Set modelserver.nodeSelector to labels they have"
    )
    return Finding(
        check_id,
        Verdict.WARN if free else Verdict.FAIL,
        f"Only {len(free)} node(s){asked} are open to the model servers; {why}. A cache is shared between nodes.",
        f'{remedy}, or add nodes. If an autoscaler adds such nodes, set hooks.checks."{check_id}"="warn".',
        _TAINTS,
        observed,
    )


def room(workload: Workload, resources: ResourceRequests, nodes: tuple[Node, ...] | Unknown) -> Finding:
    """Memory and CPU; accelerators have a check of their own."""
    check_id = "preflight.nodes.room"
    if isinstance(nodes, Unknown):
        return _unread(check_id, "memory and CPU of the nodes", nodes)
    asked = {name: amount for name, amount in resources.requests.items() if name in (MEMORY, CPU) and amount > 0}
    if not asked:
        return Finding(check_id, Verdict.SKIPPED, "The model servers request neither memory nor CPU.")
    free = open_to(workload, nodes)
    places = {
        node.name: min(node.allocatable.get(name, 0) // amount for name, amount in asked.items()) for node in free
    }
    need = " and ".join(_amount(name, amount) for name, amount in asked.items())
    observed = {"places": places}
    if sum(places.values()) >= resources.replicas:
        sentence = (
            f"The nodes have room for {resources.replicas} pod(s) with {need} each (others' use is not subtracted)."
        )
        return Finding(check_id, Verdict.PASS, sentence, observed=observed)
    short = [name for name in asked if sum(node.allocatable.get(name, 0) // asked[name] for node in free)
             < resources.replicas] or list(asked)  # fmt: skip
    most = ", ".join(_amount(name, max((node.allocatable.get(name, 0) for node in free), default=0)) for name in short)
    return Finding(
        check_id,
        Verdict.FAIL,
        f"The model servers need {resources.replicas} pod(s) with {need} each; the nodes open to them have room for "
        f"{sum(places.values())} (the largest has {most}).",
        "Lower modelserver.resources.requests (and modelserver.cpuTier.size, which is memory) or modelserver.replicas, "
        f'or add nodes. If an autoscaler adds such nodes, set hooks.checks."{check_id}"="warn".',
        _RESOURCES,
        observed,
    )


def shared_memory(resources: ResourceRequests) -> Finding:
    """The CPU tier lies in the pods' /dev/shm, which counts as their memory."""
    check_id = "preflight.memory.shm"
    shm, tier = resources.shm_bytes, resources.cpu_tier_bytes
    if not tier:
        return Finding(check_id, Verdict.SKIPPED, "The connector keeps no CPU tier in /dev/shm.")
    limit, request = resources.limits.get(MEMORY), resources.requests.get(MEMORY, 0)
    observed = {"shmBytes": shm, "cpuTierBytes": tier, "memoryLimitBytes": limit, "memoryRequestBytes": request}
    if shm is not None and shm < tier:
        sentence = (
            f"The pods' shared memory is {_gib(shm)}, less than the CPU tier of {_gib(tier)} that is to be kept there."
        )
        remedy = "Lower modelserver.cpuTier.size, or raise the size of the pods' /dev/shm volume."
        return Finding(check_id, Verdict.FAIL, sentence, remedy, _SHM, observed)
    if limit is not None and limit <= tier:
        sentence = (
            f"The memory limit of {_gib(limit)} has no room beside the CPU tier of {_gib(tier)}: it would be OOMKilled."
        )
        remedy = (
            "Raise modelserver.resources.limits.memory above cpuTier.size and what vLLM needs, or lower cpuTier.size."
        )
        return Finding(check_id, Verdict.FAIL, sentence, remedy, _SHM, observed)
    if request < tier:
        sentence = (
            f"The model servers request {_gib(request)} of memory, but their CPU tier alone takes {_gib(tier)}: a node "
            "can be given more than it has."
        )
        remedy = "Set modelserver.resources.requests.memory to cpuTier.size and what vLLM needs, or lower cpuTier.size."
        return Finding(check_id, Verdict.WARN, sentence, remedy, _SHM, observed)
    sentence = f"The CPU tier of {_gib(tier)} fits /dev/shm and the memory that the pods ask for."
    return Finding(check_id, Verdict.PASS, sentence, observed=observed)


def _unread(check_id: str, what: str, why: Unknown) -> Finding:
    return Finding(
        check_id, Verdict.WARN, f"Could not check {what}: {why.reason}.", "Look yourself: kubectl describe nodes."
    )


def _amount(name: str, amount: int) -> str:
    return f"{_gib(amount)} memory" if name == MEMORY else f"{amount / 1000:g} CPU"


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / GI:.4g}Gi"
