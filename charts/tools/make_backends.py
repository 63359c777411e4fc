"""Makes, from the storage chart's files/backends.yaml, the hooks' table of provisioners and the tables of
docs/storage-backends.md (between its markers).

usage: make_backends.py [--check]

--check writes nothing and exits 1 when a file is not what the source gives.
"""

import sys
from fnmatch import fnmatchcase
from pathlib import Path

import backends
import generated
import yaml

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "hooks" / "src" / "llmd_storage_hooks" / "data" / "rwx.yaml"
PAGE = ROOT / "docs" / "storage-backends.md"
_TABLE_HEAD = f"""# SPDX-License-Identifier: Apache-2.0
# Made from {backends.SOURCE.relative_to(ROOT)} by charts/tools/make_backends.py; do not edit.
# Its comments say what each key means.
"""
_BACKENDS_HEAD = """| backend | provisioner | RWX | fsGroup | parameters you must set | gotchas | tested how |
| --- | --- | --- | --- | --- | --- | --- |
"""


def table() -> str:
    """The hooks' data/rwx.yaml."""
    rows = {"provisioners": backends.rwx_table()}
    return _TABLE_HEAD + yaml.dump(
        rows, Dumper=_Plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=1000
    )


class _Plain(yaml.SafeDumper):
    """Without anchors: nobody edits what it writes."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def page(text: str) -> str:
    """The page with its tables made anew."""
    parts = {"backends": _backends(), "sizes": _sizes(), "sources": _sources()}
    for name, made in parts.items():
        begin, end = f"<!-- made by make generate: {name} -->", f"<!-- end of {name} -->\n"
        text = generated.between(text, begin, end, made)
    return text


def _backends() -> str:
    lines = []
    for name, one in backends.facts()["backends"].items():
        provisioner = f"`{one['provisioner']}`" if "provisioner" in one else one["provisionerText"]
        must = one.get("mustSet", _must_set(one))
        cells = (f"`{name}`", provisioner, one.get("rwx") or _rwx(one["provisioner"]), one["fsGroup"], must)
        lines.append("| " + " | ".join((*cells, one["notes"], one["tested"])).replace("|  |", "| |") + " |\n")
    return _BACKENDS_HEAD + "".join(lines)


def _rwx(provisioner: str) -> str:
    known = backends.facts()["provisioners"]
    return next(str(one["verdict"]) for one in known if fnmatchcase(provisioner, one["name"]))


def _must_set(backend: backends.Facts) -> str:
    """What a user has to give: what the driver requires and the chart does not set, and the Secret."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for needed in backend.get("requires", ()):
        first, *others = needed.split("|")
        if first not in backend.get("parameters", {}):
            groups.setdefault(tuple(others), []).append(f"`{first}`")
    said = []
    for others, firsts in groups.items():
        words = [f"`{one}`" for one in others]
        if not words:
            said.append(", ".join(firsts))
        elif len(firsts) == 1:
            said.append(_listed([*firsts, *words]))
        else:  # all of these, or that one instead
            said.append(", ".join(firsts) + ", or " + " or ".join(words))
    if backend.get("secretRoles") and "secret" not in backend:
        said.append("`secretName`, `secretNamespace`")
    return ", ".join(said)


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + " or " + words[-1]


def _sizes() -> str:
    parts = []
    for name, backend in backends.facts()["backends"].items():
        known = backends.facts()["provisioners"]
        entry = next((one for one in known if one["name"] == backend.get("provisioner") and "sizes" in one), None)
        if entry is None:
            continue
        sizes = entry["sizes"]
        parts.append(f"| `{name}`: `{sizes['parameter']}` | from | to | in steps of |\n| --- | --- | --- | --- |\n")
        for value, ranges in sizes["rules"].items():
            unset = " (unless set)" if value == sizes["otherwise"] else ""
            for one in ranges:
                cells = (f"{value}{unset}", *(f"{one[key]}Gi" for key in ("minGi", "maxGi", "stepGi")))
                parts.append("| " + " | ".join(cells) + " |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def _sources() -> str:
    known = backends.facts()["backends"].items()
    rows = [f"| `{name}` | {one['source']} |\n" for name, one in known if "source" in one]
    return "| backend | source |\n| --- | --- |\n" + "".join(rows)


def rendered() -> generated.Files:
    """What each file must hold."""
    return {TABLE: table(), PAGE: page(PAGE.read_text())}


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, backends.SOURCE.name, rendered))
