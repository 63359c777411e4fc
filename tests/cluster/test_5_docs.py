"""The docs' commands that need an installed release, run as they stand but for the name of the release."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.harness import ROOT, Release
from tests.patience import CEILING_S
from tests.unit.docs import commands as docs

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("text", docs.those(docs.RELEASE))
def test_it_works_as_it_stands(text: str, release: Release, tmp_path: Path) -> None:
    cluster = release.cluster
    config = tmp_path / "kubeconfig"
    config.write_bytes(cluster.kubeconfig.read_bytes())
    # The user's current namespace is where the release is.
    cluster.kubectl(
        "config", "set-context", "--current", f"--namespace={release.namespace}", f"--kubeconfig={config}"
    ).ok()
    for was, now in (("cache-", f"{release.name}-"), (" cache", f" {release.name}"), ('"cache"', f'"{release.name}"')):
        text = text.replace(was, now)
    text = text.replace('"default"', f'"{release.namespace}"')
    places = [cluster.helm_binary.parent, cluster.kubectl_binary.parent, Path(sys.executable).parent]
    env = os.environ | {"KUBECONFIG": str(config), "PATH": ":".join([*map(str, places), os.environ["PATH"]])}
    secret = ("delete", "secret", "llm-d-hf-token", "-n", release.namespace, "--ignore-not-found")
    cluster.kubectl(*secret).ok()
    done = subprocess.run(
        ["bash", "-euc", text], cwd=ROOT, env=env, capture_output=True, text=True, timeout=CEILING_S, check=False
    )
    cluster.kubectl(*secret).ok()  # the tests of a refused upgrade rely on there being none
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.strip()
