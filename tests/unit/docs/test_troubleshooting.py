"""The page of symptoms: what it quotes is what the hooks say, and what it names is measured."""

from __future__ import annotations

import re

import pytest

from tests.unit.docs.commands import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text()
SENTENCES = (DOCS / "sentences.md").read_text()
# Source, with literals that go on in the next line put together.
CONNECTOR = "\n".join(
    re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in (ROOT / "connector" / "src").rglob("*.py")
)
# Of Helm, kubectl and Kubernetes.
THEIRS = {
    "at '/…': additional properties 'x' not allowed",
    "timed out waiting for the condition",
    "error: lost connection to pod",
    "kubectl port-forward",
}
_QUOTES = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (.+?) \|", PAGE, re.MULTILINE)))
OURS = [q for q in _QUOTES if " " in q and q not in THEIRS]
METRICS = sorted(set(re.findall(r"`(\w+)\{", PAGE)))


def test_the_page_quotes_and_names() -> None:
    assert len(OURS) > 8 and len(METRICS) > 2
    assert set(_QUOTES) >= THEIRS


@pytest.mark.parametrize("quote", OURS)
def test_a_quoted_sentence_is_one_that_a_hook_or_the_connector_says(quote: str) -> None:
    """Who searches for the words of the log finds no row otherwise."""
    pattern = "[^|\n]*".join(map(re.escape, quote.split("…")))
    assert re.search(rf"^\| [^|\n]*{pattern}", SENTENCES, re.MULTILINE) or re.search(pattern, CONNECTOR), quote


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_of_the_page_is_there(metric: str) -> None:
    page = (DOCS / "metrics.md").read_text()
    assert re.search(rf"`[a-z_:]*{metric}(_total)?\b", page), metric
