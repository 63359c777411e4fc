# SPDX-License-Identifier: Apache-2.0
"""The proof's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmd_storage_hooks.core.config import HookConfig, one_of
from llmd_storage_hooks.core.errors import ConfigError
from llmd_storage_hooks.proof.connectors import CONNECTORS, LLMD_STORAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofGateway:
    """A Gateway of the release's namespace."""

    name: str = ""  # "" = none is asked
    section: str = ""  # of its listeners; "" = the first for HTTP
    host: str = ""  # a name that its route serves; "" = any
    path: str = ""  # below which its route serves


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofConfig(HookConfig):
    """The hook's keys. A: prefills the prompt; B: answers it from storage."""

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
    ca_files: tuple[str, ...] = ()  # whom to trust for https, beside whom Python trusts
    server_name: str = ""  # the name in the servers' certificates; "" = the host of the address
    router_server_name: str = ""  # the name in the router's
    max_readers: int = 8  # pods beyond B that answer the same prompt from storage
    claim_path: str = ""  # where the cache's claim is mounted for reading; "" = not, then manifests are not compared

    def validate(self) -> None:
        HookConfig.validate(self)
        one_of("config.connector", self.connector, tuple(CONNECTORS))
        if bool(self.url_a) != bool(self.url_b):
            raise ConfigError("config.urlA and config.urlB belong together: A writes, B reads.")
        if not self.pod_selector and not self.url_a:
            raise ConfigError("config.podSelector is empty; it would match every pod of the namespace.")
        for name, url in (("urlA", self.url_a), ("urlB", self.url_b), ("routerUrl", self.router_url)):
            if url and not url.startswith(("http://", "https://")):
                raise ConfigError(f'config.{name} is "{url}"; it must begin with http:// or https://.')
        one_of("config.scheme", self.scheme, ("http", "https"))
        if self.api_key_env and not self.api_key_env.replace("_", "").isalnum():
            raise ConfigError("config.apiKeyEnv must be the name of an environment variable, not the key itself.")
        for name, value in (
            ("blockTokens", self.block_tokens),
            ("promptBlocks", self.prompt_blocks),
            ("maxTokens", self.max_tokens),
        ):
            if value < 1:
                raise ConfigError(f"config.{name} is {value}; it must be at least 1.")
        if not 0 < self.min_reused_fraction <= 1:
            raise ConfigError("config.minReusedFraction must be more than 0 and at most 1.")
