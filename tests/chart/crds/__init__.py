"""CRDs of optional kinds that only the chart's tests need, out of the Go modules of the projects that define them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tests.lab.deps import go_env
from tests.lab.proc import output

HERE = Path(__file__).resolve().parent
FILES = {
    "github.com/kedacore/keda/v2": "config/crd/bases/keda.sh_scaledobjects.yaml",
    "sigs.k8s.io/lws": "config/crd/bases/leaderworkerset.x-k8s.io_leaderworkersets.yaml",
    "istio.io/api": "kubernetes/customresourcedefinitions.gen.yaml",
}
# Istio's file holds all its kinds in one; the chart makes some of networking.istio.io only.
UNUSED = {"extensions.istio.io", "security.istio.io", "telemetry.istio.io"}


@cache
def files() -> list[Path]:
    """The YAML files, downloaded (and checked against go.sum) when they are not there."""
    env = {**go_env(), "GOFLAGS": "-mod=readonly"}
    found = []
    for module, name in FILES.items():
        text = output(["go", "-C", HERE, "mod", "download", "-json", module], timeout_s=600, env=env)
        found.append(Path(json.loads(text)["Dir"]) / name)
    return found + sorted(HERE.glob("*.yaml"))
