"""The health check of Jobs that examples/argocd gives to Argo CD, in Lua 5.1 as Argo CD's own is.

The acceptance part "argocd" looks for what it says in a real Application.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lupa import lua51

from llmd_storage_hooks.core.output import FAILURE
from tests.unit.docs.commands import ROOT

EXAMPLE = ROOT / "examples" / "argocd" / "argocd-cm.yaml"
(SCRIPT,) = yaml.safe_load(EXAMPLE.read_text())["data"].values()
SAID = "preflight.secret.hf-token: There is no Secret. Make it."


def health(job: dict[str, Any]) -> tuple[str, str | None]:
    lua = lua51.LuaRuntime()
    lua.globals().obj = lua.table_from(job, recursive=True)
    found = lua.execute(SCRIPT)
    return found["status"], found["message"]


def job(*types: str, status: str = "True", **annotations: str) -> dict[str, Any]:
    conditions = [{"type": one, "status": status, "message": f"Kubernetes on {one}"} for one in types]
    return {"metadata": {"name": "x", **annotations}, "status": {"conditions": conditions}}


def test_a_hook_that_failed_says_why() -> None:
    assert health(job("Failed", annotations={FAILURE: SAID})) == ("Degraded", SAID)
    assert health(job("FailureTarget", "Failed", annotations={FAILURE: SAID})) == ("Degraded", SAID)


@pytest.mark.parametrize("annotations", [{}, {"annotations": {"other": "x"}}])
def test_any_other_job_is_judged_as_argo_cd_would(annotations: dict[str, Any]) -> None:
    """https://github.com/argoproj/argo-cd, gitops-engine/pkg/health/health_job.go"""
    for types, status in (
        (("Failed",), "Degraded"),
        (("SuccessCriteriaMet", "Complete"), "Healthy"),
        (("Suspended",), "Suspended"),
    ):
        assert health(job(*types, **annotations)) == (status, f"Kubernetes on {types[-1]}")
    for nothing_yet in (job(**annotations), {"metadata": {"name": "x"}}, job("FailureTarget", **annotations)):
        assert health(nothing_yet) == ("Progressing", "")


def test_a_job_that_goes_on_after_a_failure_was_written_is_not_failed() -> None:
    assert health(job(annotations={FAILURE: SAID}))[0] == "Progressing"
    assert health(job("Suspended", status="False"))[0] == "Progressing"
