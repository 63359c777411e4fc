"""Makes values.schema.json, which Helm reads, files/optional.yaml and docs/values.md from the YAML that people write.

usage: make_schema.py [--check]

The umbrella's values.schema.yaml names the subcharts' files by a relative $ref; they are put in as definitions, so
that one JSON file beside values.yaml holds everything and an error shows the whole path of a value. The evictor's own
settings and the connector's come from their schemas, the storage backends and their parameters from the storage chart's
files/backends.yaml. Each subchart gets the same for itself (subcharts.py).
--check writes nothing and exits 1 when a file is not what the sources give.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import backends
import connector_options
import generated
import subcharts
import values_doc
import yaml

CHART = Path(__file__).resolve().parents[1] / "llm-d-storage"
SOURCE = CHART / "values.schema.yaml"
TARGET = CHART / "values.schema.json"
OPTIONAL = CHART / "files" / "optional.yaml"
EVICTOR = CHART.parents[1] / "schemas" / "evictor-config.schema.json"
# What of the evictor's settings the chart sets itself.
EVICTOR_OWNED = ("root_dir", "claim_bytes", "lease_name", "lease_namespace", "lease_owner", "http_port")
_GLOBALS_HEAD = """# The values of global, made from the schema by charts/tools/make_schema.py.
# common/templates/_validate.tpl refuses others.
"""
_OPTIONAL_HEAD = """# Values of which null means "not set", made from the schema by charts/tools/make_schema.py.
# common/templates/_validate.tpl refuses "" and 0 in them.
"""
PAGE = CHART.parents[1] / "docs" / "values.md"


def build() -> dict[str, Any]:
    """The whole schema as one document."""
    root: dict[str, Any] = yaml.safe_load(SOURCE.read_text())
    for name, part in root["properties"].items():
        path = part.get("$ref", "")
        if path.endswith(".yaml"):
            subchart = yaml.safe_load((CHART / path).read_text())
            if name == "storage":
                _add_backends(subchart)
            if name == "modelserver":
                tier = subchart["properties"]["storageTier"]["properties"]
                tier |= {one.name: one.schema() for one in connector_options.values()}
            own = subchart.pop("$defs", {})
            if taken := own.keys() & root["$defs"].keys():
                raise SystemExit(f"{path} defines {', '.join(sorted(taken))}, which another file defines already")
            root["$defs"] |= {name: subchart, **own}
            part["$ref"] = f"#/$defs/{name}"
    settings = json.loads(EVICTOR.read_text())["properties"]
    free = {name: option for name, option in settings.items() if name not in EVICTOR_OWNED}
    root["$defs"]["evictorConfig"] = {"type": "object", "additionalProperties": False, "properties": free}
    return root


def _add_backends(storage: dict[str, Any]) -> None:
    words, rules, definitions = backends.schema_parts()
    storage["properties"]["backend"]["enum"] = words
    storage["allOf"] = rules
    storage["$defs"] |= definitions


def rendered() -> generated.Files:
    """What each file must hold."""
    schema, text = build(), (CHART / "values.yaml").read_text()
    files = {
        TARGET: _json(schema),
        OPTIONAL: _listed(values_doc.optional(schema)),
        PAGE: values_doc.rendered(schema, yaml.safe_load(text)),
    }
    for name in subcharts.NAMES:
        folder = CHART / "charts" / name
        files[folder / "values.yaml"] = subcharts.values(text, name)
        files[folder / "values.schema.json"] = _json(subcharts.schema(schema, name))
        files[folder / "files" / "optional.yaml"] = _listed(subcharts.optional(schema, name))
    known = _GLOBALS_HEAD + "".join(f"- {key}\n" for key in schema["properties"]["global"]["properties"])
    files |= {
        folder / "files" / "globals.yaml": known for folder in (CHART, *(CHART / "charts" / n for n in subcharts.NAMES))
    }
    return files


def _json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _listed(paths: Iterable[str]) -> str:
    return _OPTIONAL_HEAD + "".join(f"- {path}\n" for path in paths)


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, "the values and their schemas", rendered))
