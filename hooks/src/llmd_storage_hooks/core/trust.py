# SPDX-License-Identifier: Apache-2.0
"""Whom to trust for https: the public CAs, and further ones beside them.

    python3 -m llmd_storage_hooks.core.trust BUNDLE FILE...

writes all of them into one file, for programs that can be given one only (SSL_CERT_FILE, REQUESTS_CA_BUNDLE).
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import certifi


def context(files: Iterable[str]) -> ssl.SSLContext:
    """Trusts whom Python trusts, and the CAs in these PEM files.

    Raises: OSError, ssl.SSLError (an OSError, too) for a file without certificates that can be read.
    """
    trusted = ssl.create_default_context()
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT  # a company's own CAs often lack extensions; see core's kube_tls
    for file in files:
        trusted.load_verify_locations(cafile=file)
    return trusted


def bundle(files: Sequence[str]) -> str:
    """The public CAs' certificates and those in these PEM files, as one PEM text. Raises: as `context`."""
    context(files)
    return "\n".join(Path(one).read_text(encoding="utf-8") for one in (certifi.where(), *files))


def main(target: str, *files: str) -> str | None:
    """Returns: what is wrong, in a sentence; None when the bundle is written."""
    for file in files:
        try:
            context([file])
        except OSError as error:
            return (
                f"{file} holds no CA certificates that can be read ({error}): correct the ConfigMap of global.caBundle "
                "or the Secret of global.modelserverTls, PEM text both."
            )
    Path(target).write_text(bundle(files), encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
