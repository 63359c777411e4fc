"""What the cluster tests share: helm and kubectl against one cluster, port-forwards, and vLLM's HTTP face."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pykube
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run

from tests.patience import CEILING_S, eventually

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "llm-d-storage"
LAB_VALUES = CHART / "ci" / "lab.yaml"
SERVING = "app.kubernetes.io/component=modelserver"
# What helm gives hooks and waits; hooks have deadlines of their own, by the lab's values.
HELM_S = 3 * CEILING_S
# To connect, for 15 s: a port-forward may just be started again.
TRIES = 6
# Asks over a new connection each time.
HTTP = httpx.Client(transport=httpx.HTTPTransport(retries=TRIES, limits=httpx.Limits(max_keepalive_connections=0)))
# What the upgrade of these tests sets: the model servers are rolled once.
CHANGED = ("modelserver.maxNumSeqs=4", "modelserver.podAnnotations.reason=test")


@dataclass(frozen=True)
class Done:
    """A finished program."""

    code: int
    out: str
    seconds: float

    @property
    def text(self) -> str:
        """As sentences: helm logs a hook's table as one escaped line when it does not write to a terminal."""
        return " ".join(self.out.replace("\\n", "\n").replace('\\"', '"').replace("|", " ").split())

    def ok(self) -> Done:
        assert self.code == 0, self.out[-6000:]
        return self


@dataclass(frozen=True)
class Cluster:
    kubeconfig: Path
    helm_binary: Path
    kubectl_binary: Path

    def _run(self, argv: list[str], stdin: str | None, timeout_s: float = CEILING_S) -> Done:
        start = time.monotonic()
        p = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(p.returncode, p.stdout, time.monotonic() - start)

    def helm(self, *args: str) -> Done:
        return self._run([str(self.helm_binary), "--kubeconfig", str(self.kubeconfig), *args], None, 2 * HELM_S)

    def kubectl(self, *args: str, stdin: str | None = None) -> Done:
        return self._run([str(self.kubectl_binary), "--kubeconfig", str(self.kubeconfig), *args], stdin)

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json").ok().out)

    def apply(self, *objects: dict[str, Any]) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-f", "-", stdin=text).ok()

    def namespace(self, name: str) -> None:
        """A namespace that takes only pods of the restricted Pod Security Standard."""
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            }
        )

    def objects(self, namespace: str) -> set[str]:
        """Every object of a namespace but what Kubernetes itself puts there, as kind/name."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").ok().out.split()
        transient = {"events", "events.events.k8s.io", "endpoints", "pods.metrics.k8s.io"}
        listed = self.kubectl(
            *("get", ",".join(sorted(set(kinds) - transient)), "-n", namespace, "-o", "name"),
            *("--ignore-not-found", "--show-kind"),
        )
        names = {line for line in listed.ok().out.split() if "/" in line}
        return names - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    @contextlib.contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """A base URL on this machine for a pod's or service's port.

        kubectl ends a port-forward when the pod resets one connection: it is started again, on the same port, and
        ``ask`` and ``metrics`` wait for it.
        """
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            local = s.getsockname()[1]
        argv = [str(self.kubectl_binary), "--kubeconfig", str(self.kubeconfig), "-n", namespace]
        argv += ["port-forward", "--address=127.0.0.1", target, f"{local}:{port}"]
        running: list[subprocess.Popen[bytes]] = []
        over = threading.Event()

        def keep() -> None:
            while not over.is_set():
                running[:] = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
                running[0].wait()
                over.wait(0.5)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        try:
            eventually(lambda: _connects(local), f"the port-forward to {target}")
            yield f"http://127.0.0.1:{local}"
        finally:
            over.set()
            while keeper.is_alive():
                for one in running:
                    one.terminate()
                keeper.join(1)


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Answer:
    tokens: list[int]
    prompt_tokens: int
    ttft_s: float
    total_s: float
    cached_tokens: int | None = None


def ask(
    url: str,
    prompt: str,
    *,
    model: str = "smollm2",
    max_tokens: int = 8,
    client: httpx.Client | None = None,
) -> Answer:
    """One greedy, streamed completion."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    start, ttft, tokens, used, cached = time.monotonic(), 0.0, [], 0, None
    with (client or HTTP).stream("POST", f"{url}/v1/completions", json=body, timeout=CEILING_S) as r:
        assert r.status_code == 200, r.read()[:500]
        for line in r.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            if event.get("usage"):
                used = event["usage"]["prompt_tokens"]
                cached = (event["usage"].get("prompt_tokens_details") or {}).get("cached_tokens")
            for choice in event.get("choices", []):
                ttft = ttft or time.monotonic() - start
                tokens += choice.get("token_ids") or []
    return Answer(tokens, used, ttft, time.monotonic() - start, cached)


