"""Every command that the documentation shows, and who runs it.

A fenced block with the language ``sh`` is a promise that it works. Each of its commands is one of

- HERE: run as it stands by the unit layer,
- CHART: run as it stands by the chart layer, which has helm,
- RELEASE: run as it stands by the cluster layer, on an installed release,
- BY_TEST: what the named test does, in other words or with other values;

or its block is opened with "```sh needs: cloud" (or gpu), since no test can have what it needs, or with
"```sh needs: minutes": more than the tests can be given, so it is run by hand, and what it gave is kept in docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "charts/llm-d-storage/README.md",
    ROOT / "connector/docs/FORMAT.md",
    ROOT / "tests/lab/README.md",
)
# The language, then what the block needs that no test has.
_BLOCK = re.compile(r"^```(?:sh|bash|shell|console)(?P<needs>[^\n]*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
NEEDS = ("cloud", "gpu", "minutes")

# The directory of the docs' examples; the tests put one of their own in its place.
MOUNT = "/mnt/kv-cache/blocks"

HERE = (
    r"make help",
    r"\.venv/bin/python -m tests\.lab --help",
    r"llmd-kv (stats|bench) /mnt/kv-cache/blocks",
    r"export LLMD_KV_ROOT=/mnt/kv-cache/blocks",
    r"llmd-kv plan Qwen3-32B/config\.json .*",
)
CHART = (r"helm template cache charts/llm-d-storage -f (my-values|charts/llm-d-storage/ci/[a-z0-9-]+)\.yaml.*",)
RELEASE = (
    r"kubectl create secret generic llm-d-hf-token --from-literal=HF_TOKEN=\.\.\.",
    r"kubectl get configmap cache-storage-report -o yaml",
    r"kubectl get pods,pvc,events",
    r"kubectl get pods -l app\.kubernetes\.io/name=llm-d-storage",
    r"kubectl get events --field-selector type=Warning",
    r"kubectl logs deploy/cache-modelserver -c vllm --tail=200",
    r"helm get values cache",
    r"llmd-storage-hooks preflight --config '.*'",
)
BY_TEST = {
    r"python charts/tools/package\.py dist": "tests/chart/test_package.py::test_two_packages_are_equal_to_the_byte",
    r"helm push .*oci://registry\.example\.com/charts": (
        "tests/chart/test_package.py::test_what_a_registry_gives_back_is_what_was_packed"
    ),
    r"helm (install cache|show readme) oci://registry\.example\.com/llm/charts/llm-d-storage .*": (
        "tests/acceptance/cluster/test_release.py::test_a_release_is_installed_from_a_registry_and_proven"
    ),
    r"make release( RELEASE_KEY=\S+)?": "tests/acceptance/test_release.py::test_the_same_commit_gives_the_same_bytes",
    r"make push REGISTRY=\S+": "tests/chart/test_push.py::test_image_and_chart_come_back_as_they_were_built",
    r"(sha256sum --check|ssh-keygen -Y verify) .*": (
        "tests/acceptance/test_release.py::test_sums_and_signature_are_checked_with_everybodys_tools"
    ),
    r"helm test cache": "tests/cluster/test_2_install.py::test_helm_test_proves_it_again",
    r"helm install cache charts/llm-d-storage -f my-values\.yaml --timeout 2h": (
        "tests/cluster/test_2_install.py::test_the_install_ends_well_after_failed_tries"
    ),
    r"helm upgrade cache charts/llm-d-storage -f my-values\.yaml --timeout 2h": (
        "tests/cluster/test_5_upgrade.py::test_an_upgrade_is_proven_and_keeps_the_claim"
    ),
    r"llmd-storage-hooks proof --config @proof\.json --output junit \| tail -1 > proof\.xml": (
        "tests/unit/hooks/test_catalogue.py::test_junit_is_the_last_line_and_a_ci_system_reads_it"
    ),
    r"llmd-storage-hooks preflight -f my-values\.yaml --release cache --namespace default": (
        "tests/unit/hooks/test_arguments.py::test_values_are_rendered_by_helm_and_no_report_is_written_to_the_cluster"
    ),
    r"llmd-storage-hooks claim --claim cache-kv-cache --namespace default": (
        "tests/unit/hooks/test_arguments.py::test_options_win_over_json_and_release_and_namespace_over_both"
    ),
    r"llmd-storage-hooks probe --claim some-claim .*": (
        "tests/unit/hooks/test_probe_job.py::test_its_report_is_handed_on_and_the_job_removed"
    ),
    r"llmd-storage-hooks proof --url-a .*": ("tests/unit/hooks/test_proof_tool.py::test_two_addresses_need_no_cluster"),
    r"export KUBECONFIG=\$\(\.venv/bin/python -m tests\.lab kubeconfig\)": (
        "tests/unit/lab/test_cli.py::test_kubeconfig_says_that_the_lab_is_not_up"
    ),
    r"kubectl exec deploy/cache-evictor -- python3 -m llmd_storage_evictor stats /mnt/kv-cache/blocks": (
        "tests/unit/evictor/test_cli.py::test_stats_say_whose_blocks_and_how_old"
    ),
    r"(python -m llmd_storage_evictor|llmd-kv) run --config evictor\.yaml.*": (
        "tests/unit/evictor/test_controller.py::test_a_dry_run_writes_nothing"
    ),
    r"kubectl apply -f examples/argocd/app-of-apps\.yaml": (
        "tests/acceptance/cluster/test_argocd.py::test_the_first_sync_runs_every_hook_in_its_phase_and_ends_healthy"
    ),
    r"make demo": (
        "tests/acceptance/cluster/test_demo.py"
        "::test_the_demo_shows_a_document_answered_from_storage_and_changes_nothing_when_run_again"
    ),
    r"make (test|unit chart|venv|lint unit)": "tests/run.py::main",
    r"make acceptance": "tests/acceptance/__main__.py::main",
}


@dataclass(frozen=True)
class Command:
    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def blocks(page: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(line, what it needs, its commands) of each block of commands: lines joined, comments gone."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        needs = match["needs"].strip()
        joined = re.sub(r"\\\n\s*", "", match["text"])
        lines = (re.sub(r"(^|\s)#( .*|$)", "", line).strip() for line in joined.splitlines())
        yield text[: match.start()].count("\n") + 1, needs, [line for line in lines if line]


def commands() -> list[Command]:
    """The commands of all blocks that need nothing special."""
    return [
        Command(page.relative_to(ROOT).as_posix(), line, text)
        for page in PAGES
        for line, needs, texts in blocks(page)
        if not needs
        for text in texts
    ]


def those(patterns: tuple[str, ...]) -> list[str]:
    """The docs' commands that match, each once, in their order."""
    found = (c.text for c in commands() if any(re.fullmatch(p, c.text) for p in patterns))
    return list(dict.fromkeys(found))
