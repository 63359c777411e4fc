"""What the site needs beyond the pages in docs/: a hook of MkDocs (https://www.mkdocs.org/user-guide/configuration/#hooks).

- Pages whose source lies elsewhere in the repository (README, CHANGELOG, …), so that nothing is written twice.
- Links from a page to any other file of the repository: the file is copied to ``files/``; a folder becomes a list of
  its files. A link to what is not there is left as it is, and the strict build fails on it.
- The navigation: ``folder/*`` stands for the folder's pages, names of pages that are not there are left out, and pages
  that nobody named come under "More".
"""

from __future__ import annotations

import os
import posixpath
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Source in the repository -> page of the site.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "connector/docs/FORMAT.md": "format.md",
    "tests/lab/README.md": "lab.md",
}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    pages = sorted(p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md"))
    config["nav"] = navigation(config["nav"], [*pages, *ELSEWHERE.values()])
    return config


def navigation(nav: list[dict[str, list[str]]], pages: list[str]) -> list[dict[str, list[str]]]:
    """The given sections with patterns resolved, and what no section names under "More"."""
    named: list[str] = []
    sections = []
    for section in nav:
        for title, patterns in section.items():
            found = [p for pattern in patterns for p in pages if fnmatch(p, pattern) and p not in named]
            # A folder's own page stands before the others.
            found.sort(key=lambda p: (_place(p, patterns), not p.endswith(("README.md", "index.md")), p))
            named += found
            sections.append({title: found})
    rest = [p for p in pages if p not in named]
    return [*(s for s in sections if any(s.values())), *([{"More": rest}] if rest else [])]


def _place(page: str, patterns: list[str]) -> int:
    return next(i for i, pattern in enumerate(patterns) if fnmatch(page, pattern))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, uri in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for page in [f for f in files if f.is_documentation_page()]:
        for target in sorted(_targets(_source(page.src_uri))):
            if files.get_file_from_path(uri := _site(target)) is None:
                files.append(_brought(config, uri, target))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The same text, with links as they are in the site."""
    source = _source(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = _target(source, match["path"])
        if target is None:
            return match[0]
        return posixpath.relpath(_site(target), here or ".") + (match["anchor"] or "")

    parts = _FENCE.split(markdown)
    return "".join(_block(part) if part.startswith("```") else _listed(_LINK.sub(link, part)) for part in parts)


def _block(fence: str) -> str:
    """What a block of commands needs, said to the reader."""
    return re.sub(r"^```sh needs: (.+)", r'```sh title="needs a \1: not run by a test"', fence)


def _listed(text: str) -> str:
    """With a blank line before each list: GitHub takes a list right after a paragraph, Python-Markdown does not."""
    return re.sub(r"^((?!\s|[-|#>]|\d+\. ).+)\n(?=- |1\. )", r"\1\n\n", text, flags=re.MULTILINE)


def _source(page: str) -> str:
    """The repository's path of a page of the site."""
    return next((s for s, p in ELSEWHERE.items() if p == page), f"docs/{page}")


def _site(target: str) -> str:
    """Where a file or folder of the repository is in the site."""
    if target in ELSEWHERE:
        return ELSEWHERE[target]
    if target.startswith("docs/") and (ROOT / target).is_file():
        return target.removeprefix("docs/")
    if target == "docs" or (target.startswith("docs/") and (ROOT / target / "README.md").is_file()):
        return posixpath.join(target.removeprefix("docs"), "README.md").lstrip("/") if target != "docs" else "index.md"
    return f"files/{target}" if (ROOT / target).is_file() else f"files/{target}.md"


def _target(source: str, link: str) -> str | None:
    """The repository's path that a page's link means, if there is such a file or folder."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return path if not path.startswith("..") and os.path.lexists(ROOT / path) else None


def _targets(source: str) -> set[str]:
    if not (ROOT / source).is_file():
        return set()
    text = _FENCE.sub("", (ROOT / source).read_text())
    found = (_target(source, m["path"]) for m in _LINK.finditer(text))
    there = {t for t in found if t is not None}
    return {t for t in there if not _site(t).startswith("files/") or not t.startswith("docs/") or (ROOT / t).is_dir()}


def _brought(config: MkDocsConfig, uri: str, target: str) -> File:
    if (ROOT / target).is_file():
        return File.generated(config, uri, abs_src_path=str(ROOT / target))
    names = sorted(p.name for p in (ROOT / target).iterdir() if p.is_file())
    listed: Any = "\n".join(f"- `{name}`" for name in names)
    return File.generated(config, uri, content=f"# {target}\nIn the repository:\n\n{listed}\n")
