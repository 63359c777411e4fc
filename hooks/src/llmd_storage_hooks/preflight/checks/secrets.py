# SPDX-License-Identifier: Apache-2.0
"""Preflight, Secrets: they exist and have the key. Their content is never read."""

from __future__ import annotations

from llmd_storage_hooks.core.kube.objects import Absent, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.config import PreflightConfig, SecretRef
from llmd_storage_hooks.preflight.facts import PreflightFacts, SecretKeys

IMAGE_PULL_KEY = ".dockerconfigjson"
MODELSERVER_TLS = "global.modelserverTls"
_LINK = "https://kubernetes.io/docs/concepts/configuration/secret/"


def check(config: PreflightConfig, facts: PreflightFacts) -> list[Finding]:
    """One finding for each Secret."""
    return [secret(wanted, facts.secrets[wanted.name], config.namespace) for wanted in config.secrets]


def secret(wanted: SecretRef, observed: SecretKeys | Absent | Unknown, namespace: str) -> Finding:
    """The Secret exists and has the key, not empty."""
    check_id = f"preflight.secret.{wanted.name}"
    bad = Verdict.FAIL if wanted.required else Verdict.WARN
    why = f" ({wanted.needed_for} needs it)" if wanted.needed_for else ""
    make = _command(wanted, namespace)
    if isinstance(observed, Unknown):
        sentence = f'Could not check secret "{wanted.name}" in namespace {namespace}: {observed.reason}.'
        return Finding(check_id, Verdict.WARN, sentence, f"If it is missing: {make}.", _LINK)
    if isinstance(observed, Absent):
        sentence = f'Secret "{wanted.name}" does not exist in namespace {namespace}{why}.'
        return Finding(check_id, bad, sentence, f"Create it: {make}.", _LINK)
    if wanted.key not in observed.keys:
        return Finding(
            check_id,
            bad,
            f'Secret "{wanted.name}" has no key "{wanted.key}"{why}; '
            f"it has: {', '.join(sorted(observed.keys)) or 'none'}.",
            f"Add the key, or name the one it has in the values. To make it anew: {make}.",
            _LINK,
        )
    if wanted.key in observed.empty_keys:
        sentence = f'Key "{wanted.key}" of secret "{wanted.name}" is empty{why}.'
        return Finding(check_id, bad, sentence, f"Give it a value: {make}.", _LINK)
    return Finding(check_id, Verdict.PASS, f'Secret "{wanted.name}" has key "{wanted.key}".')


def _command(wanted: SecretRef, namespace: str) -> str:
    """What makes the Secret."""
    create = f"kubectl create secret {{kind}} {wanted.name} --namespace {namespace}"
    if wanted.key == IMAGE_PULL_KEY:
        end = "--docker-server=<registry> --docker-username=<user> --docker-password=<token>"
        return f"{create.format(kind='docker-registry')} {end}"
    if wanted.needed_for == MODELSERVER_TLS:
        keys = dict.fromkeys(("tls.crt", "tls.key", wanted.key))
        files = " ".join(f"--from-file={key}=<file>" for key in keys)
        return f"{create.format(kind='generic')} --type=kubernetes.io/tls {files}"
    return f"{create.format(kind='generic')} --from-literal={wanted.key}=<value>"
