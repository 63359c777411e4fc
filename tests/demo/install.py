"""The demo's steps on a cluster: the release, and a proof whose prompt is a real document."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.lab.cluster import Target
from tests.lab.errors import LabError
from tests.lab.proc import Console, output
from tests.lab.steps import Step

INSTALL_TIMEOUT_S = 900
DOCUMENT_TIMEOUT_S = 600


@dataclass
class Demo:
    """One release on one cluster. The last step fills in ``document_report``."""

    target: Target
    chart: Path
    values: Path
    document: Path
    release: str
    namespace: str
    document_report: dict[str, Any] = field(default_factory=dict)

    def steps(self) -> list[Step]:
        pods = f"kubectl --kubeconfig {self.target.kubeconfig} -n {self.namespace} get pods,events"
        return [
            Step(
                "install",
                self.install,
                current=self.installed,
                hint=f"read the hook's report above; what the pods say: {pods}",
            ),
            Step("document", self.ask_about_the_document, needs=("install",), hint=f"what the pods say: {pods}"),
        ]

    # --- programs

    def kubectl(self, *args: str) -> list[str]:
        return [
            str(self.target.kubectl),
            "--kubeconfig",
            str(self.target.kubeconfig),
            "-n",
            self.namespace,
            *args,
        ]

    def helm(self, *args: str) -> list[str]:
        return [
            str(self.target.helm),
            "--kubeconfig",
            str(self.target.kubeconfig),
            "-n",
            self.namespace,
            *args,
        ]

    def get(self, *args: str) -> Any:
        return json.loads(output(self.kubectl("get", *args, "-o", "json")))

    # --- the release

    def digest(self) -> str:
        """Of everything that the release is made from; it is the release's description."""
        h = hashlib.sha256(self.values.read_bytes())
        for path in sorted(p for p in self.chart.rglob("*") if p.is_file()):
            h.update(f"{path.relative_to(self.chart)}\n".encode() + path.read_bytes())
        return f"made from {h.hexdigest()[:16]}"

    def installed(self) -> bool:
        """Whether this very release is deployed, with all its model servers ready."""
        try:
            info = json.loads(output(self.helm("status", self.release, "-o", "json")))["info"]
            servers = self.get("deployment", f"{self.release}-modelserver")
        except LabError:
            return False
        ready = servers["status"].get("readyReplicas", 0) == servers["spec"]["replicas"]
        return bool(info["status"] == "deployed" and info["description"] == self.digest() and ready)

    def install(self, console: Console) -> None:
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": self.namespace,
                # The chart's pods need nothing more than the strictest of Kubernetes' standards.
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
        console.run(self.kubectl("apply", "-f", "-"), stdin=json.dumps(namespace))
        with self._watching_pods(console):
            console.run(
                self.helm(
                    *("upgrade", "--install", self.release, str(self.chart), "-f", str(self.values)),
                    *("--timeout", f"{INSTALL_TIMEOUT_S}s", "--description", self.digest()),
                ),
                timeout_s=INSTALL_TIMEOUT_S + 60,
            )

    @contextmanager
    def _watching_pods(self, console: Console) -> Iterator[None]:
        """Says what the pods are doing while helm waits for them."""
        end = threading.Event()

        def watch() -> None:
            while not end.wait(3):
                try:
                    console.note = states(self.get("pods")["items"])
                except LabError:
                    console.note = "the cluster does not answer"

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join(5)

    # --- the document

    def ask_about_the_document(self, console: Console) -> None:
        """Runs the chart's own proof Job once more, with the document as its prompt."""
        name = f"{self.release}-document"
        job = self._proof_job(name)
        prompt = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"document.txt": self.document.read_text()},
        }
        console.run(self.kubectl("delete", "job", name, "--ignore-not-found", "--wait"))
        console.run(self.kubectl("apply", "-f", "-"), stdin=json.dumps(prompt))
        console.run(self.kubectl("apply", "-f", "-"), stdin=json.dumps(job))
        console.until("the proof with the document", lambda: self._ended(name), timeout_s=DOCUMENT_TIMEOUT_S)
        log = output(self.kubectl("logs", f"job/{name}", "--tail=-1"))
        console.say(log)
        console.run(self.kubectl("delete", f"job/{name}", f"configmap/{name}", "--wait=false"))
        self.document_report = last_json(log)
        if self.document_report.get("verdict") not in ("pass", "warn"):
            bad = [f["sentence"] for f in self.document_report.get("findings", []) if f["verdict"] == "fail"]
            raise LabError(" ".join(bad) or "the proof with the document did not pass")

    def _ended(self, name: str) -> bool:
        status = self.get("job", name)["status"]
        return bool(status.get("succeeded") or status.get("failed"))

    def _proof_job(self, name: str) -> dict[str, Any]:
        """The release's proof hook as an ordinary Job whose prompt is a file."""
        hooks = yaml.safe_load_all(output(self.helm("get", "hooks", self.release)))
        job = next(h for h in hooks if h and h["kind"] == "Job" and h["metadata"]["name"].endswith("-proof"))
        job["metadata"] = {"name": name, "labels": job["metadata"]["labels"]}
        pod = job["spec"]["template"]["spec"]
        container = pod["containers"][0]
        at = container["args"].index("--config") + 1
        config = json.loads(container["args"][at])
        config |= {"promptFile": "/document/document.txt", "reportConfigMap": ""}
        container["args"][at] = json.dumps(config)
        container["args"] += ["--output", "json"]
        container.setdefault("volumeMounts", []).append({"name": "document", "mountPath": "/document"})
        pod.setdefault("volumes", []).append({"name": "document", "configMap": {"name": name}})
        return dict(job)

    # --- afterwards

    def hook_report(self, hook: str) -> dict[str, Any]:
        data = self.get("configmap", f"{self.release}-storage-report").get("data", {})
        return dict(json.loads(data[f"{hook}.json"])) if f"{hook}.json" in data else {}

    def where_to_look(self) -> str:
        k = f"kubectl -n {self.namespace}"
        return "\n".join(
            [
                "where to look next:",
                f"  export KUBECONFIG={self.target.kubeconfig}",
                f"  {k} get pods,pvc,inferencepool -o wide",
                f"  {k} get configmap {self.release}-storage-report -o yaml      what the hooks found",
                f"  {k} exec deploy/{self.release}-modelserver -c vllm -- ls -R /mnt/kv-cache/blocks",
                f"  {k} port-forward deploy/{self.release}-router 8080      then POST 127.0.0.1:8080/v1/completions",
            ]
        )


def states(pods: list[dict[str, Any]]) -> str:
    """One line about pods: what each is doing, or why it is not."""
    parts = []
    for pod in pods:
        name = pod["metadata"]["name"].split("-", 1)[-1]
        status = pod["status"]
        waiting = [
            s["state"]["waiting"].get("reason", "")
            for s in status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
            if "waiting" in s.get("state", {})
        ]
        ready = all(s.get("ready") for s in status.get("containerStatuses", [])) and status["phase"] == "Running"
        parts.append(f"{name} {'ready' if ready else (waiting[0] if waiting else status['phase'])}")
    return ", ".join(sorted(parts))


def last_json(log: str) -> dict[str, Any]:
    """The report: the last line of a hook's output."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            return dict(json.loads(line))
    raise LabError("the proof printed no report; its log is above")
