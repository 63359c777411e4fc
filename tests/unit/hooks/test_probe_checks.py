# SPDX-License-Identifier: Apache-2.0
"""The probe's verdicts: two pods' observations in, findings out."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from llmd_storage_hooks.core.decoding import decode, encode
from llmd_storage_hooks.probe import checks, facts
from llmd_storage_hooks.probe.checks import completion, eviction, performance, posix, visibility
from llmd_storage_hooks.probe.collect.steps.sequence import STEPS
from llmd_storage_hooks.probe.config import ProbeConfig
from tests.unit.hooks.support import by_id

CONFIG = ProbeConfig(release="demo", namespace="ns", path="/mnt/kv-cache")


def lookups(writer, slow=None, strategy="link"):
    times = {"link": 0.002, "rename_fsync": 0.002, "exclusive": 0.003, "rename": 4.9, **(slow or {})}
    return tuple(facts.Lookup(name, writer, "ok", seconds) for name, seconds in times.items())


def pod(index, node):
    return facts.Pod(index, node, 1000, 1000)


def steps(*last):
    return (facts.StepResult("meet", 0.1, "done"), *last)


MINE = facts.Observations(
    pod=pod(0, "n1"),
    steps=steps(),
    partner=pod(1, "n2"),
    strategy="link",
    lookups=lookups(1),
    publishes=(facts.Publish("link", 0.03),),
    access=facts.Access(1, 1000, 1000, 1000, 1000, "", ""),
    exclusive=facts.Exclusive(4, (0, 2)),
    throughput=(facts.Throughput("write", 2**25, 0.5),),
    free_bytes=10**9,
    total_bytes=10**10,
    clock_offset_seconds=0.25,
    small_files=facts.SmallFiles(0.001, 0.004),
)
THEIRS = facts.Observations(
    pod=pod(1, "n2"),
    steps=steps(),
    partner=pod(0, "n1"),
    strategy="link",
    lookups=lookups(0),
    replace=facts.Replace(100, 20, 0, 0),
    access=facts.Access(0, 1000, 1000, 1000, 1000, "", ""),
    exclusive=facts.Exclusive(4, (1, 3)),
    recreate=facts.Recreate(0.01, "ok", 0.02),
    negative=facts.Negative("missing", 0.02),
    overwrite=facts.Overwrite(4, 0, 0.001),
    housekeeping=facts.Housekeeping(0.01, 0.02, "ok"),
    throughput=(facts.Throughput("read", 2**25, 0.25), facts.Throughput("read", 2**25, 0.125, 8)),
    direct_read=facts.DirectRead("ok"),
)


def test_good_storage_passes_every_check():
    findings = by_id(checks.check(CONFIG, MINE, THEIRS))
    assert {name: one.verdict.value for name, one in findings.items()} == dict.fromkeys(findings, "pass")
    assert set(findings) == {
        "probe.partner",
        "probe.nodes",
        "probe.finished",
        "probe.visibility",
        "probe.firstlookup",
        "probe.rename",
        "probe.permissions",
        "probe.exclusive",
        "probe.recreate",
        "probe.negative",
        "probe.closetoopen",
        "probe.mtime",
        "probe.listing",
        "probe.unlinked",
        "probe.space",
        "probe.directio",
        "probe.throughput",
    }


def test_numbers_are_reported():
    numbers = checks.numbers(MINE, THEIRS)
    assert numbers["firstLookupSeconds"]["rename"] == {"max": 4.9, "median": 4.9, "high": 4.9}
    assert (numbers["writeMiBps"], numbers["readMiBps"]) == (64.0, 128.0)
    assert numbers["readMiBpsAt8"] == 256.0
    assert numbers["freeBytes"] == 10**9
    assert numbers["clockOffsetSeconds"] == 0.25


@pytest.mark.parametrize(("a", "b"), [("n1", "n1"), ("", "n2"), ("n1", ""), ("", "")])
def test_one_node_is_never_a_pass(a, b):
    mine = replace(MINE, pod=pod(0, a), partner=pod(1, b))
    assert completion.nodes(mine).verdict.value == "inconclusive"


def test_a_partner_that_never_came_is_inconclusive_and_names_both_causes():
    mine = facts.Observations(pod=pod(0, "n1"), steps=(facts.StepResult("meet", 60.0, "deadline", "waited"),))
    findings = by_id(checks.check(CONFIG, mine, None))
    finding = findings["probe.partner"]
    assert finding.verdict.value == "inconclusive"
    assert "within 60 s" in finding.sentence
    assert "second node" in finding.sentence
    assert "not shared" in finding.sentence
    assert findings["probe.finished"].verdict.value == "skipped"


@pytest.mark.parametrize(
    ("step", "expected", "said", "remedy"),
    [
        (facts.StepResult("replace", 60.0, "timeout", "no answer within 60 s", "open and read x"), "fail",
         'did not answer in step "replace"', "storage's servers"),
        (facts.StepResult("replace", 1.0, "error", "No space left on device", "write x", errno.ENOSPC), "fail",
         "No space left", "storage.size"),
        (facts.StepResult("meet", 1.0, "error", "Permission denied", "mkdir x", errno.EACCES), "fail",
         "Permission denied", "fsGroup"),
        (facts.StepResult("meet", 1.0, "error", "Read-only file system", "mkdir x", errno.EROFS), "fail",
         "Read-only", "mounted read-only"),
        (facts.StepResult("meet", 1.0, "error", "odd", "mkdir x", errno.EBADF), "fail", "odd", "health"),
        (facts.StepResult("replace", 60.0, "deadline", "waited 60 s"), "fail", "did not end in time", "other pod"),
        (facts.StepResult("replace", 60.0, "aborted", "step x: y"), "fail", "did not end in time", "other pod"),
        (facts.StepResult("replace", 5.0, "stopped", "told to end"), "inconclusive", "told to end", "helm test"),
    ],
)  # fmt: skip
def test_a_step_that_did_not_end_well(step, expected, said, remedy):
    mine = replace(MINE, steps=steps(step))
    finding = by_id(checks.check(CONFIG, mine, THEIRS))["probe.finished"]
    assert finding.verdict.value == expected
    assert said in finding.sentence
    assert remedy in finding.remedy


def test_the_pod_that_met_the_trouble_is_named_not_the_one_that_waited():
    mine = replace(MINE, steps=steps(facts.StepResult("replace", 60.0, "aborted", "told")))
    theirs = replace(THEIRS, steps=steps(facts.StepResult("replace", 1.0, "error", "No space", "write", errno.ENOSPC)))
    finding = completion.finished(CONFIG, mine, theirs)
    assert "pod 1" in finding.sentence
    assert "full" in finding.remedy


def test_without_the_other_pods_observations_nothing_is_claimed():
    findings = by_id(checks.check(CONFIG, MINE, None))
    assert findings["probe.finished"].verdict.value == "inconclusive"
    for name in ("rename", "permissions", "exclusive", "recreate", "negative"):
        assert findings[f"probe.{name}"].verdict.value == "skipped"


def test_nothing_observed_is_skipped():
    empty = replace(MINE, lookups=(), throughput=())
    findings = by_id(checks.check(CONFIG, empty, None))
    for name in ("visibility", "firstlookup", "throughput"):
        assert findings[f"probe.{name}"].verdict.value == "skipped"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (facts.Lookup("link", 0, "missing", 0.5), "pass"),
        (facts.Lookup("link", 0, "missing", None), "fail"),
        (facts.Lookup("link", 0, "wrong", 0.5), "fail"),
        (facts.Lookup("link", 0, "wrong", None), "fail"),
        (facts.Lookup("exclusive", 0, "wrong", 0.1), "pass"),  # seen while it was written
    ],
)
def test_visibility(one, expected):
    assert visibility.visibility((*lookups(0), one)).verdict.value == expected


def test_a_slow_first_lookup_warns_with_the_quicker_way():
    finding = visibility.first_lookup(lookups(0, {"link": 4.8}), "link")
    assert finding.verdict.value == "warn"
    assert "4.8 s" in finding.sentence
    assert "modelserver.storageTier.publish=rename_fsync" in finding.remedy


def test_one_slow_look_among_many_is_an_outlier_two_are_not():
    quick = tuple(facts.Lookup("link", 0, "ok", 0.01) for _ in range(6))
    slow = facts.Lookup("link", 0, "ok", 3.0)
    assert visibility.first_lookup((*quick, slow), "link").verdict.value == "pass"
    assert visibility.first_lookup((*quick, slow, slow), "link").verdict.value == "warn"


def test_where_every_way_is_slow_the_mount_is_to_blame():
    slow = dict.fromkeys(("link", "rename_fsync", "exclusive", "rename"), 3.0)
    finding = visibility.first_lookup(lookups(0, slow), "link")
    assert finding.verdict.value == "warn"
    assert "lookupcache" in finding.remedy


def test_a_strategy_without_numbers_is_skipped():
    assert visibility.first_lookup(lookups(0), "other").verdict.value == "skipped"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (facts.Replace(100, 20, 0, 0), "pass"),
        (facts.Replace(100, 20, 1, 0), "fail"),
        (facts.Replace(100, 20, 0, 3), "warn"),
        (facts.Replace(100, 1, 0, 0), "warn"),
    ],
)
def test_rename(one, expected):
    assert posix.rename(replace(THEIRS, replace=one)).verdict.value == expected


@pytest.mark.parametrize(
    ("one", "expected", "said"),
    [
        (facts.Access(0, 1000, 1000, 1000, 1000, "Permission denied", ""), "fail", "cannot read"),
        (facts.Access(0, 1000, 1000, 1000, 1000, "", "Permission denied"), "fail", "cannot delete"),
        (facts.Access(0, 1000, 1000, 65534, 65534, "", ""), "warn", "maps users"),
    ],
)
def test_permissions(one, expected, said):
    finding = posix.permissions(MINE, replace(THEIRS, access=one))
    assert finding.verdict.value == expected
    assert said in finding.sentence


@pytest.mark.parametrize(("first", "second"), [((0, 1, 2), (2, 3)), ((0,), (2, 3))])
def test_exclusive_create_with_two_winners_or_none(first, second):
    mine = replace(MINE, exclusive=facts.Exclusive(4, first))
    theirs = replace(THEIRS, exclusive=facts.Exclusive(4, second))
    assert posix.exclusive(mine, theirs).verdict.value == "fail"


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (facts.Recreate(0.1, "missing", 0.5), "pass"),
        (facts.Recreate(3.0, "ok", 0.1), "warn"),
        (facts.Recreate(None, "ok", 0.1), "warn"),
        (facts.Recreate(0.1, "missing", 2.0), "warn"),
        (facts.Recreate(0.1, "old", 0.5), "warn"),  # whole, and a block's name stands for one content
        (facts.Recreate(0.1, "old", None), "warn"),
        (facts.Recreate(0.1, "old", 0.5, torn=1), "fail"),
        (facts.Recreate(0.1, "wrong", 0.5), "fail"),
        (facts.Recreate(0.1, "missing", None), "fail"),
    ],
)
def test_recreate(one, expected):
    finding = visibility.recreate(replace(THEIRS, recreate=one))
    assert finding.verdict.value == expected


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (facts.Negative("ok", 0.01), "pass"),
        (facts.Negative("missing", 3.0), "warn"),
        (facts.Negative("missing", None), "fail"),
    ],
)
def test_negative(one, expected):
    assert visibility.negative(replace(THEIRS, negative=one)).verdict.value == expected


@pytest.mark.parametrize(
    ("floors", "expected"),
    # One stream gives 128, eight give 256: what a parallel filesystem is bought for.
    [({}, "pass"), ({"readMiBps": 200}, "pass"), ({"readMiBps": 500}, "fail"), ({"writeMiBps": 100}, "fail")],
)
def test_throughput_floors(floors, expected):
    config = replace(CONFIG, floors=floors)
    assert performance.throughput(config, MINE, THEIRS).verdict.value == expected


def test_observations_survive_the_hand_over():
    assert decode(facts.Observations, encode(THEIRS)) == THEIRS
    assert decode(facts.Observations, encode(MINE)) == MINE


def test_step_names_are_unique():
    assert len({name for name, _ in STEPS}) == len(STEPS)


@pytest.mark.parametrize(
    ("one", "setting", "expected", "said"),
    [
        (facts.DirectRead("ok"), "on", "pass", "what was written"),
        (facts.DirectRead("refused", "Invalid argument"), "auto", "pass", "page cache"),
        (facts.DirectRead("refused", "Invalid argument"), "on", "fail", "Invalid argument"),
        (facts.DirectRead("wrong"), "auto", "fail", "other bytes"),
        (facts.DirectRead("wrong"), "off", "warn", "other bytes"),
    ],
)
def test_reading_past_the_page_cache(one, setting, expected, said):
    finding = performance.direct_read(replace(CONFIG, direct_io=setting), replace(THEIRS, direct_read=one))
    by_id([finding])
    assert finding.verdict.value == expected
    assert said in finding.sentence


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [(10**9, 10**10, "pass"), (10**8, 10**9, "warn"), (10**9, 10**12, "warn"), (0, 10**9, "warn")],
)
def test_a_volume_that_is_nearly_full_warns(free, total, expected):
    assert performance.space(replace(MINE, free_bytes=free, total_bytes=total)).verdict.value == expected


@pytest.mark.parametrize(
    ("free", "total", "expected", "said"),
    [
        (0, 10**6, "fail", "no inode is left"),
        (5000, 10**6, "warn", "only 5000 of 1000000 inodes"),
        (900_000, 10**6, "pass", ""),
        (None, None, "pass", ""),  # btrfs and CephFS have no such limit
    ],
)
def test_a_volume_without_inodes_is_full_however_many_bytes_are_free(free, total, expected, said):
    finding = performance.space(replace(MINE, free_inodes=free, total_inodes=total))
    by_id([finding])
    assert finding.verdict.value == expected
    assert said in finding.sentence


def test_options_of_the_mount_that_explain_a_late_view_are_named():
    late = replace(
        THEIRS,
        caching=("actimeo=30",),
        negative=facts.Negative("missing", 29.0),
        recreate=facts.Recreate(28.0, "ok", 0.1),
        housekeeping=facts.Housekeeping(30.0, 30.0, "ok"),
    )
    for check in (visibility.negative, visibility.recreate, eviction.mtime, eviction.listing):
        finding = check(late)
        by_id([finding])
        assert finding.verdict.value == "warn"
        assert "mounts it with actimeo=30" in finding.remedy
        assert "mounts it with" not in check(replace(late, caching=())).remedy


SELINUX = (
    "Permission denied; /x belongs to 1000:1000, mode 0770; owner and mode allow it, SELinux does not: this pod ..."
)


def test_a_denial_of_selinux_is_named_as_one():
    """The remedy for owners and modes would send one looking in the wrong place for hours."""
    step = facts.StepResult("meet", 0.1, "error", SELINUX, "mkdir .probe", errno.EACCES)
    by_step = completion.finished(CONFIG, replace(MINE, steps=(step,)), None)
    by_file = posix.permissions(MINE, replace(THEIRS, access=facts.Access(0, 1, 1, 1, 1, SELINUX, "")))
    for finding in (by_step, by_file):
        by_id([finding])
        assert finding.verdict.value == "fail"
        assert "SELinux does not" in finding.sentence
        assert "global.podSecurity.seLinuxOptions" in finding.remedy
    plain = replace(step, detail="Permission denied; /x belongs to 0:0, mode 0755")
    assert "fsGroup" in completion.finished(CONFIG, replace(MINE, steps=(plain,)), None).remedy


@pytest.mark.parametrize(
    ("overwrite", "verdict", "words"),
    [
        (facts.Overwrite(4, 0, 0.002), "pass", "4 of 4 rewritten files"),
        (facts.Overwrite(4, 3, 1.02), "fail", "with its old content, 3 of 4 times, for up to 1.0 s"),
        (facts.Overwrite(4, 4, None), "fail", "and never saw the new content"),
        (None, "skipped", "Not reached"),
    ],
)
def test_stale_content_on_open_is_refused_by_the_propertys_name(overwrite, verdict, words):
    found = by_id([visibility.close_to_open(replace(THEIRS, overwrite=overwrite))])["probe.closetoopen"]
    assert (found.verdict, words in found.sentence) == (verdict, True), found
    if verdict == "fail":
        assert found.sentence.startswith("No close-to-open consistency")
        assert "GlusterFS" in found.remedy


@pytest.mark.parametrize(
    ("changes", "check_id", "verdict", "words"),
    [
        ({"mtime_seconds": None}, "probe.mtime", "warn", "did not see it"),
        ({"mtime_seconds": 9.0}, "probe.mtime", "warn", "saw it after 9.0 s"),
        ({"listed_seconds": None}, "probe.listing", "warn", "not at all"),
        ({"listed_seconds": 6.0}, "probe.listing", "warn", "after 6.0 s"),
        ({"unlinked": "Stale file handle"}, "probe.unlinked", "pass", "(Stale file handle): a miss"),
        ({"unlinked": "wrong"}, "probe.unlinked", "fail", "other bytes"),
    ],
)
def test_what_the_evictor_relies_on(changes, check_id, verdict, words):
    theirs = replace(THEIRS, housekeeping=replace(THEIRS.housekeeping, **changes))
    found = by_id([eviction.mtime(theirs), eviction.listing(theirs), eviction.unlinked(theirs)])
    assert (found[check_id].verdict, words in found[check_id].sentence) == (verdict, True), found[check_id]
    assert sum(one.verdict != "pass" for one in found.values()) == (verdict != "pass")


@pytest.mark.parametrize("check", [eviction.mtime, eviction.listing, eviction.unlinked, visibility.close_to_open])
def test_what_pod_1_did_not_come_to_is_not_reached(check):
    assert check(None).verdict == "skipped"
    assert check(replace(THEIRS, housekeeping=None, overwrite=None)).verdict == "skipped"


def test_small_files_and_staleness_are_in_the_numbers():
    found = checks.numbers(MINE, THEIRS)
    assert (found["createSeconds"], found["fsyncSeconds"], found["staleSeconds"]) == (0.001, 0.004, 0.001)
