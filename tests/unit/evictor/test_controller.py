# SPDX-License-Identifier: Apache-2.0
"""A user would lose: a disk that fills, a cache that empties, or files that were never the cache's."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_core.scratch import scratch_name
from llmd_storage_evictor.cache import checkpoint
from llmd_storage_evictor.cache.directory import CacheDirectory, Space
from llmd_storage_evictor.errors import LeadershipLost
from tests.unit.evictor.support import BLOCK, NOW, Namespace, config, evictor, key, make_unreadable, namespace, stamp
from tests.unit.evictor.tail import Tail

DAY = 86400.0


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    return namespace(tmp_path / "blocks")


def test_over_budget_the_oldest_go_down_to_the_low_mark_and_it_is_told(cache: Namespace) -> None:
    for number in range(12):
        cache.store(number, age_s=1000 - number)
    with evictor(config(cache.root)) as bench:
        tail = Tail(bench.directory)
        tail.read()
        bench.round()
        assert cache.numbers() == list(range(4, 12))
        assert bench.removed("budget") == 4
        (record,) = tail.read()
        assert (record.namespace, record.reason) == (cache.name, "budget")
        assert sorted(record.keys) == [key(number).hex() for number in range(4)]
        bench.round()
        assert cache.numbers() == list(range(4, 12)), "within its budget the cache is left alone"


def test_what_was_used_since_it_was_seen_is_skipped(cache: Namespace) -> None:
    for number in range(9):
        cache.store(number, age_s=1000 - number)
    with evictor(config(cache.root)) as bench:
        bench.round()
        stamp(cache.file(0), 1)  # a touch changes no folder, so only a look at the file shows it
        for number in range(9, 12):
            cache.store(number, age_s=2)
        bench.round()
        assert 0 in cache.numbers() and len(cache.numbers()) == 8
        assert bench.metric("skipped_files_total") == 1


def test_pins_quotas_minimums_and_times_to_live(tmp_path: Path) -> None:
    root = tmp_path / "blocks"
    pinned, limited, kept, timed = (namespace(root, dtype=name) for name in ("a", "b", "c", "d"))
    for number in range(5):
        pinned.store(number, age_s=9000)
        limited.store(number, age_s=10 + number)
        kept.store(number, age_s=8000)
        timed.store(number, age_s=100 * number)
    rules = [
        {"namespace": pinned.name, "pinned": True},
        {"namespace": limited.name, "quota_bytes": 3 * BLOCK + 100},
        {"namespace": kept.name, "minimum_bytes": 4 * BLOCK},
        {"namespace": timed.name, "ttl_s": 250},
    ]
    with evictor(config(root, namespaces=rules, budget_bytes=12 * BLOCK)) as bench:
        bench.round()
    assert pinned.numbers() == [0, 1, 2, 3, 4], "pinned, however old"
    assert kept.numbers() in ([1, 2, 3, 4], [0, 1, 2, 3], [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4]), "its minimum stays"
    assert timed.numbers() == [] or max(timed.numbers()) <= 2
    assert len(limited.numbers()) <= 2
    assert bench.removed("ttl") == 2 and bench.removed("quota") == 3


def test_a_disk_that_others_fill_is_relieved_and_only_once(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free space that shows late must not empty the cache."""
    for number in range(8):
        cache.store(number, age_s=1000 - number)
    monkeypatch.setattr(CacheDirectory, "space", lambda self: Space(10**12, 5 * BLOCK, None))
    with evictor(config(cache.root, free_floor_bytes=7 * BLOCK)) as bench:
        bench.round()
        bench.round()
        assert cache.numbers() == list(range(2, 8))
        bench.ticks[0] += 60  # it never showed: someone else took it
        bench.round()
        assert cache.numbers() == list(range(4, 8))
        assert bench.removed("floor") == 4


