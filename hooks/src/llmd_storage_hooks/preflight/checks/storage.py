# SPDX-License-Identifier: Apache-2.0
"""Preflight, StorageClass: it exists, gives ReadWriteMany, and has volumes of the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from llmd_storage_hooks.core.kube.objects import Absent, Unknown
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.preflight.checks.rwx import KNOWN_GOOD, Provisioner, Rwx, RwxSupport, SizeRule, rwx_support
from llmd_storage_hooks.preflight.config import PreflightConfig, Storage
from llmd_storage_hooks.preflight.facts import PreflightFacts, StorageClass

GI = 1024**3
_ACCESS_MODES = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"
_CLASSES = "https://kubernetes.io/docs/concepts/storage/storage-classes/"


def check(
    config: PreflightConfig, facts: PreflightFacts, rwx_table: Iterable[Provisioner], size_bytes: int | None
) -> tuple[StorageClass | None, list[Finding]]:
    """Returns: the class that the chart's claim will get (None when unknown), and the findings about it."""
    storage = config.storage
    if storage.existing_claim:  # its class plays no part any more; the volume that it is bound to does
        return None, existing_volume(config, facts.volume, rwx_table)
    chosen, finding = storage_class(storage, facts.classes)
    findings = [finding]
    if chosen is not None:
        result = rwx_support(rwx_table, chosen.provisioner, chosen.parameters, config.rwx_overrides)
        findings.append(rwx(chosen, result, "storage.storageClassName to", storage.static))
        # A volume that is there already has the size it has.
        rule = result.provisioner.size_rule(chosen.parameters) if result.provisioner else None
        if result.provisioner is not None and rule is not None and not storage.static:
            findings.append(size(chosen, result.provisioner, rule, storage.size, size_bytes))
    return chosen, findings


def existing_volume(
    config: PreflightConfig, volume: StorageClass | Absent | Unknown | None, rwx_table: Iterable[Provisioner]
) -> list[Finding]:
    """The volume behind a claim of the user, by the same rules as a class; nothing where it is not bound."""
    if isinstance(volume, Unknown):
        sentence = f'Could not check the volume of claim "{config.storage.existing_claim}": {volume.reason}.'
        fix = "Look yourself which driver it is of: kubectl get persistentvolume. The probe tries it in any case."
        return [Finding("preflight.storageclass.rwx", Verdict.WARN, sentence, fix)]
    if not isinstance(volume, StorageClass):
        return []
    result = rwx_support(rwx_table, volume.provisioner, volume.parameters, config.rwx_overrides)
    return [rwx(volume, result, "storage.existingClaim to a claim of", static=True)]


def storage_class(storage: Storage, classes: tuple[StorageClass, ...] | Unknown) -> tuple[StorageClass | None, Finding]:
    """Returns: the class that the claim will get, and the finding about it."""
    check_id = "preflight.storageclass.exists"
    name = storage.storage_class_name
    if storage.static:
        made = StorageClass(name, storage.provisioner, storage.parameters)
        sentence = f'The chart makes PersistentVolume "{name}" for a filesystem that is there ({storage.provisioner}).'
        return made, Finding(check_id, Verdict.PASS, sentence)
    if storage.creates_storage_class:
        return _created(storage, check_id, classes)
    if isinstance(classes, Unknown):
        shown = f'StorageClass "{name}"' if name else "the cluster's default StorageClass"
        fix = "Look yourself: kubectl get storageclass."
        return None, Finding(check_id, Verdict.WARN, f"Could not check {shown}: {classes.reason}.", fix)
    have = ", ".join(f'"{one.name}"' for one in classes) or "none"
    if name:
        return _named(name, classes, have, check_id)
    return _default(classes, have, check_id)


def _created(
    storage: Storage, check_id: str, classes: tuple[StorageClass, ...] | Unknown
) -> tuple[StorageClass | None, Finding]:
    name = storage.storage_class_name
    if not storage.provisioner:
        return None, Finding(
            check_id,
            Verdict.FAIL,
            f'The chart is to create StorageClass "{name}", but no provisioner is set for it.',
            "Set storage.storageClass.provisioner to your CSI driver's name (kubectl get csidriver).",
            _CLASSES,
        )
    there = None if isinstance(classes, Unknown) else next((one for one in classes if one.name == name), None)
    grows = there is None or there.allows_expansion
    made = StorageClass(name, storage.provisioner, storage.parameters, allows_expansion=grows)
    if there is not None and (there.provisioner, there.parameters) != (made.provisioner, made.parameters):
        what = (
            f"provisioner {there.provisioner}, not {made.provisioner}"
            if there.provisioner != made.provisioner
            else f"other parameters ({', '.join(_differences(there.parameters, made.parameters))})"
        )
        return made, Finding(
            check_id,
            Verdict.FAIL,
            f'StorageClass "{name}", which the chart is to create, is there already with {what}; a class cannot be '
            "changed.",
            "Set storage.storageClass.name to a name that is free, or use the class that is there: "
            f"storage.storageClass.create=false, storage.storageClassName={name}.",
            _CLASSES,
        )
    sentence = f'The chart creates StorageClass "{name}" (provisioner {storage.provisioner}).'
    return made, Finding(check_id, Verdict.PASS, sentence)


def _differences(there: dict[str, str], made: dict[str, str]) -> list[str]:
    return sorted(key for key in there.keys() | made.keys() if there.get(key) != made.get(key))


