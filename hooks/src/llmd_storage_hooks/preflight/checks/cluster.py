# SPDX-License-Identifier: Apache-2.0
"""Preflight, the cluster itself: version, CRDs, GatewayClass."""

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
    "monitoring.coreos.com": "https://prometheus-operator.dev/docs/getting-started/installation/",
}


def check(config: PreflightConfig, facts: PreflightFacts) -> list[Finding]:
    findings = [version(facts.version)]
    findings += [crd(wanted, facts.crds[crd_key(wanted)]) for wanted in config.crds]
    if config.gateway_class and facts.gateway_class is not None:
        findings.append(gateway_class(config.gateway_class, facts.gateway_class))
    return findings


def version(seen: ClusterVersion | Unknown) -> Finding:
    check_id = "preflight.kubernetes.version"
    if isinstance(seen, Unknown):
        return Finding(
            check_id,
            Verdict.INCONCLUSIVE,
            f"Could not check the cluster: the Kubernetes API server did not answer ({seen.reason}).",
            "See that the hook's pod may reach the API server (NetworkPolicy, DNS, the ServiceAccount's "
            "token), or that KUBECONFIG names a cluster that runs.",
        )
    oldest = ".".join(str(part) for part in OLDEST_KUBERNETES)
    if (seen.major, seen.minor) < OLDEST_KUBERNETES:
        return Finding(
            check_id,
            Verdict.WARN,
            f"Kubernetes {seen.git_version} is older than {oldest}, the oldest this chart is meant for.",
            f"Upgrade the cluster to {oldest} or later.",
            "https://kubernetes.io/releases/",
            {"version": seen.git_version},
        )
    return Finding(
        check_id,
        Verdict.PASS,
        f"Kubernetes {seen.git_version} answers.",
        seen={"version": seen.git_version},
    )


def crd_key(wanted: Crd) -> str:
    return f"{wanted.name}/{wanted.version}"


def crd(wanted: Crd, seen: ServedGroup | Absent | Unknown) -> Finding:
    plural, _, group = wanted.name.partition(".")
    check_id = f"preflight.crd.{plural}"
    link = _CRD_LINKS.get(group, "")
    why = f", which {wanted.needed_for} needs" if wanted.needed_for else ""
    instead = f", or turn off what needs it ({wanted.needed_for})" if wanted.needed_for else ""
    install = f"Install the CRD {wanted.name} in version {wanted.version}{instead}."
    if isinstance(seen, Unknown):
        return Finding(check_id, Verdict.WARN, f"Could not check the CRD {wanted.name}: {seen.reason}.", install, link)
    if isinstance(seen, Absent):
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster has no API group {group}, so the CRD {wanted.name}{why} is not installed.",
            install,
            link,
        )
    if wanted.version not in seen.versions:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster serves {group} only in {', '.join(seen.versions) or 'no version'}, "
            f"not in {wanted.version}{why}.",
            install,
            link,
            {"served": list(seen.versions)},
        )
    if plural not in seen.resources:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"The cluster serves {group}/{wanted.version}, but without {plural}{why}.",
            install,
            link,
            {"resources": sorted(seen.resources)},
        )
    return Finding(check_id, Verdict.PASS, f"CRD {wanted.name} is served in {wanted.version}.")


def gateway_class(name: str, seen: GatewayClass | Absent | Unknown) -> Finding:
    check_id = "preflight.gatewayclass"
    link = "https://gateway-api.sigs.k8s.io/api-types/gatewayclass/"
    fix = "Set gateway.className to one that `kubectl get gatewayclass` lists, or install its controller."
    if isinstance(seen, Unknown):
        return Finding(
            check_id,
            Verdict.WARN,
            f'Could not check GatewayClass "{name}": {seen.reason}.',
            f"Look yourself: kubectl get gatewayclass {name}.",
            link,
        )
    if isinstance(seen, Absent):
        return Finding(check_id, Verdict.FAIL, f'GatewayClass "{name}" does not exist.', fix, link)
    facts = {"controller": seen.controller, "message": seen.message}
    if not seen.accepted:
        return Finding(
            check_id,
            Verdict.WARN,
            f'GatewayClass "{name}" exists, but no controller has accepted it'
            f" (it names {seen.controller or 'none'}{'; ' + seen.message if seen.message else ''}).",
            f"See that the controller {seen.controller} runs. {fix}",
            link,
            facts,
        )
    return Finding(check_id, Verdict.PASS, f'GatewayClass "{name}" is accepted by {seen.controller}.', seen=facts)
