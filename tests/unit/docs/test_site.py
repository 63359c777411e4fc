"""The site: it builds strictly, what is made from sources is of these sources, and every sentence can be found."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.patience import CEILING_S
from tests.scripts import module
from tests.unit.docs.commands import ROOT

DOCS = ROOT / "docs"


def build(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).parent / "mkdocs"), "build", "--strict", "--site-dir", str(site), *args]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=CEILING_S, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    done = build(path)
    assert done.returncode == 0, done.stderr[-4000:]
    return path


class Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {k: v or "" for k, v in attrs}
        if name := have.get("id") or have.get("name"):
            self.anchors.add(name)
        if tag == "a" and "href" in have:
            self.links.append(have["href"])
        if tag in ("img", "script") and "src" in have:
            self.links.append(have["src"])
            self.loaded.append(have["src"])


def test_no_link_is_broken_and_no_anchor_is_missing(site: Path) -> None:
    """MkDocs looks at the Markdown; this looks at what came out of it, pictures and made pages included."""
    pages = {p: Page(p) for p in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if target.is_dir():
                target /= "index.html"
            there = target.exists() and (not url.fragment or url.fragment in getattr(pages.get(target), "anchors", ()))
            if not there and url.fragment not in ("__top",):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, broken[:20]


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "site").mkdir(parents=True)
    (docs / "index.md").write_text("# A\n[gone](gone.md) [no such heading](index.md#none)\n")
    config = (ROOT / "mkdocs.yml").read_text()
    config = re.sub(r"^hooks:\n.*\n", "", config, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(config[: config.index("nav:\n  - Start")])
    done = build(tmp_path / "site", "-f", str(tmp_path / "mkdocs.yml"))
    assert done.returncode != 0
    assert "'gone.md'" in done.stderr and "'index.md#none'" in done.stderr


def test_lists_are_lists(site: Path) -> None:
    """GitHub takes a list right after a paragraph, Python-Markdown does not."""
    for path in site.rglob("*.html"):
        text = re.sub(r"<pre.*?</pre>", "", path.read_text(), flags=re.DOTALL)
        assert not re.findall(r"^(?:- |\| )\S.*", text, re.MULTILINE), path.name


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """The site is read where there is no way out."""
    for path in site.rglob("*.html"):
        assert not [s for s in Page(path).loaded if urlsplit(s).netloc], path.name


def test_every_page_is_in_the_navigation() -> None:
    pages = module("docs/site", "pages")
    nav = pages.navigation([{"A": ["a.md", "b/*", "gone.md"]}], ["b/z.md", "b/README.md", "a.md", "new.md"])
    assert nav == [{"A": ["a.md", "b/README.md", "b/z.md"]}, {"More": ["new.md"]}]


def test_the_list_of_sentences_is_of_these_checks() -> None:
    assert (DOCS / "sentences.md").read_text() == module("docs/site", "sentences").markdown(), "run make generate"


def test_every_check_that_can_end_badly_has_its_sentences_under_its_id() -> None:
    """Who reads an id in a report looks for it here."""
    for check_id, told in module("docs/site", "sentences").sentences().items():
        assert told, check_id
        assert all(re.search(r"\w", sentence) for sentence, _ in told), check_id


def test_a_sentence_is_found_under_its_own_id_only() -> None:
    page, found = (DOCS / "sentences.md").read_text(), module("docs/site", "sentences").findable
    said = 'StorageClass "nfs" does not exist; the cluster has: none.'
    assert found("preflight.storageclass.exists", said, page)
    assert not found("preflight.storageclass.rwx", said, page)
    assert found("preflight.secret.llm-d-hf-token", 'Secret "llm-d-hf-token" does not exist in namespace llm.', page)
    assert not found("preflight.storageclass.exists", "What nobody says.", page)


def test_pictures_are_of_these_sources() -> None:
    draw = module("docs/site", "draw")
    sources = sorted(draw.PICTURES.glob("*.dot"))
    assert sources
    for source in sources:
        assert draw.digest(source) in source.with_suffix(".svg").read_text(), f"{source.name}: run make generate"
    assert {p.stem for p in sources} == {p.stem for p in draw.PICTURES.glob("*.svg")}
