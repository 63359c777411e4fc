"""Every alert fires when its fault is made for real, every panel has data, and every metric in the docs is there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import scripts
from tests.acceptance import dashboards
from tests.acceptance.cluster.watching import ANNOTATED, SOONER, fired, firing, watching
from tests.chart.test_dashboards import selected
from tests.cluster.fixtures import NAMESPACE, RELEASE
from tests.cluster.harness import REUSED_TOKENS, Cluster, Release, ask, metrics
from tests.lab import faults, teardown
from tests.lab.cluster import target
from tests.lab.net import node_named
from tests.lab.paths import lab
from tests.lab.prometheus import Prometheus
from tests.patience import eventually

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not target(start=False).is_lab, reason="runs a Prometheus in the lab's network"),
]
# What they prove is proven by other parts.
QUICKLY = tuple(f"hooks.{hook}.enabled=false" for hook in ("preflight", "claim", "probe", "proof"))
# More goes than an operator may want, and at once.
NO_ROOM = f"evictor.config.budget_bytes={8 << 20},evictor.config.grace_s=0,evictor.config.allow_large_removal=true"
IMPOSSIBLE = "hooks.probe.floors.readMiBps=1000000"
# Prompts that pod A stores and pod B asks for once each: an answer stays in the server's own cache.
WARM, DAMAGED, SLOW = range(6), range(10, 13), range(20, 25)
SHORT = 14  # words: two blocks and a bit


def prompt(number: int, words: int = 60) -> str:
    """Ten blocks, different from the first word on: loading so much is surely quicker than computing it."""
    return f"{number} " + " ".join(f"metric{number}x{word}" for word in range(words))


@dataclass
class Pair:
    """Two model servers of the release: what A stores, B reads."""

    release: Release
    prometheus: Prometheus
    a: str
    b: str
    node_of_b: str
    volume: Path  # the claim, as the machine itself mounts it

    def blocks(self) -> set[Path]:
        return set(self.volume.glob("blocks/*/??/*.kvb"))

    def until_stored(self) -> None:
        """Until no more blocks come."""
        counts = [-1]

        def still() -> bool:
            counts.append(len(self.blocks()))
            return counts[-1] == counts[-2] > 0

        eventually(still, "the blocks to be stored", every_s=1)

    def until_loading(self, urls: tuple[str, str]) -> None:
        """Until B loads what A has just stored: after loads that failed or were slow it does without for 30 s."""
        fresh = itertools.count(int(time.time()))

        def loads() -> bool:
            text, before = prompt(next(fresh), 2 * SHORT), metrics(urls[1]).get(REUSED_TOKENS, 0.0)
            ask(urls[0], text, max_tokens=1)
            self.until_stored()
            ask(urls[1], text, max_tokens=1)
            return metrics(urls[1]).get(REUSED_TOKENS, 0.0) > before

        eventually(loads, "B to load from storage", every_s=2)

    def until_firing(self, name: str, **labels: str) -> str:
        """What the alert with these labels says, once it fires."""

        def said() -> str:
            found = [one for one in self.prometheus.alerts() if one["state"] == "firing"]
            wanted = {"alertname": name, **labels}.items()
            return next((one["annotations"]["description"] for one in found if wanted <= one["labels"].items()), "")

        text = str(eventually(said, f"{name} to fire"))
        assert "error" not in text.lower(), text  # of Prometheus' templates
        return text

    def until_scraped(self) -> None:
        """Until all that is scraped has been, from now on. A rate shows only what came between two scrapes."""
        now = time.time()

        def scraped() -> bool:
            found = [s for s in self.prometheus.query("timestamp(up)") if s["metric"]["job"] != ANNOTATED]
            return all(float(s["value"][1]) > now for s in found)

        eventually(scraped, "all to be scraped again")

    def until_silent(self, name: str) -> None:
        eventually(lambda: name not in firing(self.prometheus), f"{name} to end")


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster) -> Iterator[Prometheus]:
    """From before the release is there, which two of the alerts are about."""
    with watching(cluster, lab(), RELEASE, NAMESPACE) as one:
        yield one


@pytest.fixture(scope="module")
def pair(unproven: Release, prometheus: Prometheus) -> Iterator[Pair]:
    unproven.upgrade(*QUICKLY).ok()
    unproven.wait_ready()
    unproven.wait_deployed()
    pods = unproven.ready_pods()
    where = ("-n", unproven.namespace)
    claim = unproven.cluster.get("pvc", f"{unproven.name}-kv-cache", *where)["spec"]["volumeName"]
    a, b = (p["metadata"]["name"] for p in pods)
    yield Pair(unproven, prometheus, a, b, pods[1]["spec"]["nodeName"], lab().ceph / "root" / "volumes" / claim)
    # The failed probe goes, and the budget is what it was.
    unproven.upgrade(*QUICKLY).ok()
    unproven.cluster.kubectl("delete", "job", *where, f"{unproven.name}-probe", "--ignore-not-found").ok()


@pytest.fixture(scope="module")
def urls(pair: Pair) -> Iterator[tuple[str, str]]:
    with pair.release.vllm(pair.a) as a, pair.release.vllm(pair.b) as b:
        yield a, b


@pytest.fixture(scope="module")
def stored(pair: Pair, urls: tuple[str, str]) -> set[Path]:
    """All prompts, stored by A. The files of the blocks of DAMAGED."""
    for text in (*map(prompt, WARM), *(prompt(number, SHORT) for number in SLOW)):
        ask(urls[0], text, max_tokens=1)
    pair.until_stored()
    before = pair.blocks()
    for number in DAMAGED:
        ask(urls[0], prompt(number), max_tokens=1)
    pair.until_stored()
    found = pair.blocks() - before
    assert len(found) >= 2 * len(DAMAGED)
    return found


def test_a_release_that_is_not_there_is_warned_of(pair: Pair) -> None:
    """Prometheus was there before the release."""
    assert {"LlmdStorageNoMetrics", "LlmdStoragePickerDown"} <= fired(pair.prometheus)
    for name in ("LlmdStorageNoMetrics", "LlmdStoragePickerDown", "LlmdStorageEvictorStalled"):
        pair.until_silent(name)


def test_taking_the_lab_down_ends_prometheus_too(pair: Pair) -> None:
    """However the tests end."""
    running = {teardown.name_of(pid) for pid in teardown.processes(lab())}
    assert {"prometheus", "kube-state-metr"} <= running, "a process is known by 15 letters"


def test_monitors_and_annotations_lead_to_the_same_pods(pair: Pair) -> None:
    def scraped(annotated: bool) -> list[dict[str, Any]]:
        pools = (ANNOTATED,) if annotated else ("podMonitor", "serviceMonitor")
        return [t for t in pair.prometheus.targets() if t["scrapePool"].partition("/")[0] in pools]

    def places(annotated: bool) -> list[tuple[str, str]]:
        return sorted((t["labels"]["pod"], t["scrapeUrl"]) for t in scraped(annotated))

    def all_up() -> bool:
        return len(scraped(False)) == 6 and all(t["health"] == "up" for t in scraped(False))

    eventually(all_up, "two model servers, two evictors and two pickers")
    assert places(annotated=True) == places(annotated=False)


def test_hits_and_what_they_save_are_recorded(pair: Pair, urls: tuple[str, str], stored: set[Path]) -> None:
    with pair.release.cluster.forward(pair.release.namespace, f"deploy/{pair.release.name}-router", 8080) as router:
        for number in WARM:
            ask(urls[1], prompt(number), max_tokens=4)
            ask(router, prompt(number), max_tokens=4)
            pair.until_scraped()

    def recorded(name: str) -> float:
        (sample,) = pair.prometheus.query(f"llmd_storage:{name}") or [{"value": (0, "0")}]
        return float(sample["value"][1])

    rates = ("hit_ratio:rate5m", "compute_seconds_per_token:rate5m", "load_seconds_per_token:rate5m")
    eventually(lambda: all(recorded(name) > 0 for name in rates), f"{rates} to be recorded")
    assert 0 < recorded("budget_used:ratio") < 1


def test_damaged_blocks(pair: Pair, urls: tuple[str, str], stored: set[Path]) -> None:
    pair.until_loading(urls)
    for file in stored:
        with file.open("r+b") as f:
            f.seek(file.stat().st_size // 2)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 0xFF]))
            os.fsync(f.fileno())
    for number in DAMAGED:
        ask(urls[1], prompt(number), max_tokens=1)
    said = pair.until_firing("LlmdStorageCorruptBlocks", pod=pair.b)
    assert 'the rule "payload_checksum"' in said


def test_a_volume_that_something_else_fills(pair: Pair, stored: set[Path]) -> None:
    filler = pair.volume / "filler"
    size = sum(file.stat().st_size for file in pair.volume.rglob("*") if file.is_file())
    try:
        # A file of holes: the claim's quota counts its length.
        with filler.open("wb") as file:
            file.truncate((7 << 30) - size)
        pair.until_firing("LlmdStorageVolumeFull")
    finally:
        filler.unlink(missing_ok=True)
    pair.until_silent("LlmdStorageVolumeFull")


def test_storage_that_hangs(pair: Pair, urls: tuple[str, str], stored: set[Path]) -> None:
    nodes, wanted = [n.name for n in lab().nodes], {"NotUsed", "HitRateFell", "EvictorStalled"}
    pair.until_loading(urls)
    began = time.monotonic()
    for node in nodes:
        faults.send(lab(), f"{node}/ceph-fuse", signal.SIGSTOP)
    try:
        # What a model server knows of its storage is told with its next answer.
        prompts = itertools.count(1000)

        def told() -> bool:
            ask(urls[1], prompt(next(prompts), SHORT), max_tokens=1)
            return {f"LlmdStorage{name}" for name in wanted} <= firing(pair.prometheus)

        # A client that is silent for a minute loses its mount, and does not get it back.
        eventually(told, f"{wanted} to fire", within_s=50)
        pair.until_firing("LlmdStorageNotUsed", pod=pair.b)
    finally:
        for node in nodes:
            faults.send(lab(), f"{node}/ceph-fuse", signal.SIGCONT)
    print(f"\nstorage hung for {time.monotonic() - began:.0f} s")

    def used_again() -> bool:
        ask(urls[1], "Are you well again?", max_tokens=1)  # gauges travel with the engine's steps
        return not {"LlmdStorageNotUsed", "LlmdStorageEvictorStalled"} & firing(pair.prometheus)

    eventually(used_again, "the storage to be used again")


@contextlib.contextmanager
def slow_link(node: str) -> Iterator[None]:
    """Storage, and all else that comes to a node, at a megabit a second."""
    one = lab()
    qdisc = ["ip", "netns", "exec", one.control_netns, "tc", "qdisc"]
    root = ["dev", node_named(one, node).link, "root"]
    subprocess.run([*qdisc, "add", *root, "tbf", "rate", "1mbit", "burst", "16kb", "latency", "2s"], check=True)
    try:
        yield
    finally:
        subprocess.run([*qdisc, "del", *root], check=True)


def test_storage_that_is_slower_than_computing(pair: Pair, urls: tuple[str, str], stored: set[Path]) -> None:
    with slow_link(pair.node_of_b):
        for number in SLOW:
            ask(urls[1], prompt(number, SHORT), max_tokens=1)
            time.sleep(1.2)  # bad loads within a second are one
        again = itertools.count(2000)

        def told() -> bool:
            ask(urls[1], prompt(next(again), SHORT), max_tokens=1)
            return "LlmdStorageNotFaster" in firing(pair.prometheus)

        eventually(told, "LlmdStorageNotFaster to fire")


def test_storage_that_takes_nothing_and_gives_nothing_back(
    pair: Pair, urls: tuple[str, str], stored: set[Path]
) -> None:
    """Read-only folders: nothing can be stored and, over the budget, nothing removed. And a probe fails."""
    folders = [p for p in pair.volume.glob("blocks/*/??") if p.is_dir()]
    modes = {folder: folder.stat().st_mode & 0o7777 for folder in {*folders, *(f.parent for f in folders)}}
    for folder in modes:
        folder.chmod(0o555)
    try:
        for number in range(300, 303):
            ask(urls[0], prompt(number), max_tokens=1)
        said = pair.release.upgrade(*(s for s in QUICKLY if "probe" not in s), NO_ROOM, IMPOSSIBLE)
        assert said.code != 0 and "MiB/s" in said.text, said.out[-2000:]
        pair.until_firing("LlmdStorageWritesPaused", pod=pair.a)
        pair.until_firing("LlmdStorageHookFailed", job_name=f"{pair.release.name}-probe")
        pair.until_firing("LlmdStorageBudgetNear")
        refused = 'sum(llmd_storage_evictor_remove_failures_total{error="eacces"}) > 0'
        eventually(lambda: pair.prometheus.query(refused), "removals to be refused")
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
    # Files that could not be removed are left alone for a minute.
    pair.until_silent("LlmdStorageBudgetNear")

    def stores_again() -> bool:
        for url in urls:  # B may have had something to store, too
            ask(url, f"Do you store again? {time.monotonic()}", max_tokens=1)
        return "LlmdStorageWritesPaused" not in firing(pair.prometheus)

    eventually(stores_again, "writing to go on")


def test_every_alert_has_fired(pair: Pair) -> None:
    assert fired(pair.prometheus) == SOONER.keys()


def test_every_metric_of_others_is_there(pair: Pair) -> None:
    """Of the project's own, some count what no test does on this cluster; the chart's tests hold them to the code."""
    made = scripts.module("charts/tools", "make_metrics")
    listed = {name for one in (*made.VLLM, *made.PICKER, *made.STATE) for name in one.samples}
    assert listed <= pair.prometheus.names(), listed - pair.prometheus.names()


@pytest.mark.parametrize("path", dashboards.FILES, ids=lambda path: path.stem)
def test_every_panel_has_data(pair: Pair, path: Path) -> None:
    """The whole of what these tests did, as Grafana would ask for it."""
    empty = []
    for panel in json.loads(path.read_text())["panels"]:
        for one in dashboards.queries(panel, macros(pair, "30m")):
            samples = pair.prometheus.query(one.expr)
            labels = {label for label in one.legend.replace("{{", "\0").split("\0")[1:]}
            named = all(sample["metric"].get(label.partition("}}")[0]) for sample in samples for label in labels)
            if not samples or not named or all(sample["value"][1] == "NaN" for sample in samples):
                empty.append(f"{panel['title']}: {one.expr}")
            assert selected(one.expr) or "ALERTS" in one.expr
    assert not empty, "\n".join(empty)


def macros(pair: Pair, rates: str) -> dict[str, str]:
    """What Grafana would put in. rates: over which time rates are taken."""
    return {
        "$__rate_interval": rates,
        "$__range": "30m",
        "$namespace": pair.release.namespace,
        "$release": pair.release.name,
    }


def test_pictures_of_the_dashboards(pair: Pair) -> None:
    """Of this run, for the docs: whoever commits the record commits them with it."""
    (first,) = pair.prometheus.query("min(min_over_time(timestamp(up)[1h:1m]))")
    begin, end = float(first["value"][1]), time.time()

    def ask(query: dashboards.Query) -> list[dict[str, Any]]:
        if query.instant:
            return pair.prometheus.query(query.expr)
        return pair.prometheus.query_range(query.expr, begin, end)

    pictures = {}
    for path in dashboards.FILES:
        dashboard = json.loads(path.read_text())
        answers = dashboards.asked(dashboard, macros(pair, "1m"), ask)
        pictures[path.stem] = dashboards.draw(dashboard, answers, begin)
        bare = [title for title, lines in answers.items() if not lines]
        assert not bare, f"{path.stem}: nothing to draw in {bare}"
    dashboards.write(pictures)
