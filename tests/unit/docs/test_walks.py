"""The walks of docs/architecture.md: every file is there, and has what the page says is in it."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.commands import ROOT

_ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| `(?P<there>[^`]+)` \|", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.partition("\n## Three walks\n")[2].partition("\n## ")[0]
    return [(row["file"], row["there"]) for row in _ROW.finditer(section)]


def test_there_are_walks() -> None:
    assert len(rows()) > 10


@pytest.mark.parametrize(("file", "there"), rows())
def test_a_reader_finds_the_next_step(file: str, there: str) -> None:
    assert there in (ROOT / file).read_text()
