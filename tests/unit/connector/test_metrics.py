# SPDX-License-Identifier: Apache-2.0
"""A user would lose: metrics that add up, or an engine's memory and IPC to samples nobody reads."""

from __future__ import annotations

import itertools
import threading

import pytest

from llmd_storage_connector.telemetry.metrics import MAX_SAMPLES, METRICS, Counters, MetricKind


def of_kind(kind: MetricKind) -> list[str]:
    return [name for name, metric in METRICS.items() if metric.kind is kind]


def test_counts_are_summed_by_detail_and_taken_once() -> None:
    counters = Counters()
    counters.add("lookup_hits")
    counters.add("lookup_hits", 4)
    counters.add("load_failures", 2, detail="eio")
    counters.add("load_failures", detail="absent")
    counters.add("stored_blocks", 0)
    assert counters.take() == {
        ("lookup_hits", ""): 5,
        ("load_failures", "eio"): 2,
        ("load_failures", "absent"): 1,
    }
    assert counters.take() == {}


def test_what_is_announced_is_sent_once_at_zero_and_counts_on() -> None:
    counters = Counters()
    counters.add("bypassed_requests", detail="media")
    counters.announce("bypassed_requests", ("adapter", "media"))
    assert counters.take() == {("bypassed_requests", "adapter"): 0, ("bypassed_requests", "media"): 1}
    assert counters.take() == {}


def test_samples_keep_their_order_and_are_taken_once() -> None:
    counters = Counters()
    for seconds in (0.5, 0.001, 20.0):
        counters.observe("load_seconds", seconds)
    counters.observe("lookup_seconds", 0.25)
    assert counters.take_samples() == {"load_seconds": [0.5, 0.001, 20.0], "lookup_seconds": [0.25]}
    assert counters.take_samples() == {}
    assert counters.take() == {}


def test_samples_that_nobody_takes_do_not_pile_up_and_do_not_crowd_out_others() -> None:
    counters = Counters()
    for number in range(MAX_SAMPLES + 10):
        counters.observe("store_seconds", float(number))
    counters.observe("load_seconds", 1.0)
    taken = counters.take_samples()
    assert taken["store_seconds"] == [float(number) for number in range(MAX_SAMPLES)]
    assert taken["load_seconds"] == [1.0]
    counters.observe("store_seconds", 7.0)
    assert counters.take_samples() == {"store_seconds": [7.0]}


@pytest.mark.parametrize("name", [*of_kind(MetricKind.GAUGE), *of_kind(MetricKind.HISTOGRAM)])
def test_only_counters_are_counted(name: str) -> None:
    with pytest.raises(AssertionError):
        Counters().add(name, detail="x" if METRICS[name].detail else "")


@pytest.mark.parametrize("name", [*of_kind(MetricKind.GAUGE), *of_kind(MetricKind.COUNTER)])
def test_only_histograms_take_samples(name: str) -> None:
    with pytest.raises(AssertionError):
        Counters().observe(name, 1.0)


def test_a_detail_is_given_exactly_where_the_metric_has_one() -> None:
    with pytest.raises(AssertionError):
        Counters().add("lookup_hits", detail="eio")
    with pytest.raises(AssertionError):
        Counters().add("lookup_misses")


@pytest.mark.parametrize("name", of_kind(MetricKind.HISTOGRAM))
def test_buckets_tell_a_millisecond_from_a_minute(name: str) -> None:
    buckets = METRICS[name].buckets
    assert (buckets[0], buckets[-1]) == (0.001, 60.0)
    assert list(buckets) == sorted(set(buckets))
    assert all(upper <= 2.5 * lower for lower, upper in itertools.pairwise(buckets))


def test_no_count_is_lost_between_threads() -> None:
    counters = Counters()
    taken: list[int] = []

    def count() -> None:
        for _ in range(500):
            counters.add("lookup_hits")
            taken.extend(counters.take().values())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) + sum(counters.take().values()) == 2000
