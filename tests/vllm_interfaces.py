# SPDX-License-Identifier: Apache-2.0
"""What the connector uses of vLLM, written down for each minor version it is made for.

    python -m tests.vllm_interfaces vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl

reads a published wheel (`pip download --no-deps vllm==0.33.0`) or a folder that holds `vllm`, runs nothing of it, and
writes tests/unit/connector/vllm_interfaces/0.33.json: of each name that the connector imports its signature, of a class
also its fields, its methods and what it keeps in itself, with those of its bases in vLLM. Two of these files side by
side say what a new version changed; tests/unit/connector/test_vllm_interfaces.py holds the connector against each.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmd_storage_connector.vllm.engine_settings import ELSEWHERE, HARMLESS, RELEVANT

CONNECTOR = Path(__file__).parents[1] / "connector" / "src" / "llmd_storage_connector"
RECORDS = Path(__file__).parent / "unit" / "connector" / "vllm_interfaces"

Function = ast.FunctionDef | ast.AsyncFunctionDef
# {"kind": "class", "bases": [...], "fields": [...], "methods": {name: parameters}, "abstract": [...], "attributes":
# [...]}, {"kind": "function", "parameters": "a, b=None"}, or {"kind": "value"}
Interface = dict[str, Any]


# Not imported, and looked into all the same: private names (vllm/internals.py), and settings that are judged.
_ALSO = {
    ("vllm.v1.kv_offload.cpu.gpu_worker", "CPUOffloadingWorker"),
    ("vllm.v1.kv_offload.tiering.manager", "TieringOffloadingManager"),
    *(("vllm.config", name) for name in {*ELSEWHERE, *HARMLESS, *RELEVANT}),
}


def imports(source: ast.AST) -> dict[str, tuple[str, str]]:
    """{its name there: (module, name)} of all of vLLM that a module of the connector imports."""
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vllm"
        for alias in node.names
    }


def used(connector: Path = CONNECTOR) -> set[tuple[str, str]]:
    """(module, name) of all that the connector uses of vLLM."""
    imported = (imports(ast.parse(path.read_text())) for path in connector.rglob("*.py"))
    return {name for names in imported for name in names.values()} | _ALSO


def parameters(function: Function) -> str:
    """As in Python, without types; a default is None whatever it is: "self, keys, *, limit=None"."""
    plain = ast.parse(ast.unparse(ast.FunctionDef("f", function.args, [ast.Pass()], [], lineno=0, type_params=[])))
    arguments = plain.body[0].args  # type: ignore[attr-defined]
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [default and ast.Constant(None) for default in arguments.kw_defaults]
    return ast.unparse(arguments)


class Sources:
    """The Python files of one version of vLLM."""

    def __init__(self, read: Callable[[str], str]) -> None:
        """read: the text of a path such as vllm/config/__init__.py. Raises: KeyError or OSError where there is none."""
        self._read = read
        self._modules: dict[str, tuple[ast.Module, bool]] = {}

    def interface(self, module: str, name: str) -> Interface:
        """What can be used of a name. Raises: LookupError if the module has none of that name."""
        found = self._find(module, name)
        if found is None:
            raise LookupError(f"{module} has no {name}")
        where, node = found
        if isinstance(node, ast.ClassDef):
            return self._class(where, node)
        if isinstance(node, Function):
            return {"kind": "function", "parameters": parameters(node)}
        return {"kind": "value"}

    def _module(self, module: str) -> tuple[ast.Module, bool]:
        """Its source, and whether it is a package. Raises: KeyError, OSError."""
        if module not in self._modules:
            path = module.replace(".", "/")
            try:
                self._modules[module] = ast.parse(self._read(f"{path}.py")), False
            except (KeyError, OSError):
                self._modules[module] = ast.parse(self._read(f"{path}/__init__.py")), True
        return self._modules[module]

    def _find(self, module: str, name: str) -> tuple[str, ast.AST] | None:
        """Where a name is defined: its module and its node."""
        try:
            source, is_package = self._module(module)
        except (KeyError, OSError):
            return None
        for node in _statements(source.body):
            if isinstance(node, ast.ClassDef | Function) and node.name == name:
                return module, node
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        origin = _absolute(module, node, is_package)
                        return self._find(origin, alias.name) or (module, node)
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    return module, node
        # A package gives its modules out of __getattr__: vllm.platforms.current_platform.
        return (module, source) if any(_is_getattr(node) for node in source.body) else None

    def _class(self, module: str, node: ast.ClassDef) -> Interface:
        interface: Interface = {
            "kind": "class",
            "bases": [ast.unparse(base) for base in node.bases],
            "fields": [],
            "methods": {},
            "abstract": [],
            "attributes": [],
        }
        for base in node.bases:
            found = self._find(module, base.id) if isinstance(base, ast.Name) else None
            if found and isinstance(found[1], ast.ClassDef):
                inherited = self._class(found[0], found[1])
                for part in ("fields", "abstract", "attributes"):
                    interface[part] += inherited[part]
                interface["methods"] |= inherited["methods"]
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                if re.search("ClassVar|InitVar", ast.unparse(item.annotation)):
                    interface["attributes"].append(item.target.id)
                else:
                    interface["fields"].append(item.target.id + ("=None" if item.value else ""))
            elif isinstance(item, ast.Assign):
                interface["attributes"] += [target.id for target in item.targets if isinstance(target, ast.Name)]
            elif isinstance(item, Function):
                interface["methods"][item.name] = parameters(item)
                is_abstract = any("abstractmethod" in ast.unparse(decorator) for decorator in item.decorator_list)
                interface["abstract"] = [name for name in interface["abstract"] if name != item.name]
                interface["abstract"] += [item.name] if is_abstract else []
                interface["attributes"] += kept(item)
        for part in ("abstract", "attributes"):
            interface[part] = sorted(set(interface[part]))
        return interface


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """A module's statements, with those under `if TYPE_CHECKING` and `try`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements([*node.body, *node.orelse])


def _absolute(module: str, node: ast.ImportFrom, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    depth = len(parents) - node.level + (1 if is_package else 0)
    return ".".join([*parents[:depth], *([node.module] if node.module else [])])


def _is_getattr(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__getattr__"


def kept(function: Function) -> list[str]:
    """Names that a method sets in its object."""
    return [
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    ]


def record(sources: Sources, names: set[tuple[str, str]]) -> dict[str, Interface]:
    """{"module:name": interface}. Raises: LookupError for a name that this version does not have."""
    return {f"{module}:{name}": sources.interface(module, name) for module, name in sorted(names)}


def open_sources(path: Path) -> tuple[str, Sources]:
    """The minor version and the sources of a wheel, or of a folder that holds `vllm`."""
    wheel = zipfile.ZipFile(path) if path.is_file() else None

    def read(name: str) -> str:
        return wheel.read(name).decode() if wheel else (path / name).read_text()

    version = re.search(r"^__version__ .*'(\d+\.\d+)\.", read("vllm/_version.py"), re.MULTILINE)
    if version is None:
        raise LookupError(f"{path}: vllm/_version.py names no version")
    return version[1], Sources(read)


def main(given: str) -> None:
    minor, sources = open_sources(Path(given))
    RECORDS.mkdir(exist_ok=True)
    path = RECORDS / f"{minor}.json"
    path.write_text(json.dumps(record(sources, used()), indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
