"""The hooks' client and an API server's certificate: as strict as any other client of the cluster, and not more."""

from __future__ import annotations

import ssl
from pathlib import Path

import kubernetes
import pytest

from llmd_storage_core.kube_tls import accept_plain_cas
from llmd_storage_hooks.core.errors import Unreachable
from llmd_storage_hooks.core.kube.api import Kube
from tests.unit.hooks.support import https_server


def client(host: str = "", ca: Path | None = None, verify: bool = True) -> kubernetes.client.ApiClient:
    configuration = kubernetes.client.Configuration()
    configuration.host, configuration.ssl_ca_cert, configuration.verify_ssl = host, ca and str(ca), verify
    configuration.retries = 0
    return accept_plain_cas(kubernetes.client.ApiClient(configuration))


def test_extensions_that_old_clusters_cas_lack_are_not_asked_for() -> None:
    context = client().rest_client.pool_manager.connection_pool_kw["ssl_context"]
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


def test_the_certificate_is_checked_still(tmp_path: Path) -> None:
    with https_server(tmp_path, "localhost", lambda *_: (200, b'{"gitVersion": "v1.36.0"}')) as (at, ca):
        url = at.replace("127.0.0.1", "localhost")
        assert Kube(client(url, ca)).get("/version") == {"gitVersion": "v1.36.0"}
        with pytest.raises(Unreachable):
            Kube(client(at, ca)).get("/version")
        with pytest.raises(Unreachable):
            Kube(client(url)).get("/version")
        assert Kube(client(url, verify=False)).get("/version")
