# SPDX-License-Identifier: Apache-2.0
"""A Gateway's address, which its controller writes into the status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube import parse
from llmd_storage_hooks.core.kube.api import KubeApi
from llmd_storage_hooks.proof.config import ProofConfig
from llmd_storage_hooks.proof.facts import Gateway

POLL_S = 2.0


def find(config: ProofConfig, kube: KubeApi, clock: Clock, say: Callable[[str], None]) -> Gateway:
    """Wait until the Gateway is programmed and has an address; `url` is empty when that does not happen in time.

    Blocks up to `ready_timeout_seconds`: a cloud's load balancer takes minutes to be made.
    """
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{config.namespace}/gateways/{config.gateway.name}"
    deadline = Deadline.after(clock, config.ready_timeout_seconds)
    said = ""
    while True:
        try:
            observed = parse_gateway(kube.get(path), config.gateway.section)
        except CollectError as error:
            observed = Gateway(False, str(error))
        if observed.programmed and observed.url:
            return observed
        if deadline.passed():
            return Gateway(observed.programmed, observed.message)
        if observed.message != said:
            said = observed.message
            say(f"Gateway {config.gateway.name} is not ready yet ({said or 'no address'})")
        clock.sleep(POLL_S)


def parse_gateway(raw: Any, section: str = "") -> Gateway:
    """section: a listener's name; "" = the first listener for HTTP, else the first for HTTPS."""
    programmed = parse.condition(raw, "Programmed")
    listeners = [
        one for one in parse.dicts(parse.mapping(raw, "spec"), "listeners") if section in ("", one.get("name"))
    ]
    by_protocol = {str(one.get("protocol", "")): one for one in reversed(listeners)}
    chosen = by_protocol.get("HTTP") or by_protocol.get("HTTPS")
    addresses = [str(one.get("value", "")) for one in parse.dicts(parse.mapping(raw, "status"), "addresses")]
    url = ""
    if chosen and addresses:
        host = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        url = f"{str(chosen['protocol']).lower()}://{host}:{chosen.get('port')}"
    return Gateway(programmed.get("status") == "True", str(programmed.get("message", "")), url)
