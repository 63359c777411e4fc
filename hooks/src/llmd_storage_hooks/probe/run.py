# SPDX-License-Identifier: Apache-2.0
"""Probe: one of the two pods of an Indexed Job. Pod 1 sends pod 0 what it observed; pod 0 reports."""

from __future__ import annotations

import os
import time
from pathlib import Path

from llmd_storage_hooks.core.clock import SystemClock
from llmd_storage_hooks.core.errors import CollectError
from llmd_storage_hooks.core.kube import read
from llmd_storage_hooks.core.kube.api import Kube, KubeApi
from llmd_storage_hooks.core.kube.objects import Unknown
from llmd_storage_hooks.core.kube.volume_errors import last_warning
from llmd_storage_hooks.core.output import say
from llmd_storage_hooks.core.result import HookResult
from llmd_storage_hooks.core.verdicts import Finding, Verdict
from llmd_storage_hooks.probe import checks
from llmd_storage_hooks.probe.collect.files import Files
from llmd_storage_hooks.probe.collect.peer import Peer
from llmd_storage_hooks.probe.config import ProbeConfig
from llmd_storage_hooks.probe.facts import ObservedPod, Rank

LINGER_S = 15.0
# Labels of the pods of an Indexed Job; the chart passes the first one on as PROBE_RUN_ID.
RUN_LABEL = "batch.kubernetes.io/controller-uid"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def run(config: ProbeConfig) -> HookResult:
    """Blocks up to: timeoutSeconds and a few seconds to exchange observations and clean up."""
    rank = _rank()
    if isinstance(rank, Finding):
        return HookResult([rank])
    peer = Peer(config, rank, Files(Path(config.path)), SystemClock(), say)
    return run_rank_0(config, peer) if rank.index == 0 else run_rank_1(config, peer)


def run_rank_0(config: ProbeConfig, peer: Peer) -> HookResult:
    """Pod 0 has both pods' observations and reports."""
    other = _Other(config, peer.rank)
    try:
        mine = peer.run_steps(other.runs)
        theirs = peer.receive_observations() if peer.met() and not peer.timed_out() else None
    finally:
        peer.clean_up()
    return HookResult(checks.check(config, mine, theirs, other.seen), checks.numbers(mine, theirs))


class _Other:
    """The other pod, as it was last looked at. Thread: the caller's."""

    def __init__(self, config: ProbeConfig, rank: Rank) -> None:
        self._config, self._rank = config, rank
        self.seen: ObservedPod | None = None

    @property
    def ran(self) -> bool:
        return self.seen is not None and self.seen.ran

    def runs(self) -> bool:
        """Looks at it."""
        self.seen = observe_other(self._config, self._rank)
        return self.ran


def observe_other(config: ProbeConfig, rank: Rank, kube: KubeApi | None = None) -> ObservedPod | None:
    """The other pod as the API server shows it, when it did not show up on the volume; None when it cannot be read."""
    try:
        kube = kube or Kube.connect()
    except CollectError:
        return None
    labels = {RUN_LABEL: rank.run_id, INDEX_LABEL: str(1 - rank.index)}
    found = read.pods(kube, config.namespace, labels)
    if isinstance(found, Unknown) or not found:
        return None
    return ObservedPod(found[-1], last_warning(found[-1].name, read.events(kube, config.namespace)))


def run_rank_1(config: ProbeConfig, peer: Peer) -> HookResult:
    """Pod 1 exits with 0 when pod 0 has its observations: a failed pod would end the Job before pod 0 has reported."""
    sent, other = False, _Other(config, peer.rank)
    try:
        mine = peer.run_steps(other.runs)
        if peer.met() and not peer.timed_out() and peer.send_observations():
            sent = True
            say("probe[1] handed over; pod 0 has the report.")
            return HookResult([], silent=True)
        if other.ran and not peer.met() and not peer.stopped():
            say("probe[1] pod 0 runs and is not seen on the volume; it has the report.")
            return HookResult([], silent=True)
        if peer.met() and not peer.stopped():
            # A failed pod ends the Job, and with it pod 0: leave pod 0 time to reach its own deadline and report.
            time.sleep(LINGER_S)
    finally:
        if not sent:
            peer.clean_up()
    return HookResult(checks.check(config, mine, None), checks.numbers(mine, None))


def _rank() -> Rank | Finding:
    """From the environment that the Job sets; a finding when it does not."""
    index = os.environ.get("JOB_COMPLETION_INDEX", "")
    run_id = os.environ.get("PROBE_RUN_ID", "")
    safe = bool(run_id) and all(ch.isalnum() or ch in "-_." for ch in run_id) and not run_id.startswith(".")
    if index in ("0", "1") and safe:
        return Rank(int(index), run_id, os.environ.get("NODE_NAME", ""))
    return Finding(
        "probe.environment",
        Verdict.INCONCLUSIVE,
        f'The probe needs JOB_COMPLETION_INDEX (0 or 1; it is "{index}") and PROBE_RUN_ID (a plain name, the '
        f'same in both pods; it is "{run_id}").',
        "Run it as the chart's Job does: an Indexed Job of two completions.",
    )
