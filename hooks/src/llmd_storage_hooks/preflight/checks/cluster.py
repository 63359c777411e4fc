# SPDX-License-Identifier: Apache-2.0
"""Preflight, cluster: Kubernetes version, CRDs, GatewayClass."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import Crd, PreflightConfig
from llmd_storage_hooks.preflight.facts import ClusterVersion, GatewayClass, PreflightFacts, ServedGroup

# Indexed Jobs, restricted Pod Security and CEL rules in CRDs (which InferencePool uses) are all there.
OLDEST_KUBERNETES = (1, 29)

_CRD_LINKS = {
    "gateway.networking.k8s.io": "https://gateway-api.sigs.k8s.io/guides/#installing-gateway-api",
    "inference.networking.k8s.io": "https://gateway-api-inference-extension.sigs.k8s.io/guides/",
    "leaderworkerset.x-k8s.io": "https://lws.sigs.k8s.io/docs/installation/",
    "monitoring.coreos.com": "https://prometheus-operator.dev/docs/getting-started/installation/",
}


def check(config: PreflightConfig, facts: PreflightFacts) -> list[Finding]:
    """Findings about the version, each CRD and the GatewayClass."""
    findings = [version(facts.version)]
    findings += [crd(wanted, facts.crds[crd_key(wanted)]) for wanted in config.crds]
    if config.gateway_class and facts.gateway_class is not None:
        findings.append(gateway_class(config.gateway_class, facts.gateway_class))
    return findings


def version(observed: ClusterVersion | Unknown) -> Finding:
    """The API server answers and is recent enough."""
    check_id = "preflight.kubernetes.version"
    if isinstance(observed, Unknown):
        return Finding(
            check_id,
            Verdict.INCONCLUSIVE,
            f"Could not check the cluster: the Kubernetes API server did not answer ({observed.reason}).",
            "See that the hook's pod may reach the API server (NetworkPolicy, DNS, the ServiceAccount's "
            "token), or that KUBECONFIG names a cluster that runs.",
        )
    oldest = ".".join(str(part) for part in OLDEST_KUBERNETES)
    if (observed.major, observed.minor) < OLDEST_KUBERNETES:
        return Finding(
            check_id,
            Verdict.WARN,
            f"Kubernetes {observed.git_version} is older than {oldest}, the oldest this chart is meant for.",
            f"Upgrade the cluster to {oldest} or later.",
            "https://kubernetes.io/releases/",
            {"version": observed.git_version},
        )
    return Finding(
        check_id,
        Verdict.PASS,
        f"Kubernetes {observed.git_version} answers.",
        observed={"version": observed.git_version},
    )


def crd_key(wanted: Crd) -> str:
    """The key of `PreflightFacts.crds`."""
    return f"{wanted.name}/{wanted.version}"


def crd(wanted: Crd, observed: ServedGroup | Absent | Unknown) -> Finding:
    """The CRD is served, in the version that the release uses."""
    plural, _, group = wanted.name.partition(".")
    check_id = f"preflight.crd.{plural}"
    link = _CRD_LINKS.get(group, "")
    why = f", which {wanted.needed_for} needs" if wanted.needed_for else ""
    instead = f", or turn off what needs it ({wanted.needed_for})" if wanted.needed_for else ""
    install = f"Install the CRD {wanted.name} in version {wanted.version}{instead}."
    if wanted.built_in_since:
        install = f"Kubernetes serves {wanted.name} from {wanted.built_in_since} on: upgrade the cluster{instead}."
    if isinstance(observed, Unknown):
        return Finding(
            check_id, Verdict.WARN, f"Could not check the CRD {wanted.name}: {observed.reason}.", install, link
        )
    if isinstance(observed, Absent):
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster has no API group {group}, so the CRD {wanted.name}{why} is not installed.",
            install,
            link,
        )
    if wanted.version not in observed.versions:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster serves {group} only in {', '.join(observed.versions) or 'no version'}, "
            f"not in {wanted.version}{why}.",
            install,
            link,
            {"served": list(observed.versions)},
        )
    if plural not in observed.resources:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster serves {group}/{wanted.version}, but without {plural}{why}.",
            install,
            link,
            {"resources": sorted(observed.resources)},
        )
    return Finding(check_id, Verdict.PASS, f"CRD {wanted.name} is served in {wanted.version}.")


def gateway_class(name: str, observed: GatewayClass | Absent | Unknown) -> Finding:
    """The GatewayClass exists, and a controller has accepted it."""
    check_id = "preflight.gatewayclass"
    link = "https://gateway-api.sigs.k8s.io/api-types/gatewayclass/"
    fix = "Set gateway.className to one that `kubectl get gatewayclass` lists, or install its controller."
    if isinstance(observed, Unknown):
        return Finding(
            check_id,
            Verdict.WARN,
            f'Could not check GatewayClass "{name}": {observed.reason}.',
            f"Look yourself: kubectl get gatewayclass {name}.",
            link,
        )
    if isinstance(observed, Absent):
        return Finding(check_id, Verdict.FAIL, f'GatewayClass "{name}" does not exist.', fix, link)
    facts = {"controller": observed.controller, "message": observed.message}
    if not observed.accepted:
        return Finding(
            check_id,
            Verdict.WARN,
            f'GatewayClass "{name}" exists, but no controller has accepted it'
            f" (it names {observed.controller or 'none'}{'; ' + observed.message if observed.message else ''}).",
            f"See that the controller {observed.controller} runs. {fix}",
            link,
            facts,
        )
    return Finding(
        check_id, Verdict.PASS, f'GatewayClass "{name}" is accepted by {observed.controller}.', observed=facts
    )
