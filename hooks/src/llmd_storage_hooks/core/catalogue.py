# SPDX-License-Identifier: Apache-2.0
"""Every check: its question, its possible verdicts, a link.

`python -m llmd_storage_hooks.core.catalogue` prints the table of docs/hooks.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llmd_storage_hooks.core.verdicts import Finding

_K8S = "https://kubernetes.io/docs"
_OURS = "docs/hooks.md"  # in this repository
_MAN = "https://man7.org/linux/man-pages"


@dataclass(frozen=True, slots=True)
class Check:
    """id: `<...>` stands for a name. ends: the verdicts that it can have besides pass and skipped."""

    id: str
    asks: str
    ends: str
    link: str = _OURS

    def covers(self, check_id: str) -> bool:
        pattern = re.sub(r"<[^>]+>", "[A-Za-z0-9._-]+", self.id.replace(".", r"\."))
        return re.fullmatch(pattern, check_id) is not None


CHECKS = (
    Check("preflight.kubernetes.version", "Does the API server answer, and is it recent enough?", "warn, inconclusive",
          "https://kubernetes.io/releases/"),
    Check("preflight.crd.<plural>", "Is this kind served in the version that the release makes?", "fail, warn",
          f"{_K8S}/concepts/extend-kubernetes/api-extension/custom-resources/"),
    Check("preflight.gatewayclass", "Is there the GatewayClass, and has a controller accepted it?", "fail, warn",
          "https://gateway-api.sigs.k8s.io/api-types/gatewayclass/"),
    Check("preflight.accelerator.count", "Do the nodes open to the model servers have accelerators for all replicas?",
          "fail, warn", f"{_K8S}/tasks/manage-gpus/scheduling-gpus/"),
    Check("preflight.accelerator.claims", "Are the ResourceClaims, or templates, of accelerators there, and enough?",
          "fail, warn", f"{_K8S}/concepts/scheduling-eviction/dynamic-resource-allocation/"),
    Check("preflight.nodes.taints", "Do taints or the node selector leave two nodes?", "fail, warn",
          f"{_K8S}/concepts/scheduling-eviction/taint-and-toleration/"),
    Check("preflight.nodes.room", "Do the nodes have memory and CPU for all replicas, by their allocatable resources?",
          "fail, warn", f"{_K8S}/concepts/configuration/manage-resources-containers/"),
    Check("preflight.memory.shm", "Does the CPU tier fit into shared memory and into the pods' memory?", "fail, warn",
          f"{_K8S}/concepts/storage/volumes/#emptydir"),
    Check("preflight.namespace.quota", "Does the release fit the namespace's ResourceQuotas?", "fail, warn",
          f"{_K8S}/concepts/policy/resource-quotas/"),
    Check("preflight.namespace.limits", "Does it keep to the namespace's LimitRanges?", "fail, warn",
          f"{_K8S}/concepts/policy/limit-range/"),
    Check("preflight.namespace.podsecurity", "Do the pods fit the Pod Security level that the namespace enforces?",
          "fail, warn", f"{_K8S}/concepts/security/pod-security-standards/"),
    Check("preflight.storageclass.exists", "Is there the StorageClass, or a default; is the name of a new one free?",
          "fail, warn", f"{_K8S}/concepts/storage/storage-classes/"),
    Check("preflight.storageclass.rwx", "Does the provisioner give ReadWriteMany filesystems?", "fail, warn",
          f"{_K8S}/concepts/storage/persistent-volumes/#access-modes"),
    Check("preflight.storage.size", "Is storage.size one that the backend has?", "fail",
          f"{_K8S}/concepts/storage/persistent-volumes/#resources"),
    Check("preflight.claim.usable", "Is the claim that the user brings ReadWriteMany, bound and large enough?",
          "fail, warn", f"{_K8S}/concepts/storage/persistent-volumes/#persistentvolumeclaims"),
    Check("preflight.claim.kept", "Does the release's own claim, kept from before, fit the values; is it its own?",
          "fail", f"{_K8S}/concepts/storage/persistent-volumes/#persistentvolumeclaims"),
    Check("preflight.claim.model", "Can every replica mount the claim that the model is read from?", "fail, warn",
          f"{_K8S}/concepts/storage/persistent-volumes/#access-modes"),
    Check("preflight.secret.<name>", "Is there the Secret with its key, not empty? Its content is not looked at.",
          "fail, warn", f"{_K8S}/concepts/configuration/secret/"),
    Check("claim.bound", "Is the claim bound, and if not, what does the provisioner or the scheduler say?",
          "fail, inconclusive", f"{_K8S}/concepts/storage/persistent-volumes/#binding"),
    Check("claim.mounted", "Have the model servers' pods mounted it, and if not, what does the kubelet say?",
          "fail, warn", f"{_K8S}/concepts/storage/volumes/"),
    Check("probe.environment", "Does the environment say which of the two pods this is?", "inconclusive"),
    Check("probe.job", "Could the Job be made that `probe --claim` starts, and did its first pod start?",
          "fail, inconclusive"),
    Check("probe.partner", "Did both pods meet over the volume, and if not: why did the second one not start?",
          "fail, inconclusive", f"{_K8S}/concepts/storage/persistent-volumes/#access-modes"),
    Check("probe.nodes", "Were they on two nodes?", "inconclusive"),
    Check("probe.finished", "Did every step end in time and without an error; which call did not?",
          "fail, inconclusive"),
    Check("probe.visibility", "Is what one pod published read whole by the other?", "fail", f"{_MAN}/man5/nfs.5.html"),
    Check("probe.firstlookup", "Is a block that was just published found by the other node within a second?", "warn"),
    Check("probe.rename", "Is rename atomic for a reader on the other node?", "fail, warn",
          f"{_MAN}/man2/rename.2.html"),
    Check("probe.permissions", "May each pod read and delete the other's files, under the same user?", "fail, warn",
          f"{_K8S}/tasks/configure-pod-container/security-context/"),
    Check("probe.exclusive", "Does exclusive create have one winner?", "fail", f"{_MAN}/man2/open.2.html"),
    Check("probe.recreate", "Is a file that was deleted and created again read whole, and with its new content?",
          "fail, warn",
          f"{_MAN}/man5/nfs.5.html"),
    Check("probe.negative", "Is a name that was looked up too early found once it exists?", "fail, warn",
          f"{_MAN}/man5/nfs.5.html"),
    Check("probe.closetoopen", "Does opening a file give what the other node had written and closed before?", "fail",
          f"{_MAN}/man5/nfs.5.html"),
    Check("probe.mtime", "Does the other node see a changed mtime, by which the evictor evicts?", "warn"),
    Check("probe.listing", "Does the other node's listing show a new file soon?", "warn"),
    Check("probe.unlinked", "Does a reader of a file that is deleted get its bytes, or an error, but nothing else?",
          "fail"),
    Check("probe.directio", "Do reads past the page cache give what was written?", "fail, warn",
          f"{_MAN}/man2/open.2.html"),
    Check("probe.space", "Is there room on the volume, in bytes and in inodes?", "fail, warn"),
    Check("probe.throughput", "Is the volume as fast as hooks.probe.floors asks, with several files at once?", "fail"),
    Check("proof.pods", "Are two model servers ready, and if not: what do their pods say?", "fail, inconclusive"),
    Check("proof.nodes", "Are they on two nodes?", "warn"),
    Check("proof.api", "Can servers without completions be asked through chat?", "fail"),
    Check("proof.stable", "Did a server that was ready stop working during the proof?", "fail"),
    Check("proof.servers", "Could the servers' metrics be read?", "inconclusive"),
    Check("proof.prompt", "Does the prompt fill at least one block?", "fail"),
    Check("proof.answer.<a or b>", "Did this server answer?", "fail"),
    Check("proof.stored", "Did A write the prompt's blocks to storage, and if not: why not?", "fail, warn"),
    Check("proof.quiet", "Is it known what B reused of this prompt, whatever else it answered?", "inconclusive"),
    Check("proof.reuse", "Did B take the prompt's blocks from the cache, and if not: why not?", "fail, inconclusive"),
    Check("proof.source", "Did they come from storage, not from B's own memory?", "fail, inconclusive"),
    Check("proof.tokens", "Are B's tokens A's, but for near-ties of A's own?", "fail, warn"),
    Check("proof.logprobs", "Are the log probabilities close?", "warn"),
    Check("proof.ttft", "Was B's first token sooner than A's?", "warn"),
    Check("proof.readers", "With more than two replicas: do the further pods take it from storage, too?",
          "fail, inconclusive"),
    Check("proof.router.answer", "Did the router answer the same prompt?", "fail"),
    Check("proof.router.tokens", "With A's tokens, but for near-ties?", "fail, warn"),
    Check("<hook>.internal", "Did the hook itself break?", "inconclusive"),
    Check("<hook>.finished", "Was the hook stopped (SIGTERM) before it was done?", "inconclusive"),
)  # fmt: skip


def find(check_id: str) -> Check | None:
    """The entry of a finding's id."""
    return next((one for one in CHECKS if one.covers(check_id)), None)


def nearest(check_id: str) -> str:
    """A hint for an error message about an unknown id."""
    close = difflib.get_close_matches(check_id, [one.id for one in CHECKS], n=1)
    return f'Did you mean "{close[0]}"?' if close else f"All of them: {_OURS}."


def with_links(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding with a link: its own, or its check's."""
    return [replace(one, link=one.link or _link(one.id)) for one in findings]


def _link(check_id: str) -> str:
    check = find(check_id)
    return check.link if check else _OURS


def markdown() -> str:
    """The table of docs/hooks.md."""
    lines = ["| check | asks | besides pass | read on |", "| --- | --- | --- | --- |"]
    for one in CHECKS:
        link = "" if one.link == _OURS else f"[docs]({one.link})"
        lines.append(f"| `{one.id}` | {one.asks} | {one.ends} | {link} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
