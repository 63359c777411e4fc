"""The values: one schema from one source, closed, and in step with values.yaml."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests import scripts
from tests.chart import helm

SCHEMA: dict[str, Any] = json.loads((helm.CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = helm.load_yaml((helm.CHART / "values.yaml").read_text())[0]


@pytest.mark.parametrize("tool", ["make_backends", "make_connector", "make_schema"])
def test_what_is_made_is_what_the_sources_give(tool: str) -> None:
    """A page that lags behind tells users of values that are refused."""
    for path, text in scripts.module("charts/tools", tool).rendered().items():
        assert path.read_text() == text, f"{path.name}: run make generate"


def test_the_page_has_every_value() -> None:
    page = (helm.CHART.parents[1] / "docs" / "values.md").read_text()

    def leaves(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict) and value and f"| `{path}` | `" not in page:
            for key, part in value.items():
                yield from leaves(part, f"{path}.{key}")
        else:
            yield path

    for section, value in VALUES.items():
        for path in leaves(value, section):
            assert f"| `{path}` | `" in page, path


def test_no_key_is_without_a_reader() -> None:
    """A key that no template reads is a promise that nobody keeps."""
    text = "".join(p.read_text() for p in helm.CHART.rglob("templates/**/*") if p.is_file())
    # The templates read this table, and what it names.
    text += (helm.CHART / "charts/modelserver/files/connector-options.yaml").read_text()
    whole = (
        "resources",
        "floors",
        "requests",
        "limits",
        "probes.readiness",
        "probes.liveness",
        "evictor.config",
    )  # handed on as they are
    for path, schema in OBJECTS.items():
        for key in schema["properties"]:
            if (
                path
                and not path.removesuffix("[]").endswith(whole)
                and not path.startswith("common")
                and key not in ("global", "common")
            ):
                assert re.search(rf"[.\"]{key}\b", text), f"{path}.{key}"


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def closed_objects(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    schema = resolve(schema)
    if schema.get("type") == "object" and "properties" in schema:
        yield path, schema
        for key, part in schema["properties"].items():
            yield from closed_objects(part, f"{path}.{key}".lstrip("."))


OBJECTS = dict(closed_objects(SCHEMA))
OURS = sorted(path for path in OBJECTS if path and not path.startswith("common"))


def value_at(path: str) -> Any:
    found: Any = VALUES
    for key in path.split(".") if path else []:
        found = found[key]
    return found


def test_every_key_is_in_values_and_in_the_schema() -> None:
    for path, schema in OBJECTS.items():
        if path.startswith("common") or path == "evictor.config":  # of which every key is optional
            continue
        current = {k for k, part in schema["properties"].items() if not resolve(part).get("deprecated")}
        expected = {k for k in current if k != "common" and (k != "global" or not path)}
        if path.endswith(("requests", "limits")) or path.endswith("resources"):
            assert set(value_at(path)) <= expected
            continue
        assert set(value_at(path)) == expected, path
        optional = {k for k in expected if "null" in resolve(schema["properties"][k]).get("type", ())}
        assert set(schema.get("required", ())) == expected - optional, path
        assert all(value_at(path)[key] != "" for key in optional), f"{path}: null means not set"


def test_the_examples_are_what_the_schema_takes() -> None:
    """One in each block; who uncomments it must not be refused."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    text = (helm.CHART / "values.yaml").read_text()
    found = re.findall(r"^( *)# Example: (.+)\n((?: *#.*\n)*) *(\w+):|^(\w+):", text, re.MULTILINE)
    section, seen = "", 0
    for indent, example, _, key, top in found:
        section = top or (section if indent else key)
        if example:
            block = {section: {key: helm.load_yaml(example)[0]}} if indent else {key: helm.load_yaml(example)[0]}
            wrong = [e for e in validator.iter_errors(merged(VALUES, block)) if e.validator != "required"]
            assert not wrong, (section, key, wrong)
            seen += 1
    blocks = [path for path in OURS if path.count(".") == 1 and "." in path]
    assert seen >= len(set(blocks)), "a block without an example"


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        k: merged(base[k], v) if isinstance(v, dict) and isinstance(base.get(k), dict) else v for k, v in over.items()
    }
    return base | both


@cache
def all_typos() -> str:
    """What Helm says when every object has one: it shows all of them at once."""
    return helm.refusal("--set", ",".join(f"{path}.typo=1" if path else "typo=1" for path in ["", *OURS]))


