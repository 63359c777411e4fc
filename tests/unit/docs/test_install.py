"""The install guides: each begins with values that the tests render, and says the same things in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.commands import ROOT, commands

FOLDER = ROOT / "docs" / "install"
GUIDES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SCENARIOS = {path.stem for path in (ROOT / "charts" / "llm-d-storage" / "ci").glob("*.yaml")}
each_guide = pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)


def linked(text: str) -> set[str]:
    """The values files of ci/ that a page links to."""
    return set(re.findall(r"\]\(\.\./\.\./charts/llm-d-storage/ci/([a-z0-9-]+)\.yaml\)", text))


@each_guide
def test_its_values_are_scenarios_and_one_of_them_is_rendered_as_it_stands(path: Path) -> None:
    named = linked(path.read_text())
    assert named and named <= SCENARIOS, named - SCENARIOS
    page = path.relative_to(ROOT).as_posix()
    rendered = {m[1] for c in commands() if c.page == page and (m := re.search(r"/ci/([a-z0-9-]+)\.yaml", c.text))}
    assert rendered and rendered <= named


@each_guide
def test_it_goes_from_storage_over_values_to_the_install(path: Path) -> None:
    text = path.read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [h[:3] for h in headings[:3]] == ["1. ", "2. ", "3. "] and headings[1:3] == ["2. Values", "3. Install"]
    assert headings[3:] in (["What goes wrong here"], ["What to know"])
    assert re.search(r"[Nn]ot run here|were not run here", text.partition("\n## ")[0]), "what nobody has tried"
    assert "(README.md)" in text, "what to look at afterwards"


def test_the_common_page_lists_every_guide_with_values_that_it_has() -> None:
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")]
    listed = {m[1]: linked(row) for row in rows if (m := re.match(r"\| \[[^]]+\]\(([a-z-]+\.md)\)", row))}
    assert set(listed) == {path.name for path in GUIDES}
    for name, scenarios in listed.items():
        assert scenarios and scenarios <= linked((FOLDER / name).read_text()), name
