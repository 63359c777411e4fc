"""A Prometheus beside the lab, and kube-state-metrics: what they are made from, and how they are started.

Both are programs of this machine in the control plane's network, like the control plane itself: they reach every pod,
`down` finds them, and nothing of them is in the cluster.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.lab import deps, digest, pki
from tests.lab.discover import Discovery
from tests.lab.errors import LabError
from tests.lab.inside import in_control
from tests.lab.paths import HERE, Lab
from tests.lab.proc import ADDON, Console, Word, component_log, components, output, start, stop
from tests.patience import CEILING_S

Config = Mapping[str, Any]
PROGRAMS = ("prometheus", "promtool")
PORT, STATE_PORT = 9090, 9470
STATE_METRICS = "kube-state-metrics"
NAMES = {name: f"{ADDON}{name}" for name in ("prometheus", STATE_METRICS, "prometheus-proxy")}
START_S = 60.0
_KSM, _KSM_MODULE = deps.GO_TOOLS / "ksm", "k8s.io/kube-state-metrics/v2"


def programs_current(lab: Lab) -> bool:
    return all(os.access(lab.bin / name, os.X_OK) for name in PROGRAMS)


def install_programs(c: Console, lab: Lab) -> None:
    """prometheus and promtool, out of Debian's package. It is unpacked and not installed: nothing starts by itself."""
    lab.bin.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=lab.home) as t:
        tmp = Path(t)
        _download(c, tmp)
        c.run(["dpkg-deb", "-x", next(tmp.glob("*.deb")), tmp / "root"])
        for name in PROGRAMS:
            deps.place(tmp / "root" / "usr" / "bin" / name, lab.bin / name)


def _download(c: Console, to: Path) -> None:
    """With the package lists that are there, else with lists of our own, so that no other apt is hindered."""
    argv = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", "prometheus"]
    try:
        c.run(argv, cwd=to)
    except LabError:
        c.say("the package lists are old or missing: getting them")
        own: list[Word] = ["-o", f"Dir::State::lists={to}/lists", "-o", f"Dir::Cache={to}/cache"]
        (to / "lists" / "partial").mkdir(parents=True)
        (to / "cache" / "archives" / "partial").mkdir(parents=True)
        c.run(["apt-get", "update", "-qq", *own])
        c.run([*argv, *own], cwd=to)


def state_metrics_current(lab: Lab) -> bool:
    return os.access(lab.bin / STATE_METRICS, os.X_OK) and digest.stamped(lab.bin / ".ksm", _ksm_digest())


def _ksm_digest() -> str:
    return digest.of_files([_KSM / "go.mod", _KSM / "go.sum", _KSM / "store.go.txt"])


def build_state_metrics(c: Console, lab: Lab) -> None:
    """kube-state-metrics, from its Go module, with a file of ours that fits it to the lab's Kubernetes libraries."""
    lab.bin.mkdir(parents=True, exist_ok=True)
    env = deps.go_env()
    c.run(["go", "mod", "download"], cwd=_KSM, env=env, timeout_s=3 * CEILING_S)
    module = output(["go", "-C", _KSM, "list", "-m", "-f", "{{.Dir}}", _KSM_MODULE], env=env).strip()
    with tempfile.TemporaryDirectory(dir=lab.home) as t:
        tmp = Path(t)
        # The module cache must not be changed: a copy of it takes the module's place.
        shutil.copytree(module, tmp / "source", copy_function=shutil.copyfile)
        shutil.copyfile(_KSM / "store.go.txt", tmp / "source" / "pkg" / "metrics_store" / "store.go")
        (tmp / "go.mod").write_text(f"{(_KSM / 'go.mod').read_text()}\nreplace {_KSM_MODULE} => {tmp / 'source'}\n")
        shutil.copyfile(_KSM / "go.sum", tmp / "go.sum")
        c.say(f"building {STATE_METRICS}")
        argv: list[Word] = ["go", "build", "-modfile", tmp / "go.mod", "-ldflags", "-s -w"]
        c.run([*argv, "-o", tmp / STATE_METRICS, _KSM_MODULE], cwd=_KSM, env=env, timeout_s=12 * CEILING_S)
        deps.place(tmp / STATE_METRICS, lab.bin / STATE_METRICS)
    (lab.bin / ".ksm").write_text(_ksm_digest() + "\n")