def _named(
    name: str, classes: tuple[StorageClass, ...], have: str, check_id: str
) -> tuple[StorageClass | None, Finding]:
    chosen = next((one for one in classes if one.name == name), None)
    if chosen is None:
        return None, Finding(
            check_id,
            Verdict.FAIL,
            f'StorageClass "{name}" does not exist; the cluster has: {have}.',
            "Set storage.storageClassName to one of these, or storage.storageClass.create=true to make it.",
            _CLASSES,
        )
    return chosen, Finding(
        check_id, Verdict.PASS, f'StorageClass "{name}" exists.', observed={"bindingMode": chosen.binding_mode}
    )


def _default(classes: tuple[StorageClass, ...], have: str, check_id: str) -> tuple[StorageClass | None, Finding]:
    # As the API server chooses: the newest, and of those made in the same second the first by name.
    defaults = sorted((one for one in classes if one.is_default), key=lambda one: one.name)
    defaults.sort(key=lambda one: one.created, reverse=True)
    if not defaults:
        return None, Finding(
            check_id,
            Verdict.FAIL,
            f"storage.storageClassName is empty and the cluster has no default StorageClass; it has: {have}.",
            "Set storage.storageClassName to a class backed by a shared filesystem.",
            _CLASSES,
        )
    if len(defaults) > 1:
        names = ", ".join(f'"{one.name}"' for one in defaults)
        return defaults[0], Finding(
            check_id,
            Verdict.WARN,
            f'The cluster has more than one default StorageClass ({names}); Kubernetes takes "{defaults[0].name}", the '
            "newest.",
            "Set storage.storageClassName to say which one is meant.",
            _CLASSES,
        )
    sentence = f'The cluster\'s default StorageClass is "{defaults[0].name}".'
    return defaults[0], Finding(check_id, Verdict.PASS, sentence, observed={"bindingMode": defaults[0].binding_mode})


def rwx(chosen: StorageClass, result: RwxSupport, change: str, static: bool = False) -> Finding:
    """The class, or the static volume, gives ReadWriteMany. change: what to set else, in a remedy."""
    check_id = "preflight.storageclass.rwx"
    provisioner = result.provisioner
    source = provisioner.source if provisioner else _ACCESS_MODES
    because = f", by {result.because}" if result.because else ""
    kind = "PersistentVolume" if static else "StorageClass"
    what = f'{kind} "{chosen.name}" (provisioner {chosen.provisioner}{because})'
    why = provisioner.why if provisioner and not result.because else ""
    observed = {"provisioner": chosen.provisioner, "rwx": result.rwx.value, "because": result.because}
    if result.rwx is Rwx.YES:
        return Finding(check_id, Verdict.PASS, f"{what} gives ReadWriteMany volumes.", "", source, observed)
    key = f'hooks.rwxOverrides."{chosen.provisioner}"="yes"'
    if result.rwx is Rwx.NO and why:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{what} {why}, so pods cannot share the cache on it.",
            f"Set {change} {_better(provisioner)}; if you know better, set {key}.",
            source,
            observed,
        )
    if result.rwx is Rwx.NO:
        return Finding(
            check_id,
            Verdict.FAIL,
            f"{what} cannot give ReadWriteMany volumes, so two pods on two nodes could not share the cache.",
            f"Set {change} {_better(provisioner)}; if this provisioner does support RWX here, set {key}.",
            source,
            observed,
        )
    if why:
        return Finding(
            check_id,
            Verdict.WARN,
            f"{what} {why}; the probe will find out on the real volume whether that will do.",
            f"Set {change} {_better(provisioner)}; if you know that it will do, set {key}.",
            source,
            observed,
        )
    return Finding(
        check_id,
        Verdict.WARN,
        f"{what}: it is not known whether it gives ReadWriteMany volumes; the probe will find out on the real volume.",
        f"If you know that it does, set {key}; if it does not, set {change} {_better(provisioner)}.",
        source,
        observed,
    )


def _better(provisioner: Provisioner | None) -> str:
    if provisioner is not None and provisioner.hint:
        return provisioner.hint
    if provisioner is not None and provisioner.shared:
        return f"a class backed by a shared filesystem (here: {provisioner.shared})"
    return f"a class backed by a shared filesystem ({KNOWN_GOOD}, ...)"


def size(chosen: StorageClass, provisioner: Provisioner, rule: SizeRule, asked: str, size_bytes: int | None) -> Finding:
    """storage.size (asked; size_bytes is None when it is no quantity) is one that the backend has."""
    check_id = "preflight.storage.size"
    allowed = f"{rule.min_gi}Gi to {rule.max_gi}Gi in steps of {rule.step_gi}Gi"
    if size_bytes is None:
        return Finding(
            check_id,
            Verdict.FAIL,
            f'storage.size "{asked}" is not a Kubernetes quantity.',
            f"Set storage.size, for example to {rule.min_gi}Gi (allowed here: {allowed}).",
        )
    gi = size_bytes / GI
    below = int((gi - rule.min_gi) // rule.step_gi) * rule.step_gi + rule.min_gi
    fits = rule.min_gi <= gi <= rule.max_gi and gi == below
    observed = {"sizeBytes": size_bytes}
    if fits:
        return Finding(
            check_id, Verdict.PASS, f"storage.size {asked} is one that {chosen.provisioner} has.", observed=observed
        )
    nearest = [min(max(value, rule.min_gi), rule.max_gi) for value in (below, below + rule.step_gi)]
    choice = " or ".join(f"{value}Gi" for value in dict.fromkeys(nearest))
    return Finding(
        check_id,
        Verdict.FAIL,
        f'StorageClass "{chosen.name}" (provisioner {chosen.provisioner}) makes volumes of {allowed}; '
        f"storage.size is {asked}.",
        f"Set storage.size to {choice}.",
        provisioner.source,
        observed,
    )
