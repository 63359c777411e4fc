"""Makes values.schema.json, which Helm reads, from the commented YAML that people write.

usage: make_schema.py [--check]

The umbrella's values.schema.yaml names the subcharts' files by a relative $ref; they are put in as definitions, so
that one JSON file beside values.yaml holds everything and an error shows the whole path of a value.
--check writes nothing and exits 1 when the file is not what the sources give.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[1] / "llm-d-storage"
SOURCE = CHART / "values.schema.yaml"
TARGET = CHART / "values.schema.json"


def build() -> dict[str, Any]:
    """The whole schema as one document."""
    root: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    for name, part in root["properties"].items():
        path = part.get("$ref", "")
        if path.endswith(".yaml"):
            root["$defs"][name] = yaml.safe_load((CHART / path).read_text())
            part["$ref"] = f"#/$defs/{name}"
    return root


def rendered() -> str:
    return json.dumps(build(), indent=2, ensure_ascii=False) + "\n"


def main(args: list[str]) -> int:
    text = rendered()
    if args == ["--check"]:
        if TARGET.read_text() == text:
            return 0
        print(f"{TARGET.name} is not what {SOURCE.name} and the subcharts' schemas give; run {Path(__file__).name}")
        return 1
    if args:
        print(__doc__)
        return 2
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