class Prometheus:
    """A Prometheus of this lab, with kube-state-metrics. One at a time; its samples live as long as it runs."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._folder = lab.run / "prometheus"
        self._discovery: Discovery | None = None
        self.url = ""  # for programs of this machine, once started

    def start(self, namespace: str, jobs: Callable[[Path], Sequence[Config]], rules: Config, every_s: float) -> None:
        """Scrape these jobs (tests.lab.scrape) and kube-state-metrics, and judge the rules, all every every_s seconds.

        jobs: given the folder with what is discovered in the namespace.

        Raises: LabError when it does not come up, or refuses its configuration.
        """
        self.stop()
        (self._folder / "data").mkdir(parents=True)
        self._discovery = Discovery(self._lab, namespace, self._folder)
        self._discovery.start()
        self._write(jobs(self._folder), rules, every_s)
        state = [
            f"--kubeconfig={pki.inner_kubeconfig(self._lab, 'admin')}",
            "--resources=jobs",
            f"--host={self._lab.control_address}",
            f"--port={STATE_PORT}",
            f"--telemetry-host={self._lab.control_address}",
            f"--telemetry-port={STATE_PORT + 1}",
        ]
        inside = in_control(self._lab)
        start(self._lab, NAMES[STATE_METRICS], [*inside, self._lab.bin / STATE_METRICS, *state])
        flags = [
            f"--config.file={self._folder}/prometheus.yaml",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address=127.0.0.1:{PORT}",
            "--log.level=warn",
        ]
        start(self._lab, NAMES["prometheus"], [*inside, self._lab.bin / "prometheus", *flags])
        self._open_way_in()
        end = time.monotonic() + START_S
        while not self._ready():
            if time.monotonic() > end:
                log = component_log(self._lab, NAMES["prometheus"])
                raise LabError(f"Prometheus did not come up in {START_S:.0f} s: {log}")
            time.sleep(0.2)

    def _write(self, jobs: Sequence[Config], rules: Config, every_s: float) -> None:
        every = f"{every_s:g}s"
        state = {
            "job_name": STATE_METRICS,
            "honor_labels": True,  # a Job's namespace is its own, not the exporter's
            "static_configs": [{"targets": [f"{self._lab.control_address}:{STATE_PORT}"]}],
        }
        whole = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(self._folder / "rules.yaml")],
            "scrape_configs": [*jobs, state],
        }
        (self._folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(whole))
        output([self._lab.bin / "promtool", "check", "config", self._folder / "prometheus.yaml"])

    def _open_way_in(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.url = f"http://127.0.0.1:{s.getsockname()[1]}"
            argv: list[Word] = [sys.executable, "-I", HERE / "apiproxy.py", str(s.fileno()), "127.0.0.1", str(PORT)]
            start(self._lab, NAMES["prometheus-proxy"], [*in_control(self._lab), *argv], pass_fds=[s.fileno()])

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it, if it runs, and remove its samples."""
        if self._discovery is not None:
            self._discovery.stop()
            self._discovery = None
        for c in components(self._lab):
            if c.name in NAMES.values():
                stop(self._lab, c)
        shutil.rmtree(self._folder, ignore_errors=True)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query: {metric: labels, value: [time, text]}. Raises: LabError with its words."""
        return list(self._get("query", query=expression)["result"])

    def query_range(self, expression: str, begin: float, end: float, points: int = 240) -> list[dict[str, Any]]:
        """The series between two times (s since 1970): {metric: labels, values: [[time, text], ...]}.

        Raises: as `query`.
        """
        when = {"start": str(begin), "end": str(end), "step": str(max(1.0, (end - begin) / points))}
        return list(self._get("query_range", query=expression, **when)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """What is pending or firing now: {labels, annotations, state, activeAt, value}."""
        return list(self._get("alerts")["alerts"])

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped: {labels, health, lastError, scrapeUrl, ...}."""
        return list(self._get("targets", state="active")["activeTargets"])

    def names(self) -> set[str]:
        """Of all metrics that it has samples of."""
        return set(self._get("label/__name__/values"))

    def _get(self, what: str, **query: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=query, timeout=30).json()
        if answer["status"] != "success":
            raise LabError(f"Prometheus on {query or what}: {answer.get('error')}")
        return answer["data"]
