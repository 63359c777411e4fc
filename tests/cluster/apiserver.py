"""A real API server as the judge of rendered objects: server-side dry runs, and the warnings that come with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart import crds, helm
from tests.cluster.harness import Cluster
from tests.lab.crds import crd_files
from tests.patience import CEILING_S, eventually

RELEASE = "policed"  # what the policies select objects by
NAMESPACE = "llmd-policed"
POLICIES = Path(__file__).resolve().parent / "policies"
OFFENDER = (POLICIES / "offender.yaml").read_text()
_POLICY = re.compile(r"ValidatingAdmissionPolicy '[^']+' with binding '[^']+': (.+)$")


@dataclass(frozen=True)
class Answer:
    """What the API server said to one list of objects."""

    sent: int
    taken: int
    errors: str
    warnings: tuple[str, ...]

    @property
    def violations(self) -> set[tuple[str, str]]:
        """(policy, who) of every policy that was broken; a container each."""
        found: set[tuple[str, str]] = set()
        for warning in self.warnings:
            if match := _POLICY.search(warning):
                policy, _, who = match.group(1).partition(": ")
                component, _, parts = who.partition(" ")
                found |= {(policy, f"{component} {part}") for part in parts.split(", ")}
        return found

    @property
    def other_warnings(self) -> list[str]:
        """Pod Security, deprecated versions, fields that are ignored."""
        return [w for w in self.warnings if not _POLICY.search(w)]


def dry_run(cluster: Cluster, text: str, namespace: str = NAMESPACE) -> Answer:
    """Applies manifests as Helm 4 does (server-side, unknown fields refused), and changes nothing."""
    done = cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=helm"),
        *("-n", namespace, "-f", "-"),
        stdin=text,
    )
    lines = done.out.splitlines()
    taken = sum(line.endswith("(server dry run)") for line in lines)
    warnings = tuple(line.removeprefix("Warning: ") for line in lines if line.startswith("Warning: "))
    errors = [line for line in lines if not line.endswith("(server dry run)") and not line.startswith("Warning: ")]
    return Answer(len(helm.load_yaml(text)), taken, "\n".join(errors), warnings)


def render(cluster: Cluster, *args: str) -> str:
    """`helm template` of the chart under the policed release's name."""
    done = cluster.helm("template", RELEASE, str(helm.CHART), "-n", NAMESPACE, *args)
    return done.ok().out


@contextmanager
def kinds_served(cluster: Cluster, wanted: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Serves the (apiVersion, kind)s that the cluster lacks, of the CRDs that the chart can use, and only meanwhile."""
    names = set(cluster.kubectl("get", "crd", "-o", "name").ok().out.split())
    missing = [
        crd
        for crd in _crds()
        if f"customresourcedefinition.apiextensions.k8s.io/{crd['metadata']['name']}" not in names
        and any(
            (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]) in wanted
            for version in crd["spec"]["versions"]
        )
    ]
    found = [crd["metadata"]["name"] for crd in missing]
    try:
        if missing:
            cluster.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(missing)).ok()
            cluster.kubectl("wait", "crd", *found, "--for=condition=Established", f"--timeout={CEILING_S:.0f}s").ok()
        yield
    finally:
        if missing:
            cluster.kubectl("delete", "crd", *found, "--ignore-not-found").ok()


def _crds() -> Iterator[dict[str, Any]]:
    for path in crd_files() + crds.files():
        yield from (one for one in helm.load_yaml(path.read_text()) if one["kind"] == "CustomResourceDefinition")


@contextmanager
def policed(cluster: Cluster) -> Iterator[None]:
    """The policies in force, and a namespace that warns of every pod template that is not restricted."""
    files = [word for name in ("workloads", "rights") for word in ("-f", str(POLICIES / f"{name}.yaml"))]
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    metadata = {"name": NAMESPACE, "labels": level}
    try:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        cluster.kubectl("apply", "--server-side", *files).ok()
        # A policy is in force some seconds after it was made.
        eventually(
            lambda: len(dry_run(cluster, OFFENDER).violations) >= _count(), "the policies to be in force", every_s=1
        )
        yield
    finally:
        cluster.kubectl("delete", *files, "--ignore-not-found").ok()
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found").ok()


def policies() -> set[str]:
    """The name of every policy: the first word of each validation's message."""
    found: set[str] = set()
    for name in ("workloads", "rights"):
        for one in helm.load_yaml((POLICIES / f"{name}.yaml").read_text()):
            for rule in one["spec"].get("validations", []):
                found.add(rule["messageExpression"].removeprefix("'").partition(":")[0])
    return found


def _count() -> int:
    return len(policies())
