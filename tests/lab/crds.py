"""The CRDs that the chart can use, out of the Go modules of the projects that define them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from tests.lab import control
from tests.lab.deps import GO_TOOLS, go_env
from tests.lab.errors import LabError
from tests.lab.paths import Lab
from tests.lab.proc import Console, output
from tests.patience import CEILING_S

MODULE_DIR = GO_TOOLS / "crds"
GATEWAY = "sigs.k8s.io/gateway-api"
INFERENCE = "sigs.k8s.io/gateway-api-inference-extension"
MONITORING = "github.com/prometheus-operator/prometheus-operator"

# Only what the chart renders or the endpoint picker watches.
FILES = {
    GATEWAY: [
        f"config/crd/standard/gateway.networking.k8s.io_{plural}.yaml"
        for plural in ("gatewayclasses", "gateways", "httproutes", "referencegrants")
    ],
    INFERENCE: [
        f"config/crd/bases/inference.networking.{group}.yaml"
        for group in (
            "k8s.io_inferencepools",
            "x-k8s.io_inferencemodelrewrites",
            "x-k8s.io_inferenceobjectives",
            "x-k8s.io_inferencepoolimports",
        )
    ],
    MONITORING: [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
        for plural in ("podmonitors", "servicemonitors", "prometheusrules")
    ],
}


@cache
def module_dirs() -> dict[str, Path]:
    """Each module's folder in the module cache, downloaded (and checked against go.sum) when it is not there."""
    env = {**go_env(), "GOFLAGS": "-mod=readonly"}
    text = output(["go", "-C", MODULE_DIR, "mod", "download", "-json", *FILES], timeout_s=2 * CEILING_S, env=env)
    dirs: dict[str, Path] = {}
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        entry, end = decoder.raw_decode(text)
        text = text[end:]
        if error := entry.get("Error"):
            raise LabError(f"Go module {entry['Path']}: {error}")
        dirs[entry["Path"]] = Path(entry["Dir"])
    return dirs


def crd_files() -> list[Path]:
    """The YAML files of the CRDs. Needs no cluster; Blocks while Go downloads what is not cached yet."""
    dirs = module_dirs()
    files = [dirs[module] / name for module, names in FILES.items() for name in names]
    if missing := [f for f in files if not f.exists()]:
        raise LabError(f"not in its Go module: {missing[0]}")
    return files


def apply(c: Console, lab: Lab) -> None:
    words = [w for f in crd_files() for w in ("-f", str(f))]
    c.run(control.kubectl_argv(lab, "apply", "--server-side", "--force-conflicts", *words))
    c.until("the CRDs", control.holds(lambda: established(lab)))


def established(lab: Lab) -> bool:
    """Every CRD of ours is served (`kubectl wait` fails on one that has no conditions yet)."""
    items = control.get_json(lab, "crd")["items"]
    served = [
        i["metadata"]["name"]
        for i in items
        if any(
            x["type"] == "Established" and x["status"] == "True" for x in i.get("status", {}).get("conditions") or []
        )
    ]
    return len(served) >= sum(map(len, FILES.values()))
