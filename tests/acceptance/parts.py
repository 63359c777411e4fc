"""The parts of the acceptance: what each proves, how it is run, and the code whose change makes its record old."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.lab.paths import lab

CHART = "charts/llm-d-storage"
IMAGE = ("core/src", "hooks/src", "connector/src", "evictor/src", "image", "requirements/image.txt")
CLUSTER = "tests/acceptance/cluster"
LAB = ("tests/lab", "tests/cluster/harness.py", "tests/cluster/fixtures.py")


@dataclass(frozen=True)
class Part:
    """tests: what pytest gets; build: a group of `python -m tests.lab build`; minutes: on two cores, all built.

    before: a folder whose packages go before the engine's own.
    """

    name: str
    proves: str
    tests: tuple[str, ...]
    code: tuple[str, ...]
    minutes: int
    build: str = "all"
    lab: bool = False
    engine: bool = False
    before: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> tuple[str, ...]:
        """Files and folders: a record holds for the state they had."""
        return (*self.code, *(one for one in self.tests if not one.startswith("-")))


PARTS = (
    Part(
        "demo",
        "`make demo` shows a document answered from storage five times as fast as computed, twice, within five seconds",
        (f"{CLUSTER}/test_demo.py",),
        (CHART, *IMAGE, "tests/demo", *LAB),
        4,
        lab=True,
    ),
    Part(
        "storage",
        "every way to a claim: dynamic, static, given, shared by namespaces, resized, rolled back, kept, owned by root",
        (f"{CLUSTER}/test_storage.py", f"{CLUSTER}/test_admin.py"),
        (CHART, *IMAGE, *LAB),
        6,
        lab=True,
    ),
    Part(
        "traffic",
        "servers in use: helm test and a rolling upgrade are proven, and what one server stored the other reads",
        (f"{CLUSTER}/test_traffic.py",),
        (CHART, *IMAGE, *LAB),
        12,
        lab=True,
    ),
    Part(
        "drain",
        "nodes are drained in turn, the leading picker is killed, pickers and Envoys are replaced: no request fails",
        (f"{CLUSTER}/test_drain.py",),
        (f"{CHART}/charts/inferencepool", f"{CLUSTER}/client.py", f"{CLUSTER}/log_pod.py", *LAB),
        8,
        lab=True,
    ),
    Part(
        "hooks",
        "storage that is wrong for real gets the sentence it must get: GlusterFS, full, squashed, read-only, hanging",
        (f"{CLUSTER}/test_hooks.py", "tests/acceptance/test_gluster.py", "tests/acceptance/test_probe_sick.py"),
        (CHART, "hooks/src", "image", *LAB),
        6,
        lab=True,
    ),
    Part(
        "evictor",
        "two vLLM pods write for ten minutes, over five budgets; the leader is killed, the volume filled, storage hung",
        (f"{CLUSTER}/test_evictor.py",),
        (
            f"{CHART}/templates/evictor",
            "evictor/src",
            "connector/src",
            "core/src",
            f"{CLUSTER}/watcher.py",
            f"{CLUSTER}/log_pod.py",
            *LAB,
        ),
        16,
        lab=True,
    ),
    Part(
        "istio",
        "a Gateway of Istio in front of the real picker: accepted, proven through, TLS, failure modes, shared Gateways",
        (f"{CLUSTER}/test_istio.py",),
        (f"{CHART}/charts/gateway", f"{CHART}/charts/inferencepool", "hooks/src", "tests/lab/istio", *LAB),
        7,
        build="istiod",
        lab=True,
    ),
    Part(
        "argocd",
        "the chart under a real Argo CD by the files of examples/argocd, from the first sync to the deletion",
        (f"{CLUSTER}/test_argocd.py",),
        (
            CHART,
            "examples/argocd",
            "hooks/src",
            f"{CLUSTER}/gitops.py",
            f"{CLUSTER}/argo_caches.py",
            *LAB,
        ),
        11,
        build="argocd",
        lab=True,
    ),
    Part(
        "flux",
        "what Flux does by examples/flux, done with Helm: a remedied install over the kept claim, and a rollback",
        (f"{CLUSTER}/test_flux.py",),
        (CHART, "examples/flux", "hooks/src", f"{CLUSTER}/test_storage.py", *LAB),
        5,
        lab=True,
    ),
    Part(
        "release",
        "`make release` twice gives the same bytes; pushed to a registry, it is installed and proven from there alone",
        ("tests/acceptance/test_release.py", f"{CLUSTER}/test_release.py"),
        (CHART, "charts/tools", *IMAGE, "release", "requirements", "tests/lab/registry.py", *LAB),
        12,
        build="registry",
        lab=True,
    ),
    Part(
        "metrics",
        "every alert fires by its fault made for real, and every panel has data, in a Prometheus that scrapes the lab",
        (f"{CLUSTER}/test_metrics.py",),
        (CHART, *IMAGE, f"{CLUSTER}/watching.py", "tests/acceptance/dashboards.py", *LAB),
        8,
        build="prometheus",
        lab=True,
    ),
    Part(
        "soak",
        "half an hour of faults under two vLLMs, with adapters replaced in place, caches reset and weights reloaded: "
        "no answer differs from one without a cache, none is held up",
        ("tests/acceptance/engine/test_soak.py",),
        ("core/src", "connector/src", "tests/soak", "tests/faultfs", "tests/engine"),
        33,
        build="engine",
        engine=True,
    ),
    Part(
        "budget",
        "two vLLMs write five budgets, the leading evictor is killed: at most 102 %, taken over within 15 s",
        ("tests/acceptance/engine/test_budget.py",),
        ("core/src", "connector/src", "evictor/src", "tests/faultfs", "tests/engine"),
        3,
        build="engine",
        engine=True,
    ),
    Part(
        "ranks",
        "an engine of two ranks answers from the blocks of another that was killed",
        ("tests/acceptance/engine/test_ranks.py",),
        ("core/src", "connector/src", "tests/engine"),
        2,
        build="engine",
        engine=True,
    ),
    Part(
        "nixl",
        "within MultiConnector beside a real NIXL the connector stores and loads, no block is taken for another, and a "
        "prompt is handed from engine to engine while it is stored",
        ("tests/acceptance/engine/test_nixl.py",),
        ("core/src", "connector/src", "tests/engine"),
        5,
        build="engine",
        engine=True,
    ),
    Part(
        "vllm-next",
        "the engine tests with the Python of vLLM 0.33, of which there is no build for CPUs, on the kernels of 0.32",
        ("tests/engine",),
        ("core/src", "connector/src", "tests/lab/versions.py", "tests/lab/engine.py"),
        8,
        build="vllm-next",
        engine=True,
        before=str(lab().vllm_next),
    ),
    Part(
        "lmcache",
        "LMCache with the chart's configuration: processes share its fs backend's chunks; what it checks and counts",
        ("tests/acceptance/engine/test_lmcache.py",),
        (
            f"{CHART}/charts/modelserver/templates",
            "tests/acceptance/engine/lmcache_worker.py",
            "tests/lab/versions.py",
            "tests/lab/engine.py",
        ),
        8,
        build="lmcache",
        engine=True,
        before=str(lab().lmcache),
    ),
    Part(
        "million",
        "an evictor over a million files and ten million names: scan, memory, what it costs while nothing happens",
        ("tests/acceptance/test_million.py",),
        ("core/src", "evictor/src", "tests/bench/evictor_scale.py", "tests/bench/evictor_names.py"),
        8,
        build="tools",
    ),
    Part(
        "properties",
        "ten thousand values files that nobody wrote: rendered into valid objects, or refused in a sentence",
        ("tests/chart/test_properties.py",),
        (CHART, "tests/chart"),
        60,
        build="tools",
        environment={"LLMD_TEST_EXAMPLES": "10000"},
    ),
    Part(
        "helm-3",
        "the chart's tests with Helm 3.19, but those of NOTES, for which it needs a cluster; the gate has Helm 4",
        ("tests/chart", "--ignore=tests/chart/test_notes.py"),
        (CHART, "charts/tools", "tests/lab/versions.py"),
        6,
        build="helm-3",
        environment={"LLMD_TEST_HELM": str(lab().helm_3)},
    ),
    Part(
        "coverage",
        "at least 95 % of the branches of the code that gives verdicts are taken by the unit tests",
        ("tests/unit/hooks", "--cov", "--cov-report=term:skip-covered"),
        ("hooks/src/llmd_storage_hooks", "tests/unit/hooks"),
        1,
        build="",
    ),
    Part(
        "pages",
        "the benchmark's report before a real browser: every picture there, nothing to complain of",
        ("tests/acceptance/test_pages.py",),
        ("tests/cluster_bench", "tests/browser.py", "docs/benchmarks/cluster"),
        1,
        build="",
    ),
    Part(
        "render",
        "each scenario is rendered with less than a second of processor time",
        ("tests/acceptance/test_render.py",),
        (CHART,),
        1,
        build="tools",
    ),
    Part(
        "kills",
        "`make test` is killed at random moments; each time the next one, in a fresh clone, is green without help",
        ("tests/acceptance/test_kills.py",),
        ("Makefile", "tests/run.py", "tests/results.py", "tests/lab", "tests/faultfs", "tests/engine/process.py"),
        420,
    ),
)
BY_NAME = {part.name: part for part in PARTS}
