"""The lab's commands: python -m tests.lab --help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console as Terminal
from rich.table import Table

from tests.lab import cluster, faults, health, plan, smoke, teardown
from tests.lab import up as lifecycle
from tests.lab.errors import LabError
from tests.lab.inside import in_control, in_node
from tests.lab.net import node_named
from tests.lab.paths import Lab, lab
from tests.lab.proc import component_log, components, system_env
from tests.lab.steps import Record, State

EXAMPLES = """A real two-node Kubernetes with CephFS on this machine, for tests and the demo.

Examples:

    python -m tests.lab up                  # everything; quick when it is up already

    export KUBECONFIG=$(python -m tests.lab kubeconfig)

    python -m tests.lab kubectl get pods -A

    python -m tests.lab fault link-cut n1   # then: fault link-mend n1

    python -m tests.lab down

LLMD_LAB_HOME says where it keeps what it makes (default /var/lib/llm-d-storage-lab).
"""
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

app = typer.Typer(help=EXAMPLES, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
fault = typer.Typer(help="Put a fault into the running lab, or take it out again.", no_args_is_help=True)
app.add_typer(fault, name="fault")
out = Terminal(soft_wrap=True)
err = Terminal(stderr=True, soft_wrap=True)


def fail(error: LabError) -> NoReturn:
    err.print(str(error), style="red", markup=False, highlight=False)
    raise typer.Exit(1)


def summary(records: list[Record], begun_s: float) -> None:
    done = [r for r in records if r.state is State.DONE]
    out.print(
        f"{len(done)} steps done, {len(records) - len(done)} were current, {time.monotonic() - begun_s:.1f} s",
        highlight=False,
    )


@app.command()
def up() -> None:
    """Bring the lab up. A healthy lab is left alone, except for a newer project image."""
    begun, the_lab = time.monotonic(), lab()
    try:
        summary(lifecycle.up(the_lab, out), begun)
    except LabError as e:
        fail(e)
    out.print(f"KUBECONFIG={the_lab.kubeconfig}", highlight=False)


@app.command()
def down() -> None:
    """Take the lab down and leave nothing of it; what was built is kept."""
    begun = time.monotonic()
    try:
        lifecycle.down(lab(), out)
    except LabError as e:
        fail(e)
    out.print(f"the lab is down, {time.monotonic() - begun:.1f} s", highlight=False)


@app.command()
def build(
    group: Annotated[
        str,
        typer.Argument(
            help="all, tools (helm, kubectl, CRDs), helm-3, engine (vLLM, model), vllm-next, lmcache, argocd, "
            "istiod, prometheus, registry; release: what `make release` needs; "
            "gate: what `make test` needs; acceptance: everything"
        ),
    ] = "all",
) -> None:
    """Only install, build and cache: packages, programs, engine, model, images."""
    begun = time.monotonic()
    if group not in (known := plan.build_groups(lab())):
        raise typer.BadParameter(f"{group!r} is none of {', '.join(known)}")
    try:
        summary(lifecycle.build(lab(), out, group), begun)
    except LabError as e:
        fail(e)


@app.command()
def image() -> None:
    """Build the project image anew if its sources changed, and load it into the running nodes."""
    begun = time.monotonic()
    try:
        summary(lifecycle.refresh_image(lab(), out), begun)
    except LabError as e:
        fail(e)


@app.command()
def status(quiet: Annotated[bool, typer.Option("--quiet", "-q", help="say it by the exit code only")] = False) -> None:
    """Say how the lab is; exit code 1 when it is not well."""
    the_lab = lab()
    if quiet:
        raise typer.Exit(0 if health.check(the_lab).well else 1)
    t = Table(box=None, pad_edge=False)
    for column in ("component", "pid", "state"):
        t.add_column(column)
    for c in components(the_lab):
        state = "stopped" if c.stopped else "running" if c.alive else "ended"
        t.add_row(c.name, str(c.pid), state, style="" if state == "running" else "red")
    if t.row_count:
        out.print(t)
    found = health.check(the_lab)
    for complaint in found.complaints:
        out.print(complaint, style="yellow", markup=False)
    if not found.well:
        raise typer.Exit(1)
    out.print(f"the lab is well; KUBECONFIG={the_lab.kubeconfig}", highlight=False)


@app.command()
def kubeconfig() -> None:
    """Print the path of the kubeconfig: the lab's, or $KUBECONFIG when that names another cluster."""
    try:
        path = cluster.target().kubeconfig
    except LabError as e:
        fail(e)
    print(path or lab().kubeconfig)
    if path is None:
        err.print("the lab is not up: run `python -m tests.lab up`", style="yellow")
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="a component or a step; none lists them")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", help="how many lines from the end")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as the log grows")] = False,
) -> None:
    """Show a log. Examples: logs kube-apiserver; logs n1/kubelet -n 200; logs go-build."""
    the_lab = lab()
    known = {p.stem: p for p in sorted(the_lab.log.rglob("*.log"))}
    wanted = the_lab.log / f"{name}.log"
    path = wanted if wanted.exists() else component_log(the_lab, name)
    if not name or not path.exists():
        for p in known.values():
            out.print(f"{p.stat().st_size:>10}  {p}", highlight=False)
        if name:
            fail(LabError(f"no log is named {name!r}"))
        return
    argv = ["tail", "-n", str(lines), *(["-f"] if follow else []), str(path)]
    raise typer.Exit(subprocess.call(argv))


