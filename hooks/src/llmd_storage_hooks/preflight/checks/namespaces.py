# SPDX-License-Identifier: Apache-2.0
"""Preflight, namespace: what its quotas, limit ranges and Pod Security level allow."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import POD_SECURITY_LEVELS, PreflightConfig
from llmd_storage_hooks.preflight.facts import (
    Limit,
    Namespace,
    PreflightFacts,
    Quota,
    ResourceRequests,
    Scope,
    StorageClass,
)

_QUOTAS = "https://kubernetes.io/docs/concepts/policy/resource-quotas/"
_LIMITS = "https://kubernetes.io/docs/concepts/policy/limit-range/"
_SECURITY = "https://kubernetes.io/docs/concepts/security/pod-security-standards/"
_OF_CLASS = ".storageclass.storage.k8s.io/"  # a quota on the claims of one class
# With a quota on one of these, the API server refuses containers that say nothing of it; of all else none is asked.
_MUST_SAY = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_ENFORCE = "pod-security.kubernetes.io/enforce"


def check(
    config: PreflightConfig,
    facts: PreflightFacts,
    resources: ResourceRequests,
    size_bytes: int | None,
    chosen: StorageClass | None = None,
) -> list[Finding]:
    """Findings about quotas, limit ranges and Pod Security. size_bytes, chosen: of a claim that the chart makes."""
    makes_claim = not config.storage.existing_claim and not isinstance(facts.claim, Claim)
    storage = size_bytes if makes_claim else None
    findings = []
    if resources.replicas or storage:
        findings += [
            quota(
                needs(resources, storage, chosen.name if chosen else ""),
                resources,
                facts.quotas,
                _defaults(facts.limits),
            ),
            limit_range(resources, storage, facts.limits),
        ]
    if config.pod_security and facts.namespace is not None:
        findings.append(pod_security(config.pod_security, facts.namespace))
    return findings


def needs(resources: ResourceRequests, storage_bytes: int | None, storage_class: str = "") -> dict[str, int]:
    """What the whole release requests, by the resource names of a ResourceQuota; of objects the fewest it can have."""
    found = {"pods": resources.replicas, "count/pods": resources.replicas} if resources.replicas else {}
    if resources.groups:  # a StatefulSet of the leaders, and one of each group's workers
        found |= {"count/leaderworkersets.leaderworkerset.x-k8s.io": 1, "count/statefulsets.apps": 1 + resources.groups}
    elif resources.replicas:
        found |= {"count/deployments.apps": 1, "count/replicasets.apps": 1}
    for name, amount in resources.requests.items():
        found[f"requests.{name}"] = amount * resources.replicas
        if name in ("cpu", "memory"):  # a bare name means the requests
            found[name] = amount * resources.replicas
    found |= {f"limits.{name}": amount * resources.replicas for name, amount in resources.limits.items()}
    if storage_bytes:
        claims = {"requests.storage": storage_bytes, "persistentvolumeclaims": 1}
        found |= {**claims, "count/persistentvolumeclaims": 1}
        if storage_class:
            found |= {f"{storage_class}{_OF_CLASS}{name}": amount for name, amount in claims.items()}
    return found


def counts(one: Quota, resources: ResourceRequests) -> bool:
    """Whether a quota counts the model servers' pods: each of its scopes must hold for them."""
    return all(_holds(scope, resources) for scope in one.scopes)


def _holds(scope: Scope, resources: ResourceRequests) -> bool:
    if scope.name == "PriorityClass":
        given, named = bool(resources.priority_class), resources.priority_class in scope.values
        known = {"In": named, "NotIn": not named, "Exists": given, "DoesNotExist": not given}
        return known.get(scope.operator, False)
    has_resources = any(name in (*resources.requests, *resources.limits) for name in ("cpu", "memory"))
    known = {"NotTerminating": True, "NotBestEffort": has_resources, "BestEffort": not has_resources}
    return known.get(scope.name, False)


def _defaults(limits: tuple[Limit, ...] | Unknown) -> frozenset[str]:
    """What a LimitRange gives to containers that say nothing, by the resource names of a ResourceQuota."""
    if isinstance(limits, Unknown):
        return frozenset()
    containers = [one for one in limits if one.kind == "Container"]
    bounds = {f"limits.{name}" for one in containers for name in one.default}
    asked = {name for one in containers for name in (*one.default, *one.default_request)}  # a limit alone is a request
    return frozenset(bounds | asked | {f"requests.{name}" for name in asked})


