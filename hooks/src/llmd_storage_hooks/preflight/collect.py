# SPDX-License-Identifier: Apache-2.0
"""Read the cluster for the preflight. A read that fails becomes `Unknown`; the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from llmd_storage_hooks.core.errors import CollectError, NotFound
from llmd_storage_hooks.core.kube import parse as kube_parse
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.core.kube.objects import Absent, Claim, Unknown
from llmd_storage_hooks.preflight import facts, parse
from llmd_storage_hooks.preflight.config import DeviceClaim, PreflightConfig

T = TypeVar("T")


def preflight_facts(kube: KubeApi, config: PreflightConfig) -> facts.PreflightFacts:
    """Everything that the configuration asks for. Raises: nothing."""
    version = _read(lambda: parse.version(kube.get("/version")))
    if isinstance(version, Absent):
        version = Unknown("the API server has no /version")
    if isinstance(version, Unknown):
        return without_cluster(config, version)  # one timeout is enough
    core = f"/api/v1/namespaces/{config.namespace}"
    gateway = None
    if config.gateway_class:
        path = f"/apis/gateway.networking.k8s.io/v1/gatewayclasses/{config.gateway_class}"
        gateway = _read(lambda: parse.gateway_class(kube.get(path)))
    claim_name = config.storage.existing_claim or config.storage.claim_name
    claim = _claim(kube, core, claim_name)
    return facts.PreflightFacts(
        version=version,
        crds={f"{crd.name}/{crd.version}": _group(kube, crd.name, crd.version) for crd in config.crds},
        gateway_class=gateway,
        classes=_classes(kube, config),
        claim=claim,
        secrets={ref.name: _secret(kube, core, ref.name) for ref in config.secrets},
        nodes=_nodes(kube, config),
        device_claims={one.key: _devices(kube, config.namespace, one) for one in config.accelerator.claims},
        quotas=_quotas(kube, core),
        limits=_limits(kube, core),
        namespace=_read(lambda: parse.namespace(kube.get(core))) if config.pod_security else None,
        claim_users=_claim_users(kube, core, claim_name) if isinstance(claim, Claim) else (),
        model_claim=_claim(kube, core, config.model_claim),
        volume=_volume(kube, claim) if config.storage.existing_claim else None,
    )


def without_cluster(config: PreflightConfig, why: Unknown) -> facts.PreflightFacts:
    """Every fact `Unknown`, for the same reason."""
    has_claim = config.storage.existing_claim or config.storage.claim_name
    return facts.PreflightFacts(
        version=why,
        crds={f"{crd.name}/{crd.version}": why for crd in config.crds},
        gateway_class=why if config.gateway_class else None,
        classes=why,
        claim=why if has_claim else None,
        secrets={ref.name: why for ref in config.secrets},
        nodes=why,
        device_claims={one.key: why for one in config.accelerator.claims},
        quotas=why,
        limits=why,
        namespace=why if config.pod_security else None,
        model_claim=why if config.model_claim else None,
    )


def _claim(kube: KubeApi, core: str, name: str) -> Claim | Absent | Unknown | None:
    if not name:
        return None
    return _read(lambda: kube_parse.claim(kube.get(f"{core}/persistentvolumeclaims/{name}")))


def _volume(kube: KubeApi, claim: Claim | Absent | Unknown | None) -> facts.StorageClass | Absent | Unknown | None:
    if not isinstance(claim, Claim) or not claim.volume:
        return None
    return _read(lambda: parse.volume(kube.get(f"/api/v1/persistentvolumes/{claim.volume}")))


def _read(get: Callable[[], T]) -> T | Absent | Unknown:
    try:
        return get()
    except NotFound:
        return Absent()
    except CollectError as error:
        return Unknown(str(error))


def _present(fact: T | Absent | Unknown) -> T | Unknown:
    return Unknown("the API server does not serve it") if isinstance(fact, Absent) else fact


def _group(kube: KubeApi, name: str, version: str) -> facts.ServedGroup | Absent | Unknown:
    """By discovery, which every account may read; the CRD objects themselves need more rights."""
    group = name.partition(".")[2]
    versions = _read(lambda: parse.group_versions(kube.get(f"/apis/{group}")))
    if isinstance(versions, Absent | Unknown):
        return versions
    if version not in versions:
        return facts.ServedGroup(versions, frozenset())
    names = _read(lambda: parse.resource_names(kube.get(f"/apis/{group}/{version}")))
    if isinstance(names, Absent | Unknown):
        return names
    return facts.ServedGroup(versions, names)


def _classes(kube: KubeApi, config: PreflightConfig) -> tuple[facts.StorageClass, ...] | Unknown:
    if config.storage.existing_claim:
        return ()
    path = "/apis/storage.k8s.io/v1/storageclasses"
    return _present(_read(lambda: tuple(parse.storage_class(one) for one in kube_parse.items(kube.get(path)))))


def _secret(kube: KubeApi, core: str, name: str) -> facts.SecretKeys | Absent | Unknown:
    return _read(lambda: parse.secret_keys(kube.get(f"{core}/secrets/{name}")))


def _nodes(kube: KubeApi, config: PreflightConfig) -> tuple[facts.Node, ...] | Unknown:
    if not config.accelerator.resource and not config.workload.replicas:
        return ()
    return _present(_read(lambda: tuple(parse.node(one) for one in kube_parse.items(kube.get("/api/v1/nodes")))))


def _devices(kube: KubeApi, namespace: str, wanted: DeviceClaim) -> facts.Devices | Absent | Unknown:
    path = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/{wanted.key}"
    return _read(lambda: parse.devices(kube.get(path)))


def _quotas(kube: KubeApi, core: str) -> tuple[facts.Quota, ...] | Unknown:
    path = f"{core}/resourcequotas"
    return _present(_read(lambda: tuple(parse.quota(one) for one in kube_parse.items(kube.get(path)))))


def _limits(kube: KubeApi, core: str) -> tuple[facts.Limit, ...] | Unknown:
    def get() -> tuple[facts.Limit, ...]:
        return tuple(limit for one in kube_parse.items(kube.get(f"{core}/limitranges")) for limit in parse.limits(one))

    return _present(_read(get))


def _claim_users(kube: KubeApi, core: str, claim: str) -> tuple[str, ...] | Unknown:
    def get() -> tuple[str, ...]:
        pods = kube_parse.items(kube.get(f"{core}/pods"))
        return tuple(kube_parse.pod(one).name for one in pods if parse.uses_claim(one, claim))

    return _present(_read(get))
