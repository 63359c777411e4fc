"""The lab's steps: what is built and kept, and what one run starts."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab import (
    argocd,
    ceph,
    control,
    crds,
    deps,
    engine,
    flux,
    golden,
    gotools,
    health,
    images,
    istio,
    net,
    node,
    pki,
    prometheus,
    storage,
    versions,
)
from tests.lab.paths import HERE, Lab, Node
from tests.lab.proc import Console
from tests.lab.steps import Step

REGISTRIES = "check that the package registries can be reached, then run the same command again"
IMAGES = "run the same command again; `python -m tests.lab logs project-image` says more"
AGAIN = "python -m tests.lab down, then up again; `python -m tests.lab logs` lists the components' logs"

Make = Callable[[Console, Lab], None]


def _step_of(lab: Lab) -> Callable[..., Step]:
    def step(name: str, make: Make, current: Callable[[Lab], bool], needs: tuple[str, ...] = ()) -> Step:
        return Step(name, lambda c: make(c, lab), needs, lambda: current(lab), REGISTRIES)

    return step


def build_steps(lab: Lab) -> list[Step]:
    """All that is kept between runs. On a bare machine the Go build is the longest; all else goes beside it."""

    step = _step_of(lab)

    return [
        Step("packages", deps.install_packages, current=lambda: not deps.packages_wanted(), hint=REGISTRIES),
        step("tools", deps.install_tools, deps.tools_current),
        step("go-build", deps.build_go, deps.go_current),
        Step("crd-modules", lambda c: c.say(f"{len(crds.crd_files())} files"), hint=REGISTRIES),
        step("engine", engine.make_engine, engine.engine_current, ("packages",)),
        step("model", engine.make_model, engine.model_current, ("engine",)),
        image_step(lab, "base-images", images.base_specs, ("packages",)),
        image_step(lab, "go-images", lambda: images.go_specs(lab), ("packages", "go-build")),
        image_step(lab, "envoy-image", lambda: [images.envoy_spec()], ("packages",)),
        image_step(lab, "vllm-image", lambda: [images.vllm_spec(lab)], ("base-images", "model")),
        project_image_step(lab),
        Step(
            "image-store",
            lambda c: golden.make(c, lab),
            ("base-images", "go-images", "envoy-image", "vllm-image", "project-image"),
            lambda: golden.is_current(lab),
            IMAGES,
        ),
    ]


def addon_steps(lab: Lab) -> list[Step]:
    """What only some cluster tests run, built and kept like the rest; no part of `up`."""
    wanted = versions.ARGOCD_PACKAGES

    step = _step_of(lab)

    return [
        Step(
            "argocd-packages",
            lambda c: deps.install_packages(c, wanted),
            ("packages",),  # one apt at a time
            current=lambda: not deps.packages_wanted(wanted),
            hint=REGISTRIES,
        ),
        step("argocd-build", argocd.build, argocd.is_built),
        step("prometheus", prometheus.install_programs, prometheus.programs_current),
        # go-build compiles most of it.
        step("state-metrics", prometheus.build_state_metrics, prometheus.state_metrics_current, ("go-build",)),
        go_tool(lab, istio.TOOL),
        *(go_tool(lab, tool) for tool in (gotools.ACTIONLINT, gotools.REGISTRY, gotools.CRANE)),
        step("helm-3", deps.install_helm_3, deps.helm_3_current),
        step("vllm-next", engine.make_next, engine.next_current, ("model",)),
        step("lmcache", engine.make_lmcache, engine.lmcache_current, ("engine",)),
        step("flux-crds", flux.make, flux.is_made),
    ]


def go_tool(lab: Lab, tool: gotools.GoTool) -> Step:
    return Step(
        tool.program,
        lambda c: gotools.build(c, lab, tool),
        current=lambda: gotools.is_current(lab, tool),
        hint=REGISTRIES,
    )


def image_step(lab: Lab, name: str, specs: Callable[[], list[images.Spec]], needs: tuple[str, ...]) -> Step:
    def make(c: Console) -> None:
        for spec in specs():
            images.make(c, lab, spec)

    return Step(name, make, needs, lambda: all(images.is_current(lab, s) for s in specs()), IMAGES)


def project_image_step(lab: Lab, needs: tuple[str, ...] = ()) -> Step:
    return image_step(lab, "project-image", lambda: images.project_specs(lab), needs)


def closure(steps: list[Step], *names: str) -> list[Step]:
    """The named steps and all that they need."""
    by_name = {s.name: s for s in steps}
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += by_name[name].needs
    return [s for s in steps if s.name in wanted]


# What the chart tests need: no package of the system.
GO_TOOLS = tuple(tool.program for tool in (gotools.ACTIONLINT, gotools.CRANE))
TOOLS = ("tools", "crd-modules", "flux-crds", "prometheus", *GO_TOOLS)


def build_groups(lab: Lab) -> dict[str, list[Step]]:
    """The parts of the build that can be had alone, each with all that it needs."""
    steps, addons = build_steps(lab), addon_steps(lab)
    whole = [s.name for s in steps]

    def group(*names: str) -> list[Step]:
        return closure([*steps, *addons], *names)

    return {
        "all": steps,
        "tools": group(*TOOLS),
        "helm-3": group(*TOOLS, "helm-3"),
        "engine": group("engine", "model"),
        "vllm-next": group("vllm-next"),
        "lmcache": group("tools", "lmcache"),
        "argocd": group(*whole, "argocd-packages", "argocd-build"),
        "prometheus": group(*whole, "prometheus", "state-metrics"),
        "istiod": group(*whole, istio.TOOL.program),
        "release": group("tools", gotools.CRANE.program),
        "registry": group(*whole, "tools", gotools.CRANE.program, gotools.REGISTRY.program),
        "gate": group(*whole, *TOOLS),
        "acceptance": [*steps, *addons],
    }


def run_steps(lab: Lab) -> list[Step]:
    """What one run starts, once all is built."""

    def runtime(n: Node) -> Step:
        return Step(f"containerd-{n.name}", lambda c: node.start_runtime(c, lab, n), needs=("network",), hint=AGAIN)

    def kubelets(c: Console) -> None:
        for n in lab.nodes:
            node.start_kubelet(lab, n)
        c.until("every node to register", control.holds(lambda: _count(lab) == len(lab.nodes)))

    def dns(c: Console) -> None:
        # Applied once every node is known, so that its pods are spread over all of them.
        control.apply_manifest(c, lab, (HERE / "manifests" / "dns.yaml").read_text())
        c.until("every node to be ready", control.holds(lambda: _all_ready(lab)))
        words = ("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
        c.run(control.kubectl_argv(lab, *words))

    runtimes = [runtime(n) for n in lab.nodes]
    runtime_names = tuple(s.name for s in runtimes)
    built = ("packages", "tools", "go-build", "image-store")
    return [
        Step("network", lambda c: net.create(c, lab), needs=built, hint=AGAIN),
        Step("certificates", lambda c: pki.create(c, lab), needs=built, hint=AGAIN),
        Step("api-server", lambda c: control.start_api(c, lab), needs=("network", "certificates"), hint=AGAIN),
        Step("cephfs", lambda c: ceph.create(c, lab), needs=("network",), hint=AGAIN),
        *runtimes,
        Step("controllers", lambda c: control.start_controllers(c, lab), needs=("api-server",), hint=AGAIN),
        Step("kubelets", kubelets, needs=("api-server", *runtime_names), hint=AGAIN),
        Step("dns", dns, needs=("kubelets", "controllers"), hint=AGAIN),
        Step("crds", lambda c: crds.apply(c, lab), needs=("api-server", "crd-modules"), hint=AGAIN),
        Step("storage-classes", lambda c: storage.create(c, lab), needs=("cephfs", "kubelets"), hint=AGAIN),
        load_step(lab, (*runtime_names, "project-image")),
        Step("complete", lambda c: health.mark(lab), needs=("dns", "crds", "storage-classes", "load-image")),
    ]


def load_step(lab: Lab, needs: tuple[str, ...]) -> Step:
    return Step(
        "load-image",
        lambda c: load_project_image(c, lab),
        needs=needs,
        current=lambda: project_image_loaded(lab),
        hint=AGAIN,
    )


def _count(lab: Lab) -> int:
    return len(control.get_json(lab, "nodes")["items"])


def _all_ready(lab: Lab) -> bool:
    nodes = control.get_json(lab, "nodes")["items"]
    return len(nodes) == len(lab.nodes) and all(health.node_ready(n) for n in nodes)


# --- the project image on the nodes


def _to_load(lab: Lab, n: Node) -> list[images.Spec]:
    """Of the project image and the one it is built on, what the node has not, or has in an older state."""
    specs = images.project_specs(lab)
    return [s for s in specs if images.loaded_digest(lab, n, s.name) != images.built_digest(lab, s.key)]


def project_image_loaded(lab: Lab) -> bool:
    return not any(_to_load(lab, n) for n in lab.nodes)


def load_project_image(c: Console, lab: Lab) -> None:
    for n in lab.nodes:
        for spec in _to_load(lab, n):
            c.say(f"loading {spec.name} into {n.name}")
            words = golden.ctr(lab.containerd_socket(n), "images", "import", images.archive(lab, spec.key))
            c.run(words)
