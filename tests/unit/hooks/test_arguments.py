# SPDX-License-Identifier: Apache-2.0
"""What a person types becomes the hook's configuration, or one sentence."""

from __future__ import annotations

import stat

import pytest

from llmd_storage_hooks.core import helm as rendering
from llmd_storage_hooks.core.arguments import Arguments, config_data
from llmd_storage_hooks.core.errors import ConfigError
from tests.unit.hooks.test_output import llmd


def helm(tmp_path, monkeypatch, script):
    binary = tmp_path / "helm"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


JOB = """cat <<'END'
spec: {template: {spec: {containers: [{args: [preflight, --config, '{"release": "r", "reportConfigMap": "x"}']}]}}}
END
echo "$@" > "$(dirname "$0")/asked"
"""


def test_values_are_rendered_by_helm_and_no_report_is_written_to_the_cluster(tmp_path, monkeypatch):
    helm(tmp_path, monkeypatch, JOB)
    given = Arguments(values=["v.yaml"], settings=["a=b"], chart="oci://c", release="r", namespace="n")
    assert config_data("preflight", given, {"timeoutSeconds": 5, "podSecurity": None}) == {
        "release": "r",
        "reportConfigMap": "",
        "jobName": "",
        "timeoutSeconds": 5,
    }
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("template r oci://c -n n -f v.yaml --set a=b")
    assert "--show-only templates/hooks/preflight/job.yaml" in asked


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: storage.sise: typo' >&2; exit 1", "storage.sise: typo"),
        ("echo 'kind: Pod'", "has no preflight hook"),
        ("sleep 5", "did not end well"),
    ],
)
def test_what_helm_says_is_passed_on(tmp_path, monkeypatch, script, said):
    helm(tmp_path, monkeypatch, script)
    monkeypatch.setattr(rendering, "HELM_TIMEOUT_S", 0.5 if "sleep" in script else 60)
    with pytest.raises(ConfigError, match=said):
        config_data("preflight", Arguments(values=["v"]), {})


def test_without_helm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs helm on PATH"):
        config_data("preflight", Arguments(values=["v"]), {})


def test_options_win_over_json_and_release_and_namespace_over_both():
    given = Arguments(config='{"release": "x", "namespace": "y", "claimName": "a"}', namespace="z")
    assert config_data("claim", given, {"claimName": "b"}) == {"release": "x", "namespace": "z", "claimName": "b"}
    assert config_data("claim", Arguments(), {"claimName": "b"}, sufficient=True)["release"] == "cache"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Arguments(), "nothing says what to look at"),
        (Arguments(config="{}", values=["v"]), "give one of them"),
        (Arguments(config="[]"), "must be a JSON object"),
        (Arguments(config="{"), "not JSON"),
    ],
)
def test_what_cannot_be_meant(given, said):
    with pytest.raises(ConfigError, match=said):
        config_data("claim", given, {})


@pytest.mark.parametrize("hook", ["preflight", "claim", "probe", "proof"])
def test_help_has_examples(hook):
    got = llmd(hook, "--help", COLUMNS="200")
    assert got.returncode == 0
    assert f"llmd-storage-hooks {hook} -" in got.stdout.partition("Examples:")[2]
