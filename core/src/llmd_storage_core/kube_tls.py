# SPDX-License-Identifier: Apache-2.0
"""TLS to an API server, for the official client.

From 3.13 on Python refuses a CA without the extensions that RFC 5280 asks for (key usage, key identifiers). Clusters'
own CAs often lack them, last for ten years, and are what every other client of the cluster accepts.
"""

from __future__ import annotations

import ssl
from typing import Any


def accept_plain_cas(client: Any) -> Any:
    """Have a kubernetes ApiClient check certificates as Python before 3.13 did: the chain, the times, the name.

    Requires: no call was made with it yet. Returns: the client.
    """
    configuration = client.configuration
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = bool(configuration.verify_ssl)
    if configuration.verify_ssl and not configuration.ssl_ca_cert:
        context.load_default_certs()
    # The configuration's CA and client certificate are loaded into it with the first connection.
    client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    return client