def metrics(url: str) -> dict[str, float]:
    """vLLM's samples without the labels that are the same for all: ``name{other labels}`` -> value."""
    out: dict[str, float] = {}
    for line in HTTP.get(f"{url}/metrics", timeout=CEILING_S).text.splitlines():
        if line.startswith("vllm:"):
            name, value = line.rsplit(" ", 1)
            name = re.sub(r'(engine|model_name)="[^"]*",?', "", name).replace(",}", "}").replace("{}", "")
            out[name] = out.get(name, 0.0) + float(value)
    return out


STORAGE_HITS = 'vllm:kv_offload_tiering_chunk_hits_total{tier="1:llmd_storage"}'
STORED_BYTES = 'vllm:kv_offload_tiering_write_bytes_total{tier="1:llmd_storage"}'
REUSED_TOKENS = "vllm:external_prefix_cache_hits_total"


@dataclass
class Release:
    """The chart, installed with the lab's values."""

    cluster: Cluster
    name: str
    namespace: str
    install: Done | None = None

    def upgrade(self, *settings: str, hooks: bool = True) -> Done:
        """`helm upgrade --install`, with the given `--set` settings on top of the lab's values."""
        flags = [word for s in settings for word in ("--set", s)]
        flags += [] if hooks else ["--no-hooks"]
        return self.cluster.helm(
            *("upgrade", "--install", self.name, str(CHART), "-n", self.namespace, "-f", str(LAB_VALUES)),
            *("--timeout", f"{HELM_S:.0f}s", *flags),
        )

    def test(self) -> None:
        """`helm test`: probe and proof once more."""
        self.cluster.helm("test", self.name, "-n", self.namespace, "--timeout", f"{HELM_S:.0f}s").ok()

    def pods(self) -> list[dict[str, Any]]:
        """The model servers' pods, without those that are going."""
        items = self.cluster.get("pods", "-n", self.namespace, "-l", SERVING)["items"]
        return [p for p in items if not p["metadata"].get("deletionTimestamp")]

    def ready_pods(self) -> list[dict[str, Any]]:
        def ready(pod: dict[str, Any]) -> bool:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

        return [p for p in self.pods() if ready(p)]

    def wait_deployed(self) -> None:
        """Until every Deployment of the release runs as it was last asked to."""
        client = pykube.HTTPClient(pykube.KubeConfig.from_file(str(self.cluster.kubeconfig)))
        names = [f"{self.name}-{part}" for part in ("modelserver", "epp", "router", "evictor")]
        wait_for_deployments_to_run(client, names, self.namespace, int(CEILING_S), missing_ok=False)

    def wait_ready(self, count: int = 2) -> list[str]:
        eventually(lambda: len(self.ready_pods()) == count == len(self.pods()), f"{count} ready pods", every_s=1)
        return sorted(p["metadata"]["name"] for p in self.ready_pods())

    def vllm(self, pod: str) -> contextlib.AbstractContextManager[str]:
        return self.cluster.forward(self.namespace, f"pod/{pod}", 8000)

    def report(self, hook: str) -> dict[str, Any]:
        data = self.cluster.get("configmap", f"{self.name}-storage-report", "-n", self.namespace)["data"]
        return json.loads(data[f"{hook}.json"])  # type: ignore[no-any-return]
