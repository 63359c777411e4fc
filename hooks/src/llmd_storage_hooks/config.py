# SPDX-License-Identifier: Apache-2.0
"""The config of the three hooks: what the chart renders, what a person may write by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmd_storage_hooks.core import catalogue, decoding
from llmd_storage_hooks.core.errors import ConfigError
from llmd_storage_hooks.core.verdicts import OVERRIDES
from llmd_storage_hooks.metrics import CONNECTORS, LLMD_STORAGE
from llmd_storage_hooks.strategies import AUTO, STRATEGIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Keys that every hook has."""

    release: str
    namespace: str
    report_config_map: str = ""  # "" = the report is printed only
    checks: dict[str, str] = field(default_factory=dict)
    allow_inconclusive: bool = False
    timeout_seconds: float = 600.0  # the whole hook, from its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    name: str  # plural.group
    version: str
    needed_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
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
    name: str
    key: str
    required: bool = True
    needed_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    resource: str = ""  # "" = CPU
    per_pod: int = 0
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Toleration:
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One model server's pod, as far as it decides where it fits. Amounts are Kubernetes quantities."""

    replicas: int = 0  # 0 = nothing is looked at
    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    shm_size: str = ""  # of /dev/shm, which is memory of the pod
    cpu_tier_size: str = ""  # what the connector wants to keep there; "" = nothing
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightConfig(Common):
    crds: tuple[Crd, ...] = ()
    gateway_class: str = ""
    storage: Storage = Storage()
    rwx_overrides: dict[str, str] = field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = ()
    accelerator: Accelerator = Accelerator()
    workload: Workload = Workload()
    pod_security: str = ""  # the strictest level that the release's pods fit; "" = not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimConfig(Common):
    claim_name: str
    pod_selector: dict[str, str] = field(default_factory=dict)  # of the pods that mount it; {} = none is looked at
    timeout_seconds: float = 1800.0  # a managed filesystem may take most of it to be made
    mount_seconds: float = 300.0  # from the binding until the pods have it


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig(Common):
    path: str
    deadline_seconds: float = 60.0  # each step, from its start
    publish: str = AUTO  # how the connector publishes a block; the others are measured for comparison
    direct_io: str = AUTO  # the connector's setting: auto, on or off
    floors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofGateway:
    """A Gateway of the release's namespace."""

    name: str = ""  # "" = none is asked
    section: str = ""  # of its listeners; "" = the first for HTTP
    host: str = ""  # a name that its route serves; "" = any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofConfig(Common):
    pod_selector: dict[str, str] = field(default_factory=dict)
    model: str
    block_tokens: int = 256  # the chart's default
    connector: str = LLMD_STORAGE  # what counts, and under which names, depends on it
    timeout_seconds: float = 3600.0  # a large model may take most of it to load
    port: int = 8000
    prompt_blocks: int = 16
    max_tokens: int = 16
    ready_timeout_seconds: float = 1800.0
    request_timeout_seconds: float = 300.0
    min_reused_fraction: float = 0.95
    router_url: str = ""  # "" = the router is not asked, unless there is a Gateway
    gateway: ProofGateway = ProofGateway()  # asked at the address that its status names, when there is no router_url
    prompt_file: str = ""  # "" = a random prompt
    api_key_env: str = ""  # name of the environment variable that holds the key
    url_a: str = ""  # two servers by address; then no cluster is asked, and pod_selector plays no part
    url_b: str = ""
    scheme: str = "http"  # how the pods of pod_selector are asked
    ca_file: str = ""  # whom to trust for https; "" = whom Python trusts
    server_name: str = ""  # the name in the servers' certificates; "" = the host of the address
    max_readers: int = 8  # pods beyond B that answer the same prompt from storage
    claim_path: str = ""  # where the cache's claim is mounted for reading; "" = not, then manifests are not compared


POD_SECURITY_LEVELS = ("privileged", "baseline", "restricted")
FLOORS = ("readMiBps", "writeMiBps")

C = TypeVar("C", bound=Common)


def parse(kind: type[C], text: str) -> C:
    """Config text to a checked config.

    Raises: ConfigError with one sentence.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--config is not JSON ({error}).") from error
    return from_json(kind, raw)


def from_json(kind: type[C], raw: Any) -> C:
    config = decoding.load(kind, raw)
    for check, wanted in config.checks.items():
        if catalogue.find(check) is None:
            raise ConfigError(f'config.checks."{check}": there is no such check. {catalogue.nearest(check)}')
        _one_of(f'config.checks."{check}"', wanted, OVERRIDES)
    if config.timeout_seconds <= 0:
        raise ConfigError("config.timeoutSeconds must be more than 0.")
    if isinstance(config, PreflightConfig):
        _one_of("config.podSecurity", config.pod_security, ("", *POD_SECURITY_LEVELS))
        for provisioner, wanted in config.rwx_overrides.items():
            _one_of(f'config.rwxOverrides."{provisioner}"', wanted, ("yes", "no"))
    if isinstance(config, ClaimConfig) and not config.claim_name:
        raise ConfigError("config.claimName is empty; it must name the claim to watch.")
    if isinstance(config, ProbeConfig):
        _check_probe(config)
    if isinstance(config, ProofConfig):
        _check_proof(config)
    return config


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f'{where} is "{value}"; it must be one of: {", ".join(allowed)}.')


def _check_probe(config: ProbeConfig) -> None:
    _one_of("config.publish", config.publish, (AUTO, *STRATEGIES))
    _one_of("config.directIo", config.direct_io, (AUTO, "on", "off"))
    if config.deadline_seconds <= 0:
        raise ConfigError("config.deadlineSeconds must be more than 0.")
    for floor in config.floors:
        _one_of("a key of config.floors", floor, FLOORS)


def _check_proof(config: ProofConfig) -> None:
    _one_of("config.connector", config.connector, tuple(CONNECTORS))
    if bool(config.url_a) != bool(config.url_b):
        raise ConfigError("config.urlA and config.urlB belong together: A writes, B reads.")
    if not config.pod_selector and not config.url_a:
        raise ConfigError("config.podSelector is empty; it would match every pod of the namespace.")
    for name, url in (("urlA", config.url_a), ("urlB", config.url_b), ("routerUrl", config.router_url)):
        if url and not url.startswith(("http://", "https://")):
            raise ConfigError(f'config.{name} is "{url}"; it must begin with http:// or https://.')
    _one_of("config.scheme", config.scheme, ("http", "https"))
    if config.api_key_env and not config.api_key_env.replace("_", "").isalnum():
        raise ConfigError("config.apiKeyEnv must be the name of an environment variable, not the key itself.")
    for name, value in (
        ("blockTokens", config.block_tokens),
        ("promptBlocks", config.prompt_blocks),
        ("maxTokens", config.max_tokens),
    ):
        if value < 1:
            raise ConfigError(f"config.{name} is {value}; it must be at least 1.")
    if not 0 < config.min_reused_fraction <= 1:
        raise ConfigError("config.minReusedFraction must be more than 0 and at most 1.")
