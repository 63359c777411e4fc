# SPDX-License-Identifier: Apache-2.0
"""The connector against each vLLM it is made for. A user would lose: the engine's start, or the cache, by an update.

vllm_interfaces/<minor>.json is what published sources say (tests/vllm_interfaces.py); no vLLM is needed to run this.
Where one is installed, tests/engine holds the file against it.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.vllm.engine_settings import ELSEWHERE, HARMLESS, RELEVANT, unjudged
from tests import vllm_interfaces
from tests.vllm_interfaces import CONNECTOR, RECORDS, Interface, imports, used

VERSIONS = {path.stem: json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))}
MODULES = {path: ast.parse(path.read_text()) for path in sorted((CONNECTOR / "vllm").glob("*.py"))}
JUDGED = sorted({*ELSEWHERE, *HARMLESS, *RELEVANT})

each_version = pytest.mark.parametrize("version", VERSIONS)


def test_the_versions_it_is_made_for_are_written_down() -> None:
    (made_for,) = (
        ast.literal_eval(node.value)
        for node in MODULES[CONNECTOR / "vllm" / "connector.py"].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TESTED_VLLM"
    )
    assert [f"{version}." for version in VERSIONS] == list(made_for)


@each_version
def test_every_name_is_there(version: str) -> None:
    wanted = {f"{module}:{name}" for module, name in used()}
    assert wanted == set(VERSIONS[version]), "run python -m tests.vllm_interfaces with each version's wheel"


def _subclasses() -> Iterator[tuple[str, ast.ClassDef, str]]:
    """(id, class of ours, base among vLLM's)."""
    for path, module in MODULES.items():
        known = _aliases(module)
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    if ast.unparse(base) in known:
                        yield f"{path.stem}.{node.name}", node, known[ast.unparse(base)]


def _aliases(module: ast.Module) -> dict[str, str]:
    """{name in this module: "module:name" in vLLM}."""
    return {ours: ":".join(theirs) for ours, theirs in imports(module).items()}


SUBCLASSES = list(_subclasses())
each_subclass = pytest.mark.parametrize("node, base", [(node, base) for _, node, base in SUBCLASSES])


def test_subclasses_are_found() -> None:
    assert {name for name, _, _ in SUBCLASSES} == {
        "connector.LlmdStorageConnector",
        "host_worker.HostCopyWorker",
        "spec.LlmdStorageSpec",
        "tier.LlmdStorageTier",
    }


def _signature(parameters: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {parameters}: None"))


@each_version
@each_subclass
def test_what_vllm_calls_can_be_called_so(version: str, node: ast.ClassDef, base: str) -> None:
    """Every method of ours that stands for one of vLLM's takes what vLLM may give, by place and by name."""
    theirs = VERSIONS[version][base]["methods"]
    for method in node.body:
        if not isinstance(method, vllm_interfaces.Function) or method.name not in theirs or method.name == "__init__":
            continue
        ours = _signature(vllm_interfaces.parameters(method))
        wanted = list(_signature(theirs[method.name]).parameters.values())
        by_place = [one for one in wanted if one.kind is one.POSITIONAL_OR_KEYWORD]
        by_name = {one.name: None for one in wanted if one.kind is one.KEYWORD_ONLY}
        first, rest = by_place[:1], by_place[1:]  # self or cls
        ours.bind(*[None for _ in by_place], **by_name)
        ours.bind(*[None for _ in first], **{one.name: None for one in rest}, **by_name)
        ours.bind(*[None for one in by_place if one.default is one.empty])


@each_version
@each_subclass
def test_nothing_abstract_is_left(version: str, node: ast.ClassDef, base: str) -> None:
    ours = {item.name for item in node.body if isinstance(item, vllm_interfaces.Function)}
    assert set(VERSIONS[version][base]["abstract"]) <= ours


@each_version
@each_subclass
def test_what_is_used_of_a_base_is_there(version: str, node: ast.ClassDef, base: str) -> None:
    """Every self.x and super().x that the class does not make itself."""
    methods = [item for item in node.body if isinstance(item, vllm_interfaces.Function)]
    own = {method.name for method in methods} | {name for method in methods for name in vllm_interfaces.kept(method)}
    own |= {ast.unparse(item.target) for item in node.body if isinstance(item, ast.AnnAssign)}
    theirs = _names(VERSIONS[version][base])
    for item in ast.walk(node):
        if isinstance(item, ast.Attribute) and ast.unparse(item.value) == "super()":
            assert item.attr in theirs, f"super().{item.attr}"
        if isinstance(item, ast.Attribute) and ast.unparse(item.value) == "self" and item.attr not in own:
            assert item.attr in theirs, f"self.{item.attr}"


def _names(interface: Interface) -> set[str]:
    fields = {field.partition("=")[0] for field in interface["fields"]}
    return fields | set(interface["methods"]) | set(interface["attributes"])


@each_version
def test_what_is_called_takes_these_arguments(version: str) -> None:
    """Functions and constructors of vLLM, as the connector calls them."""
    called = set()
    for path, module in MODULES.items():
        known = _aliases(module)
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in known:
                continue
            name = known[ast.unparse(node.func)]
            if any(isinstance(given, ast.Starred) for given in node.args) or any(not k.arg for k in node.keywords):
                continue
            called.add(name.rpartition(":")[2])
            signature = _call_signature(VERSIONS[version][name])
            try:
                signature.bind(*node.args, **{keyword.arg: None for keyword in node.keywords if keyword.arg})
            except TypeError as error:
                pytest.fail(f"{path.name}:{node.lineno}: {ast.unparse(node)}: {error}")
    assert {
        "SharedOffloadRegion",
        "JobResult",
        "TransferResult",
        "OffloadingEvent",
        "build_offloading_config",
    } <= called


def _call_signature(interface: Interface) -> inspect.Signature:
    if interface["kind"] == "function":
        return _signature(interface["parameters"])
    if interface["kind"] == "value":
        return _signature("*args, **kwargs")
    if "__init__" in interface["methods"]:
        taken = list(_signature(interface["methods"]["__init__"]).parameters.values())
        return inspect.Signature(taken[1:])
    if "Enum" in interface["bases"] or not interface["fields"]:
        return _signature("*args, **kwargs")
    return _signature(", ".join(field for field in interface["fields"] if not field.startswith("_")))


@each_version
@pytest.mark.parametrize(
    "name, private",
    [
        ("vllm.v1.kv_offload.cpu.gpu_worker:CPUOffloadingWorker", ["_mmap_region"]),
        ("vllm.v1.kv_offload.tiering.spec:TieringOffloadingSpec", ["_scheduler_mmap"]),
        ("vllm.v1.kv_offload.cpu.shared_offload_region:SharedOffloadRegion", ["_creator", "mmap_path"]),
        ("vllm.v1.kv_offload.tiering.manager:TieringOffloadingManager", ["secondary_tiers"]),
        (
            "vllm.v1.worker.gpu_worker:Worker",
            ["reload_weights", "reset_weights", "start_weight_update", "start_draft_weight_update", "update_weights"],
        ),
    ],
)
def test_what_is_not_public_is_there(version: str, name: str, private: list[str]) -> None:
    assert set(private) <= _names(VERSIONS[version][name])


@each_version
def test_a_sleep_and_a_discard_are_asked_for_as_expected(version: str) -> None:
    methods = VERSIONS[version]["vllm.v1.worker.gpu_worker:Worker"]["methods"]
    assert (methods["sleep"], methods["discard"]) == ("self, level=None", "self, tags")


@each_version
@pytest.mark.parametrize("name", JUDGED)
def test_every_setting_is_judged(version: str, name: str) -> None:
    """A new one counts until somebody has looked at it: look whether it can change a block, and put it into a table."""
    (fields,) = (found["fields"] for place, found in VERSIONS[version].items() if place.endswith(f":{name}"))
    recorded = dataclasses.make_dataclass(name, [(field.partition("=")[0], Any, None) for field in fields])
    assert unjudged(recorded) == set()


@pytest.mark.parametrize("name", JUDGED)
def test_every_judged_setting_is_one_of_vllm(name: str) -> None:
    listed = [field for table in (ELSEWHERE, HARMLESS, RELEVANT) for field in table.get(name, ())]
    fields = {
        field.partition("=")[0]
        for version in VERSIONS.values()
        for place, found in version.items()
        if place.endswith(f":{name}")
        for field in found["fields"]
    }
    assert set(listed) <= fields, "gone from every vLLM"
    assert len(listed) == len(set(listed)), "judged twice"


def test_a_record_can_be_made_of_a_folder(tmp_path: Path) -> None:
    """The recorder itself: bases of other modules, defaults, what a method keeps."""
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "base.py").write_text(
        "class Base(ABC):\n    limit: int = 3\n    @abstractmethod\n    def go(self, keys: list[int]): ...\n"
    )
    (tmp_path / "vllm" / "__init__.py").write_text(
        "from .base import Base\nclass Own(Base):\n    def __init__(self, a, *, b=1):\n        self._x = a\n"
    )
    sources = vllm_interfaces.Sources(lambda name: (tmp_path / name).read_text())
    assert sources.interface("vllm", "Own") == {
        "kind": "class",
        "bases": ["Base"],
        "fields": ["limit=None"],
        "methods": {"go": "self, keys", "__init__": "self, a, *, b=None"},
        "abstract": ["go"],
        "attributes": ["_x"],
    }
    with pytest.raises(LookupError, match="has no Gone"):
        sources.interface("vllm", "Gone")
