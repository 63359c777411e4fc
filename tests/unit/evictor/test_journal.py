# SPDX-License-Identifier: Apache-2.0
"""A user would lose: loads of blocks that are gone, if the engines that remember them were not told."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.eviction.invalidation_feed import InvalidationFeed
from llmd_storage_evictor.cache.directory import CacheDirectory
from llmd_storage_evictor.cache.journal import FOLDER, Journal
from tests.unit.evictor.tail import Tail

NAME = "a" * 32


@pytest.fixture
def directory(tmp_path: Path) -> CacheDirectory:
    directory = CacheDirectory(tmp_path)
    directory.open()
    return directory


def keys(start: int, count: int) -> list[str]:
    return [f"{number:072x}" for number in range(start, start + count)]


def test_a_reader_gets_what_is_appended_and_each_once(directory: CacheDirectory) -> None:
    tail, journal = Tail(directory), Journal(directory, 1 << 20)
    assert tail.read() == []
    journal.append(NAME, "budget", keys(0, 600))
    journal.append(NAME, "ttl", keys(600, 1))
    records = tail.read()
    assert [key for record in records for key in record.keys] == keys(0, 601)
    assert [record.reason for record in records] == ["budget"] * 3 + ["ttl"]
    assert tail.read() == []


def test_a_new_reader_starts_at_the_end(directory: CacheDirectory) -> None:
    journal = Journal(directory, 1 << 20)
    journal.append(NAME, "budget", keys(0, 3))
    late = Tail(directory)
    assert late.read() == []
    journal.append(NAME, "budget", keys(3, 1))
    assert [record.keys for record in late.read()] == [tuple(keys(3, 1))]
    assert sum(len(record.keys) for record in Tail(directory, from_start=True).read()) == 4


def test_it_stays_within_its_bound_and_readers_cope(directory: CacheDirectory, tmp_path: Path) -> None:
    tail, bound, now = Tail(directory), 1 << 16, [1_700_000_000.0]
    journal = Journal(directory, bound, lambda: now[0])
    tail.read()
    seen = 0
    for number in range(60):
        now[0] += 1
        journal.append(NAME, "budget", keys(number * 50, 50))
        seen += sum(len(record.keys) for record in tail.read())
        assert sum(path.stat().st_size for path in (tmp_path / ".evictor" / FOLDER).iterdir()) <= bound
    assert seen == 3000


def test_two_writers_do_not_mix_their_lines(directory: CacheDirectory) -> None:
    tail = Tail(directory)
    tail.read()
    one, other = Journal(directory, 1 << 20), Journal(directory, 1 << 20)
    for number in range(5):
        one.append(NAME, "budget", keys(number, 1))
        other.append(NAME, "asked", keys(100 + number, 1))
    assert len(tail.read()) == 10


def test_half_a_line_is_not_read_and_spoils_nothing(directory: CacheDirectory, tmp_path: Path) -> None:
    """The evictor was killed in the middle of a line."""
    tail, journal = Tail(directory), Journal(directory, 1 << 20)
    tail.read()
    journal.append(NAME, "budget", keys(0, 1))
    (file,) = (tmp_path / ".evictor" / FOLDER).iterdir()
    with file.open("ab") as end:
        end.write(b'{"at": 1, "namesp')
    assert len(tail.read()) == 1
    Journal(directory, 1 << 20).append(NAME, "budget", keys(1, 1))
    assert [record.keys for record in tail.read()] == [tuple(keys(1, 1))]


def test_engines_hear_of_what_is_gone_and_of_nothing_else(directory: CacheDirectory, tmp_path: Path) -> None:
    """Written by one package, read by another: the format is in no type that both share."""
    heard: list[bytes] = []
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / layout.MANIFEST).write_text("{}")
    feed = InvalidationFeed()
    journal = Journal(directory, 1 << 20)
    journal.append(NAME, "budget", keys(0, 3))
    heard.extend(feed.poll(str(tmp_path / NAME)).removed)
    journal.append(NAME, "budget", keys(3, 600))
    journal.append("b" * 32, "budget", keys(0, 5))
    heard.extend(feed.poll(str(tmp_path / NAME)).removed)
    assert [key.hex() for key in heard] == keys(3, 600)
