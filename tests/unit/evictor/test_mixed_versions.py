# SPDX-License-Identifier: Apache-2.0
"""Two versions on one claim, as during a rolling update. A user would lose: what the later one has stored."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import FORMAT_VERSION, checksum
from tests.unit.evictor.support import BLOCK, Namespace, config, evictor, namespace, stamp
from tests.unit.evictor.test_cli import call, json_of

LATER = FORMAT_VERSION + 1


def of_a_later_version(cache: Namespace, number: int) -> Path:
    """A block that is whole in a format of which only the magic and the place of the version are known here."""
    path = cache.store(number)
    data = bytearray(path.read_bytes())
    data[8] = LATER
    end = cache.spec.header_bytes - 8
    data[end : end + 8] = checksum(bytes(data[:end])).to_bytes(8, "little")
    path.write_bytes(data)
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Namespace:
    return namespace(tmp_path / "blocks")


@pytest.fixture
def theirs(ours: Namespace) -> Namespace:
    made = namespace(ours.root, format_version=LATER)
    manifest = json.loads((made.path / layout.MANIFEST).read_text())
    manifest |= {"manifestVersion": 2, "createdBy": "a later version", "tomorrow": {"a": 1}}
    (made.path / layout.MANIFEST).write_text(json.dumps(manifest))
    return made


def settled(paths: list[Path]) -> None:
    """Nobody is writing them any more."""
    for path in paths:
        os.utime(path, (time.time() - 100,) * 2)


def test_verify_takes_no_block_of_a_later_format_for_a_damaged_one(ours: Namespace, theirs: Namespace) -> None:
    """`verify --repair` moved all of them away, and every prompt of the new pods was computed anew."""
    blocks = [of_a_later_version(theirs, number) for number in range(4)]
    settled([*blocks, *(ours.store(number) for number in range(3))])
    found = json_of("verify", ours.root, "--repair")
    assert (found["checked"], found["damaged"], found["other_format"]) == (3, [], [theirs.name])
    assert theirs.numbers() == [0, 1, 2, 3]
    said = call("verify", ours.root).stdout
    assert f"Not checked: {theirs.name[:12]}, of another block format than {FORMAT_VERSION}" in said


def test_both_are_listed_and_told_apart(ours: Namespace, theirs: Namespace) -> None:
    ours.store(1)
    of_a_later_version(theirs, 1)
    assert {one["namespace"] for one in json_of("stats", ours.root)["namespaces"]} == {ours.name, theirs.name}
    (field,) = json_of("explain", ours.name[:8], theirs.name[:8], "--root", ours.root, code=1)["differences"]
    assert (field["field"], field["a"], field["b"]) == ("format_version", FORMAT_VERSION, LATER)
    assert json_of("migrate", ours.root)["namespaces"] == {str(FORMAT_VERSION): 1, str(LATER): 1}


def test_the_budget_holds_for_both_together(ours: Namespace, theirs: Namespace) -> None:
    """Least recently used first, whoever stored it: the old version's blocks go as its pods do."""
    for number in range(6):
        stamp(ours.store(number), age_s=1000 + number)
        stamp(of_a_later_version(theirs, number), age_s=100 + number)
    with evictor(config(ours.root, budget_bytes=10 * BLOCK)) as bench:
        bench.round()
        assert bench.removed("budget") == 4
    assert (len(ours.numbers()), theirs.numbers()) == (2, [0, 1, 2, 3, 4, 5])
