"""Makes, from the connector's options, what the chart and its docs say of them: the modelserver chart's
files/connector-options.yaml, and the marked parts of values.yaml and of docs/connectors.md.

usage: make_connector.py [--check]

--check writes nothing and exits 1 when a file is not what the source gives. Run it before make_schema.py, which puts
the same options into the values schema.
"""

import json
import sys
import textwrap
from pathlib import Path

import connector_options as options
import generated

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "llm-d-storage"
TABLE = CHART / "charts" / "modelserver" / "files" / "connector-options.yaml"
VALUES = CHART / "values.yaml"
PAGE = ROOT / "docs" / "connectors.md"
_TABLE_HEAD = """# Made from schemas/connector-config.schema.json by charts/tools/make_connector.py; do not edit.
# options: values of storageTier, and what the connector calls them (templates/_connector.tpl hands them on).
# owned: options that the chart sets itself, and from which value.
"""


def table() -> str:
    """What the templates read."""
    rows = [
        {"value": one.name, "option": one.option, "kind": one.kind, "default": one.default} for one in options.values()
    ]
    lines = "".join(f"  - {json.dumps(row)}\n" for row in rows)
    owned = "".join(f"  {name}: {json.dumps(value)}\n" for name, value in options.CHART_OWNED.items())
    return f"{_TABLE_HEAD}options:\n{lines}owned:\n{owned}"


def values(text: str) -> str:
    """values.yaml with its marked part made anew."""
    parts = []
    for one in options.values():
        comment = textwrap.wrap(one.doc, 114, break_long_words=False, break_on_hyphens=False)
        parts += [f"    # {line}\n" for line in comment]
        parts.append(f"    {one.name}: {json.dumps(one.default).strip(chr(34))}\n")
    return generated.between(
        text, "    # The connector's options, made by make generate", "    # End of them.\n", "".join(parts)
    )


def page(text: str) -> str:
    """docs/connectors.md with its marked part made anew."""
    rows = [
        f"| `{one.name}` | `{one.option}` | {_default(one)} | {one.spec['description']} |\n" for one in options.values()
    ]
    head = "| value | connector option | its default | meaning |\n| --- | --- | --- | --- |\n"
    begin, end = "<!-- made by make generate: options -->", "<!-- end of options -->\n"
    return generated.between(text, begin, end, head + "".join(rows))


def _default(one: options.Value) -> str:
    return f"`{json.dumps(one.spec['default'])}`" if "default" in one.spec else ""


def rendered() -> generated.Files:
    """What each file must hold."""
    return {TABLE: table(), VALUES: values(VALUES.read_text()), PAGE: page(PAGE.read_text())}


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, options.SOURCE.name, rendered))