def quota(
    needed: dict[str, int],
    resources: ResourceRequests,
    quotas: tuple[Quota, ...] | Unknown,
    defaults: frozenset[str] = frozenset(),
) -> Finding:
    """The release fits every ResourceQuota. needed: see `needs`; defaults: limits that a LimitRange sets."""
    check_id = "preflight.namespace.quota"
    if isinstance(quotas, Unknown):
        return _unread(check_id, "the namespace's ResourceQuotas", quotas, "resourcequota")
    counting = [one for one in quotas if counts(one, resources)]
    if not counting:
        return Finding(
            check_id, Verdict.PASS, "The namespace has no ResourceQuota that counts the model servers' pods."
        )
    tight: list[str] = []
    for one in counting:
        for name, hard in one.hard.items():
            if name in _MUST_SAY and resources.replicas and name not in needed.keys() | defaults:
                sentence = f'ResourceQuota "{one.name}" counts {name}, so it refuses pods that do not set it.'
                remedy = f"Set {name} in modelserver.resources, or have a LimitRange set it."
                return Finding(check_id, Verdict.FAIL, sentence, remedy, _QUOTAS, {"quota": one.name, "resource": name})
            need = needed.get(name, 0)
            observed = {
                "quota": one.name,
                "resource": name,
                "hard": hard,
                "used": one.used.get(name, 0),
                "needed": need,
            }
            if need > hard:
                sentence = (
                    f'ResourceQuota "{one.name}" allows {_shown(name, hard)}; the release needs {_shown(name, need)}.'
                )
                remedy = "Have the quota raised, or lower modelserver.replicas, modelserver.resources or storage.size."
                return Finding(check_id, Verdict.FAIL, sentence, remedy, _QUOTAS, observed)
            if need > hard - one.used.get(name, 0):
                tight.append(f'{_shown(name, hard)} in "{one.name}", {_shown(name, one.used[name])} are used')
    if tight:
        sentence = f"The release fits its quotas only if the present usage is its own: {'; '.join(tight)}."
        return Finding(
            check_id, Verdict.WARN, sentence, "See kubectl describe resourcequota.", _QUOTAS, {"tight": tight}
        )
    names = ", ".join(f'"{one.name}"' for one in counting)
    return Finding(check_id, Verdict.PASS, f"The release fits into ResourceQuota {names}.")


def limit_range(resources: ResourceRequests, storage_bytes: int | None, limits: tuple[Limit, ...] | Unknown) -> Finding:
    """Requests and limits are within every LimitRange."""
    check_id = "preflight.namespace.limits"
    if isinstance(limits, Unknown):
        return _unread(check_id, "the namespace's LimitRanges", limits, "limitrange")
    requests, own = resources.requests, resources.limits
    for one in limits:
        problem = ""
        if one.kind == "PersistentVolumeClaim" and storage_bytes:
            problem = _outside(one, {"storage": storage_bytes}, {"storage": storage_bytes}, "the claim")
        elif one.kind in ("Container", "Pod") and resources.replicas:
            effective = {**one.default, **own} if one.kind == "Container" else own
            problem = _outside(one, requests, effective, "a model server")
            low = [name for name, amount in requests.items() if name in one.default and name not in own
                   and one.default[name] < amount]  # fmt: skip
            if low and not problem:
                problem = (
                    f"gives containers without a limit one of {_shown(low[0], one.default[low[0]])}, less than a model "
                    f"server requests ({_shown(low[0], requests[low[0]])})"
                )
        if problem:
            remedy = (
                "Set storage.size within these bounds, or have them changed."
                if one.kind == "PersistentVolumeClaim"
                else "Set modelserver.resources (requests and limits) within these bounds, or have them changed."
            )
            observed = {
                "limitRange": one.name,
                "type": one.kind,
                "min": one.min,
                "max": one.max,
                "default": one.default,
            }
            return Finding(check_id, Verdict.FAIL, f'LimitRange "{one.name}" {problem}.', remedy, _LIMITS, observed)
    sentence = "The release keeps to the namespace's LimitRanges." if limits else "The namespace has no LimitRange."
    return Finding(check_id, Verdict.PASS, sentence)


def _outside(one: Limit, requests: dict[str, int], limits: dict[str, int], whose: str) -> str:
    """A bound that is broken: requests may not be below min, nor requests or limits above max."""
    for name, most in one.max.items():
        asked = max(requests.get(name, 0), limits.get(name, 0))
        if asked > most:
            return f"allows {_shown(name, most)} at most; {whose} has {_shown(name, asked)}"
    for name, least in one.min.items():
        if name in requests and requests[name] < least:
            return f"asks for {_shown(name, least)} at least; {whose} has {_shown(name, requests[name])}"
    return ""


def pod_security(fits: str, observed: Namespace | Absent | Unknown) -> Finding:
    """The pods fit the level that the namespace enforces. fits: the strictest level that they fit."""
    check_id = "preflight.namespace.podsecurity"
    if isinstance(observed, Absent):
        sentence = "The namespace does not exist yet, so nothing in it can refuse the pods."
        return Finding(check_id, Verdict.SKIPPED, sentence)
    if isinstance(observed, Unknown):
        return _unread(check_id, "the namespace's Pod Security level", observed, "namespace")
    level = observed.labels.get(_ENFORCE, "")
    facts = {"enforce": level, "fits": fits}
    if level not in POD_SECURITY_LEVELS:
        sentence = f"Namespace {observed.name} enforces no Pod Security level of its own."
        return Finding(check_id, Verdict.PASS, sentence, observed=facts)
    if POD_SECURITY_LEVELS.index(level) <= POD_SECURITY_LEVELS.index(fits):
        return Finding(check_id, Verdict.PASS, f'The pods fit the Pod Security level "{level}".', observed=facts)
    return Finding(
        check_id,
        Verdict.FAIL,
        f'Namespace {observed.name} enforces the Pod Security level "{level}", but the pods of these values only fit '
        f'"{fits}".',
        f"Take out of the values what is not allowed there (host paths, extra rights), or install into a namespace "
        f"with {_ENFORCE}={fits}.",
        _SECURITY,
        facts,
    )


def _unread(check_id: str, what: str, why: Unknown, kind: str) -> Finding:
    return Finding(
        check_id, Verdict.WARN, f"Could not check {what}: {why.reason}.", f"Look yourself: kubectl get {kind} -o yaml."
    )


def _shown(name: str, amount: int) -> str:
    if name.endswith("cpu"):
        return f"{name} {amount / 1000:g}"
    big = name.endswith(("memory", "storage"))
    return f"{name} {amount / 1024**3:.4g}Gi" if big else f"{name} {amount}"