@pytest.mark.parametrize("path", ["", *(path for path in OURS if path != "global")])
def test_a_misspelt_key_is_refused_with_its_path(path: str) -> None:
    where = "/" + path.replace(".", "/") if path else ""
    assert f"at '{where}': additional properties 'typo' not allowed" in all_typos()


def test_a_misspelt_global_is_refused_in_a_sentence() -> None:
    said = helm.refusal("--set", "global.typo=1")
    assert said.count("\n  - ") == 1 and "global.typo is no value of this chart" in said and "imageRegistry" in said


def test_it_can_be_a_part_of_another_chart(tmp_path: Path) -> None:
    """With a condition, beside charts that have globals of their own."""
    parent = {
        "apiVersion": "v2",
        "name": "parent",
        "version": "0.1.0",
        "dependencies": [{"name": "llm-d-storage", "version": "0.1.0", "condition": "llm-d-storage.enabled"}],
    }
    shutil.copytree(helm.CHART, tmp_path / "charts" / "llm-d-storage")
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    values = {
        "global": {"image": {"registry": "registry.example.com"}, "storageClass": "x", "postgresql": {"auth": 1}},
        "llm-d-storage": {"enabled": True},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    done = helm.helm("template", helm.RELEASE, tmp_path, "-n", helm.NAMESPACE)
    assert done.returncode == 0, done.stderr
    here = {(o["kind"], o["metadata"]["name"]) for o in helm.load_yaml(done.stdout)}
    assert here == {(o["kind"], o["metadata"]["name"]) for o in helm.objects("default")}
    off = helm.helm("template", helm.RELEASE, tmp_path, "--set", "llm-d-storage.enabled=false")
    assert off.returncode == 0 and not helm.load_yaml(off.stdout)


def test_a_subchart_takes_the_global_values() -> None:
    for name in ("storage", "modelserver", "inferencepool", "gateway"):
        assert "global" in resolve(SCHEMA["properties"][name])["properties"]


TYPED = [
    ("global.router.mode=ingress", "/global/router/mode"),
    ("global.image.pullPolicy=Sometimes", "/global/image/pullPolicy"),
    ("global.image.digest=sha256:12", "/global/image/digest"),
    ("storage.accessMode=ReadWriteOnce", "/storage/accessMode"),
    ("storage.size=18TB", "/storage/size"),
    ("storage.storageClass.reclaimPolicy=Keep", "/storage/storageClass/reclaimPolicy"),
    ("modelserver.replicas=two", "/modelserver/replicas"),
    ("modelserver.tensorParallelSize=0", "/modelserver/tensorParallelSize"),
    ("modelserver.cpuTier.size=100GB", "/modelserver/cpuTier/size"),
    ("modelserver.storageTier.publish=copy", "/modelserver/storageTier/publish"),
    ("modelserver.spread=always", "/modelserver/spread"),
    ("modelserver.resources.requests.memory=lots", "/modelserver/resources/requests/memory"),
    ("modelserver.model=", "/modelserver/model"),
    ("inferencepool.failureMode=Open", "/inferencepool/failureMode"),
    ("inferencepool.scorers.queue=-1", "/inferencepool/scorers/queue"),
    ("hooks.proof.minReusedFraction=95", "/hooks/proof/minReusedFraction"),
    ("hooks.proof.routerUrl=kv-router", "/hooks/proof/routerUrl"),
    ("hooks.checks.rwx=ignore", "/hooks/checks/rwx"),
    ("modelserver.connector=lmcache-local-disk", "/modelserver/connector"),
    ("modelserver.storageTier.directIo=yes", "/modelserver/storageTier/directIo"),
    ("modelserver.autoscaling.kind=vpa", "/modelserver/autoscaling/kind"),
    ("storage.backend=lustre", "/storage/backend"),
    ("gateway.provider=nginx", "/gateway/provider"),
    ("inferencepool.picker=random", "/inferencepool/picker"),
    ("global.podSecurity.runAsUser=root", "/global/podSecurity/runAsUser"),
]


@cache
def all_wrong_values() -> str:
    return helm.refusal("--set", ",".join(setting for setting, _ in TYPED))


@pytest.mark.parametrize(("setting", "path"), TYPED)
def test_a_wrong_value_is_refused_with_its_path(setting: str, path: str) -> None:
    assert f"at '{path}'" in all_wrong_values(), setting


def test_a_section_cannot_be_taken_away() -> None:
    said = helm.refusal("--set", "modelserver.hfToken=null")
    assert "at '/modelserver'" in said and "'hfToken'" in said
