# SPDX-License-Identifier: Apache-2.0
"""The preflight's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd_storage_hooks.core.config import HookConfig, one_of

POD_SECURITY_LEVELS = ("privileged", "baseline", "restricted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    """A CRD that the release needs. needed_for: the feature that can be turned off instead.

    built_in_since: the version of Kubernetes that brings it; "" where it has to be installed.
    """

    name: str  # plural.group
    version: str
    needed_for: str = ""
    built_in_since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The claim and its class, as the chart makes them."""

    existing_claim: str = ""  # a claim the user brings; then no class is looked at
    claim_name: str = ""  # the claim the chart makes (it may exist already: it outlives an uninstall)
    storage_class_name: str = ""  # "" = the cluster's default class
    creates_storage_class: bool = False
    static: bool = False  # the chart makes the volume as well, for a filesystem that is there already; no class
    provisioner: str = ""  # of the class that the chart creates
    parameters: dict[str, str] = field(default_factory=dict)  # of the class that the chart creates
    size: str = ""
    access_mode: str = "ReadWriteMany"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """A key of a Secret in the release's namespace."""

    name: str
    key: str
    required: bool = True
    needed_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaim:
    """A ResourceClaim of accelerators, or a template of claims, in the release's namespace."""

    resource: str  # resourceclaims or resourceclaimtemplates
    name: str

    @property
    def key(self) -> str:
        """resource/name: of `PreflightFacts.device_claims`, and the end of its path in the API."""
        return f"{self.resource}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What each model server's pod requests: an extended resource, or claims, or (neither) nothing, on CPU."""

    resource: str = ""
    claims: tuple[DeviceClaim, ...] = ()
    per_pod: int = 0
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    """As in a pod's spec."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One model server's pod, as far as it decides where it fits. Amounts are Kubernetes quantities."""

    replicas: int = 0  # such pods; 0 = nothing is looked at
    groups: int = 0  # of a LeaderWorkerSet, into which they are put; 0 = a Deployment
    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    shm_size: str = ""  # of /dev/shm, which is memory of the pod
    cpu_tier_size: str = ""  # what the connector wants to keep there; "" = nothing
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str = ""  # its name; "" = the pods have none of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightConfig(HookConfig):
    """The hook's keys. An empty value: there is nothing to check."""

    crds: tuple[Crd, ...] = ()
    gateway_class: str = ""
    storage: Storage = Storage()
    rwx_overrides: dict[str, str] = field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = ()
    accelerator: Accelerator = Accelerator()
    workload: Workload = Workload()
    model_claim: str = ""  # a claim that the model is read from; "" = there is none
    pod_security: str = ""  # the strictest level that the release's pods fit; "" = not looked at

    def validate(self) -> None:
        HookConfig.validate(self)
        one_of("config.podSecurity", self.pod_security, ("", *POD_SECURITY_LEVELS))
        for provisioner, wanted in self.rwx_overrides.items():
            one_of(f'config.rwxOverrides."{provisioner}"', wanted, ("yes", "no"))
