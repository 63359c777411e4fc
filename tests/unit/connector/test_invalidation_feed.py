# SPDX-License-Identifier: Apache-2.0
"""A user would lose: time, to loads of blocks that the evictor removed; or blocks in use, taken for old ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.eviction.invalidation_feed import ADVICE_EVERY_S, MANIFEST_EVERY_S, InvalidationFeed
from tests.unit.connector.conftest import key

NAMESPACE = "ab" * 16
LONG_AGO = 1


class Scene:
    def __init__(self, root: Path) -> None:
        self.now, self.removed, self.advised = 0.0, list[bytes](), list[float]()
        self.root = root
        self.manifest = root / NAMESPACE / layout.MANIFEST
        self.manifest.parent.mkdir()
        self.manifest.write_text("{}")
        self.feed = InvalidationFeed(lambda: self.now)

    def poll(self) -> None:
        news = self.feed.poll(str(self.root / NAMESPACE))
        self.removed.extend(news.removed)
        if news.refresh_after_s is not None:
            self.advised.append(news.refresh_after_s)

    def tell(self, *numbers: int, namespace: str = NAMESPACE, name: str = "1764064800000-0123456789ab.jsonl") -> None:
        record = {"at": 1.0, "namespace": namespace, "reason": "budget", "keys": [key(n).hex() for n in numbers]}
        self.write(json.dumps(record) + "\n", name)

    def write(self, text: str, name: str = "1764064800000-0123456789ab.jsonl") -> None:
        journal = self.root / ".evictor" / "journal"
        journal.mkdir(parents=True, exist_ok=True)
        with (journal / name).open("a") as file:
            file.write(text)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_is_removed_while_the_engine_lives_is_told_once(scene: Scene) -> None:
    scene.tell(1)
    scene.poll()
    assert scene.removed == []
    scene.tell(2, 3)
    scene.tell(4, name="1764064900000-ba9876543210.jsonl")
    scene.poll()
    scene.poll()
    assert scene.removed == [key(2), key(3), key(4)]


def test_other_namespaces_and_nonsense_are_passed_over(scene: Scene) -> None:
    scene.poll()
    scene.write("not json\n[]\n{}\n")
    scene.tell(1, namespace="cd" * 16)
    scene.tell(5, name="notes.txt")
    scene.tell(2)
    scene.poll()
    assert scene.removed == [key(2)]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(scene: Scene) -> None:
    scene.poll()
    scene.write('{"namespace": "' + NAMESPACE + '", "keys": ["' + key(1).hex())
    scene.poll()
    assert scene.removed == []
    scene.write('"]}\n')
    scene.poll()
    assert scene.removed == [key(1)]


def test_advice_is_taken_and_nonsense_is_not(scene: Scene) -> None:
    scene.poll()
    advice = scene.root / ".evictor" / "advice.json"
    advice.parent.mkdir(exist_ok=True)
    for text in ('{"version": 1, "touchAfterS": 60}', "{", '{"touchAfterS": -1}', '{"touchAfterS": "soon"}', "[]"):
        advice.write_text(text)
        scene.now += ADVICE_EVERY_S
        scene.poll()
    assert scene.advised == [60.0]


def test_a_namespace_in_use_never_looks_abandoned(scene: Scene) -> None:
    for _ in range(2):
        os.utime(scene.manifest, (LONG_AGO, LONG_AGO))
        scene.poll()
        assert scene.manifest.stat().st_mtime > LONG_AGO
        scene.now += MANIFEST_EVERY_S


def test_without_an_evictor_there_is_nothing_to_say(scene: Scene) -> None:
    scene.poll()
    assert (scene.removed, scene.advised) == ([], [])
