# SPDX-License-Identifier: Apache-2.0
"""Where a Gateway takes requests: its controller writes it into the Gateway's status, when it is ready."""

from __future__ import annotations

from collections.abc import Callable

from llmd_storage_hooks import facts, parse
from llmd_storage_hooks.config import ProofConfig
from llmd_storage_hooks.core.clock import Clock, Deadline
from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube.api import KubeApi

POLL_S = 2.0


def find(config: ProofConfig, kube: KubeApi, clock: Clock, say: Callable[[str], None]) -> facts.Gateway:
    """Waits until the Gateway is programmed and has an address; without one, `url` of the result is empty.

    Blocks up to `ready_timeout_seconds`: a cloud's load balancer takes minutes to be made.
    """
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{config.namespace}/gateways/{config.gateway.name}"
    deadline = Deadline.after(clock, config.ready_timeout_seconds)
    told = ""
    while True:
        try:
            seen = parse.gateway(kube.get(path), config.gateway.section)
        except CollectError as error:
            seen = facts.Gateway(False, str(error))
        if seen.programmed and seen.url:
            return seen
        if deadline.passed():
            return facts.Gateway(seen.programmed, seen.message)
        if seen.message != told:
            told = seen.message
            say(f"Gateway {config.gateway.name} is not ready yet ({told or 'no address'})")
        clock.sleep(POLL_S)