@app.command()
def leftovers() -> None:
    """List what a run left behind; exit code 1 when there is anything."""
    found = teardown.leftovers(lab())
    for line in found:
        print(line)
    raise typer.Exit(1 if found else 0)


@app.command(name="smoke")
def smoke_command() -> None:
    """Prove the lab itself: shared volumes, names, quotas, refusals, images."""
    outcomes = []
    try:
        for o in smoke.run(lab()):
            outcomes.append(o)
            mark = "ok  " if o.passed else "FAIL"
            out.print(f"{mark} {o.name} ({o.seconds:.1f} s): {o.said}", markup=False, highlight=False)
    except LabError as e:
        fail(e)
    failed = sum(not o.passed for o in outcomes)
    out.print(f"{len(outcomes) - failed} passed, {failed} failed", highlight=False)
    raise typer.Exit(1 if failed else 0)


# --- programs on the lab


def _replace(argv: list[str], env: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, env)
    except FileNotFoundError:
        fail(LabError(f"{argv[0]} is not there: run `python -m tests.lab build`"))


def _rest(after: str) -> list[str]:
    """The command line after a word, untouched: the option parser would swallow a `--` in it."""
    return sys.argv[sys.argv.index(after) + 1 :]


def cluster_program(name: Literal["helm", "kubectl"]) -> Path:
    target = cluster.target()
    return target.helm if name == "helm" else target.kubectl


def _client_env(the_lab: Lab) -> dict[str, str]:
    target = cluster.target()
    if target.kubeconfig is None:
        fail(LabError("the lab is not up: run `python -m tests.lab up`"))
    helm = {f"HELM_{n.upper()}_HOME": str(the_lab.home / "helm" / n) for n in ("cache", "config", "data")}
    return system_env({**(helm if target.is_lab else {}), "KUBECONFIG": str(target.kubeconfig)})


@app.command(context_settings=PASS_THROUGH)
def kubectl() -> None:
    """kubectl on the lab: kubectl get pods -A."""
    _replace([str(cluster_program("kubectl")), *_rest("kubectl")], _client_env(lab()))


@app.command(context_settings=PASS_THROUGH)
def helm() -> None:
    """helm on the lab: helm list -A."""
    _replace([str(cluster_program("helm")), *_rest("helm")], _client_env(lab()))


@app.command(name="exec", context_settings=PASS_THROUGH)
def exec_command(where: Annotated[str, typer.Argument(help="cp, n1 or n2")]) -> None:
    """Run a program inside the control plane's network or a node: exec n1 mount; exec cp ceph -c ... status."""
    the_lab = lab()
    try:
        prefix = in_control(the_lab) if where == "cp" else in_node(the_lab, node_named(the_lab, where))
    except LabError as e:
        fail(e)
    path = f"{the_lab.bin}:{system_env()['PATH']}"
    env = system_env({"PATH": path, "CEPH_CONF": str(the_lab.ceph / "ceph.conf")})
    _replace([*prefix, *(_rest(where) or ["sh"])], env)


# --- faults


@fault.command("link-cut")
def link_cut(node: str) -> None:
    """Cut a node's cable: the API server and the storage are gone for it. Example: fault link-cut n1."""
    _fault(lambda the_lab: faults.cut(the_lab, node), f"{node} is cut off")


@fault.command("link-mend")
def link_mend(node: str) -> None:
    """Mend a node's cable."""
    _fault(lambda the_lab: faults.mend(the_lab, node), f"{node} is connected")


@fault.command("stop")
def stop(component: str) -> None:
    """Freeze a component (SIGSTOP). Examples: fault stop ceph-mds; fault stop n1/ceph-fuse."""
    _signal(component, signal.SIGSTOP, "stopped")


@fault.command("cont")
def cont(component: str) -> None:
    """Let a frozen component go on (SIGCONT)."""
    _signal(component, signal.SIGCONT, "goes on")


@fault.command("kill")
def kill(component: str) -> None:
    """Kill a component (SIGKILL). `up` then makes the lab anew."""
    _signal(component, signal.SIGKILL, "killed")


def _signal(name: str, sig: signal.Signals, done: str) -> None:
    _fault(lambda the_lab: faults.send(the_lab, name, sig), f"{name}: {done}")


def _fault(act: Callable[[Lab], object], done: str) -> None:
    try:
        act(lab())
    except LabError as e:
        fail(e)
    out.print(done, highlight=False)