def test_where_removing_makes_no_room_the_floor_does_not_empty_the_cache(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Snapshots or a trash keep what was removed, or another tenant takes the room at once."""
    for number in range(200):
        cache.store(number, age_s=1000 - number)
    free = [5 * BLOCK]
    monkeypatch.setattr(CacheDirectory, "space", lambda self: Space(10**12, free[0], None))
    with evictor(config(cache.root, budget_bytes=300 * BLOCK, free_floor_bytes=7 * BLOCK)) as bench:
        for _ in range(100):
            bench.round()
            bench.ticks[0] += 30
        assert len(cache.numbers()) == 194, "three times what was lacking, then no more"
        assert bench.metric("floor_given_up") == 1
        assert any("snapshots or a trash" in one.message for one in caplog.records)
        free[0] = 9 * BLOCK  # it shows after all, or somebody has cleared up
        bench.round()
        assert bench.metric("floor_given_up") == 0
        free[0] = 6 * BLOCK
        bench.round()
        assert len(cache.numbers()) == 193, "removing helps again"


def test_a_filesystem_without_a_free_inode_is_relieved_though_it_has_room(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine could store anything, at 98 % of the bytes free."""
    for number in range(9):
        cache.store(number, age_s=1000 - number)
    total = 1000 + 9
    monkeypatch.setattr(
        CacheDirectory, "space", lambda self: Space(10**12, 10**12, total - 1000 - len(cache.numbers()))
    )
    with evictor(config(cache.root, budget_bytes=100 * BLOCK, free_floor_files=3)) as bench:
        for _ in range(5):
            bench.round()
            bench.ticks[0] += 30
        assert cache.numbers() == [3, 4, 5, 6, 7, 8] and bench.removed("inodes") == 3
        assert bench.metric("filesystem_free_files") == 3 and bench.metric("floor_given_up") == 0


def test_inodes_that_do_not_come_back_do_not_cost_the_cache(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        cache.store(number, age_s=1000 - number)
    monkeypatch.setattr(CacheDirectory, "space", lambda self: Space(10**12, 10**12, 0))
    with evictor(config(cache.root, budget_bytes=100 * BLOCK, free_floor_files=1)) as bench:
        for _ in range(100):
            bench.round()
            bench.ticks[0] += 30
        assert len(cache.numbers()) == 6 and bench.metric("floor_given_up") == 1


@pytest.mark.parametrize(("total", "free"), [(0, 0), (5, 2**64 - 1), (5, -1), (0, 7)])
def test_a_filesystem_that_does_not_count_its_files_is_not_taken_for_full(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch, total: int, free: int
) -> None:
    found = SimpleNamespace(f_blocks=9, f_frsize=4096, f_bavail=8, f_files=total, f_favail=free)
    monkeypatch.setattr("llmd_storage_evictor.cache.directory.os.fstatvfs", lambda fd: found)
    assert CacheDirectory(cache.root).space() == Space(9 * 4096, 8 * 4096, None)


def test_what_is_not_the_caches_own_survives_everything(cache: Namespace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(12):
        cache.store(number, age_s=1000 - number)
    (outside / "precious.kvb").write_bytes(b"x" * BLOCK)
    first = cache.path / "00"
    own = first / layout.block_name(key(256))  # the place and name of a block, but not a file
    foreign = [
        first / "notes.txt", cache.path / "ab" / ("AB" * 36 + ".kvb"), first / "zz.kvb", first / ".hidden.tmp",
        cache.path / "01" / layout.block_name(key(256)),  # a block's name in another's folder
        first / ("ab" * 129 + ".kvb")[:200], first / os.fsdecode(b"\xff\xfe odd \n.kvb"),
        cache.root / "README", cache.root / "not-a-namespace" / "00" / layout.block_name(key(0)),
    ]  # fmt: skip
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * BLOCK)
        stamp(path, 900 * DAY)
    own.symlink_to(outside / "precious.kvb")
    os.mkfifo(first / layout.block_name(key(512)))
    (first / layout.block_name(key(768))).mkdir()
    deep = cache.path / "00" / "down" / "/".join(["00"] * 200)
    deep.mkdir(parents=True)
    (deep / layout.block_name(key(0))).write_bytes(b"x" * BLOCK)
    linked = cache.root / ("c" * 32)
    linked.symlink_to(outside, target_is_directory=True)
    (outside / "00").mkdir()
    (outside / "00" / layout.block_name(key(0))).write_bytes(b"x" * BLOCK)
    shutil.rmtree(cache.path / "fe")
    (cache.path / "fe").symlink_to(outside / "00", target_is_directory=True)
    with evictor(config(cache.root, budget_bytes=2, namespace_unused_s=1, probe_dir=str(tmp_path))) as bench:
        bench.round()
        bench.ticks[0] += 10_000
        bench.round()
        assert bench.metric("unknown_files") and bench.metric("unknown_files") >= 8
    assert not any(cache.file(number).exists() for number in range(12)), "the budget was held all the same"
    assert all(path.read_bytes() == b"x" * BLOCK for path in foreign)
    assert (outside / "precious.kvb").exists() and (outside / "00" / layout.block_name(key(0))).exists()
    assert (deep / layout.block_name(key(0))).read_bytes() == b"x" * BLOCK
    assert own.is_symlink() and linked.is_symlink() and (cache.path / "fe").is_symlink()


def test_unfinished_files_of_dead_writers_go_and_those_of_live_ones_stay(cache: Namespace) -> None:
    dead = [cache.path / "ab" / scratch_name("0123456789ab", 3), cache.path / scratch_name("ab" * 6, 0)]
    live = cache.path / "ab" / scratch_name("0123456789ab", 4)
    for path in (*dead, live):
        path.write_bytes(b"x")
        stamp(path, 700)
    stamp(live, 500)
    with evictor(config(cache.root)) as bench:
        bench.round()
        assert bench.removed("scratch") == 2
    assert live.exists() and not any(path.exists() for path in dead)


def test_damaged_files_go_first_and_at_their_age(cache: Namespace) -> None:
    for number in range(8):
        cache.store(number, age_s=5000)
    for number in range(20, 23):
        cache.store(number, damaged=True)
    with evictor(config(cache.root, budget_bytes=11 * BLOCK)) as bench:
        bench.round()
        assert cache.numbers() == list(range(8)), "blocks stay while damaged files make room"
        assert len(list((cache.path / "damaged").iterdir())) == 0
    cache.store(30, damaged=True)
    with evictor(config(cache.root, budget_bytes=99 * BLOCK)) as bench:
        bench.round()
        assert bench.removed("damaged") == 0
        bench.now[0] = (cache.path / "damaged" / layout.block_name(key(30))).stat().st_ctime + 8 * DAY
        bench.now[0] = max(bench.now[0], NOW + 8 * DAY)
        bench.round()
        assert bench.removed("damaged") == 1


def test_a_namespace_that_nobody_uses_goes_and_comes_back_whole(cache: Namespace) -> None:
    used = namespace(cache.root, dtype="other")
    for number in range(3):
        cache.store(number, age_s=40 * DAY)
        used.store(number, age_s=40 * DAY)
    used.store(9, age_s=DAY)
    (cache.path / layout.COLLECTED).touch()
    for path in (cache.path / layout.MANIFEST, cache.path, used.path / layout.MANIFEST, used.path):
        stamp(path, 40 * DAY)
    with evictor(config(cache.root)) as bench:
        bench.round()
        assert bench.removed("unused") == 3
    assert not cache.path.exists() and used.numbers() == [0, 1, 2, 9]


def test_dead_probes_go_and_live_ones_stay(cache: Namespace, tmp_path: Path) -> None:
    probes = tmp_path / ".probe"
    for name in ("dead", "live", "not-a-probe"):
        (probes / name / ("channel" if name != "not-a-probe" else "letters")).mkdir(parents=True)
        (probes / name / "lookup-0" / "3").mkdir(parents=True)
        (probes / name / "lookup-0" / "3" / "block").write_bytes(b"x")
    for path in [*probes.rglob("*")]:
        stamp(path, 3 * DAY)
    stamp(probes / "live" / "lookup-0" / "3" / "block", 60)
    with evictor(config(cache.root, probe_dir=str(probes))) as bench:
        bench.round()
    assert sorted(path.name for path in probes.iterdir()) == ["live", "not-a-probe"]


def test_whoever_may_not_remove_removes_nothing(cache: Namespace) -> None:
    for number in range(12):
        cache.store(number, age_s=1000)
    with evictor(config(cache.root)) as bench:
        bench.may[0] = False
        with pytest.raises(LeadershipLost):
            bench.round()
    assert len(cache.numbers()) == 12


def test_a_dry_run_writes_nothing(cache: Namespace) -> None:
    for number in range(12):
        cache.store(number, age_s=1000)
    before = sorted(cache.root.rglob("*"))
    with evictor(config(cache.root, dry_run=True)) as bench:
        assert bench.round() > 0
    assert sorted(cache.root.rglob("*")) == before


def test_what_cannot_be_removed_stops_nothing_else(cache: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file with a broken owner must not fill the disk."""
    for number in range(12):
        cache.store(number, age_s=1000 - number)
    stubborn = layout.block_name(key(0))
    unlink = os.unlink

    def refusing(path: str, **named: int) -> None:
        if path == stubborn:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, **named)

    monkeypatch.setattr("llmd_storage_evictor.cache.remover.os.unlink", refusing)
    with evictor(config(cache.root)) as bench:
        bench.round()
        assert cache.numbers() == [0, *range(5, 12)]
        failures = {"error": "eperm"}
        assert bench.metrics.registry.get_sample_value("llmd_storage_evictor_remove_failures_total", failures) == 1


def test_a_new_leader_knows_what_the_last_one_knew(cache: Namespace) -> None:
    for number in range(7):
        cache.store(number, age_s=1000 - number)
    with evictor(config(cache.root)) as bench:
        bench.round()
        bench.controller.close()
        known = checkpoint.load(bench.directory)
        assert sum(held.files for held in known.usage().values()) == 7
    cache.file(3).unlink()
    for number in range(7, 12):
        cache.store(number, age_s=10)
    with evictor(config(cache.root)) as bench:
        bench.round()
        assert cache.numbers() == [4, 5, 6, 7, 8, 9, 10, 11], "what changed meanwhile was seen"


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(
    cache: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        cache.store(number, age_s=1000 - number)
    make_unreadable(monkeypatch, "05", OSError(5, "Input/output error"))
    with evictor(config(cache.root)) as bench:
        bench.round()
        errors = {"error": "eio"}
        assert bench.metrics.registry.get_sample_value("llmd_storage_evictor_storage_errors_total", errors) == 1
    assert 5 in cache.numbers() and len(cache.numbers()) == 9


def test_readers_are_advised(cache: Namespace) -> None:
    for number in range(8):
        cache.store(number, age_s=800)
    with evictor(config(cache.root)) as bench:
        bench.round()
    assert '"touchAfterS": 100.0' in (cache.root / ".evictor" / "advice.json").read_text()


def test_who_holds_what_and_how_old_it_went_is_told_by_model(cache: Namespace) -> None:
    """A user would lose: an evening, to find out whose blocks fill the disk."""
    shutil.rmtree(cache.path)
    named = namespace(cache.root, weights={"model": {"kind": "hub", "repository": "Qwen/Qwen3-32B"}})
    for number in range(12):
        named.store(number, age_s=7200 - number)
    with evictor(config(named.root)) as bench:
        bench.round()
        sample = bench.metrics.registry.get_sample_value
        labels = {"cache_namespace": named.name, "model": "Qwen/Qwen3-32B"}
        assert sample("llmd_storage_evictor_cache_files", labels) == 8
        assert sample("llmd_storage_evictor_cache_bytes", labels) == 8 * BLOCK
        of_model = {"model": "Qwen/Qwen3-32B"}
        assert sample("llmd_storage_evictor_evicted_age_seconds_count", of_model) == 4
        assert sample("llmd_storage_evictor_evicted_age_seconds_bucket", {**of_model, "le": "3600.0"}) == 0
        assert sample("llmd_storage_evictor_evicted_age_seconds_sum", of_model) == pytest.approx(4 * 7200, abs=10)


def report(cache: Namespace, written: int, engine: str = "0123456789ab") -> None:
    folder = cache.root / ".evictor/writers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / engine).write_text(json.dumps({"version": 1, "written": written, "waiting": 0}))
    stamp(folder / engine, 0)


def test_what_engines_have_written_counts_before_its_folders_may_be_listed(cache: Namespace) -> None:
    """A user would lose: the budget, or a metadata server, where listing all that has changed costs too much."""
    for number in range(5):
        cache.store(number, age_s=1000 - number)
    with evictor(config(cache.root, metadata_ops_s=50)) as bench:
        report(cache, 0)
        for _ in range(2):
            bench.round()
        for number in range(5, 11):
            cache.store(number, age_s=1)
        report(cache, 6 * BLOCK)
        asked = bench.metric("metadata_operations_total")
        bench.ticks[0] += 1
        bench.round()
        assert bench.metric("metadata_operations_total") == asked, "the last look is not paid yet"
        assert len(cache.numbers()) == 8, "six were written beside five: three went, unseen as they are"
        bench.ticks[0] += 600
        bench.round()
        assert bench.controller.index.held_files() == len(cache.numbers()) == 8, "seen now, and not counted twice"


def test_what_an_engine_wrote_before_it_died_counts_until_it_is_listed(cache: Namespace) -> None:
    cache.store(0, age_s=1000)
    with evictor(config(cache.root, metadata_ops_s=50)) as bench:
        report(cache, 0)
        for _ in range(2):
            bench.round()
        for number in range(1, 10):
            cache.store(number, age_s=1)
        report(cache, 9 * BLOCK)
        bench.ticks[0] += 1
        bench.controller.update_grants()
        (cache.root / ".evictor/writers/0123456789ab").unlink()
        bench.controller.update_grants()
        bench.round()
        assert cache.numbers() == list(range(1, 10)), "over 9 blocks with those: the only one that is known went"


def test_growth_that_nobody_reports_is_seen_whatever_it_costs(cache: Namespace) -> None:
    """Other connectors' blocks, and files copied into the cache."""
    cache.store(255, age_s=10)
    with evictor(config(cache.root, metadata_ops_s=200)) as bench:
        bench.round()
        for number in range(30):
            cache.store(number, age_s=1000 - number)
            if number % 3 == 2:
                bench.ticks[0] += 1
                bench.round()
        assert len(cache.numbers()) <= 9


def test_leftovers_are_known_though_their_folder_is_not_listed_again(cache: Namespace) -> None:
    dead = cache.path / "ab" / scratch_name("0123456789ab", 3)
    dead.write_bytes(b"x")
    stamp(dead, 0)
    stamp(dead.parent, 5000)
    with evictor(config(cache.root, relist_s=1e6)) as bench:
        bench.round()
        assert dead.exists(), "too young"
        bench.now[0] += 700
        bench.ticks[0] += 700
        bench.round()
    assert not dead.exists()


def test_a_namespace_that_is_only_read_is_not_unused(cache: Namespace) -> None:
    """A reader's refresh changes no folder: all files are looked at before a namespace goes."""
    for number in range(3):
        cache.store(number, age_s=900)
    for path in (cache.path / layout.MANIFEST, cache.path, *cache.path.iterdir()):
        stamp(path, 5000)
    with evictor(config(cache.root, namespace_unused_s=1000)) as bench:
        bench.round()
        bench.now[0] += 200
        bench.ticks[0] += 200
        stamp(cache.file(1), -150)
        bench.round()
    assert (cache.path / layout.MANIFEST).exists() and cache.numbers() == [0, 1, 2]


def test_a_new_leader_lists_only_what_has_changed_since_the_checkpoint(cache: Namespace) -> None:
    for number in range(8):
        cache.store(number, age_s=1000 - number)
    for path in cache.path.iterdir():
        stamp(path, 5000)
    settings = config(cache.root)
    with evictor(settings) as bench:
        bench.round()
        bench.controller.close()
    with evictor(settings) as bench:
        bench.controller._scanner.plan._relists.left = -1e9  # not what looks unchanged
        bench.controller._scanner.plan._rescans.left = -1e9
        cache.store(8)
        bench.round()
        assert bench.metric("metadata_operations_total") <= 1 + 257 + 3 + 1
        assert bench.controller.index.held_files() == 9
