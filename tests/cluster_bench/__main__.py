"""The cache on, off, and vLLM's stock tier, one after the other on one cluster, by the chart's benchmark Job.

    make bench-cluster                                      the lab; a quarter of an hour
    make bench-cluster ARGS="--quick"                       what the tests run
    KUBECONFIG=~/.kube/config make bench-cluster ARGS="--values my-values.yaml --set benchmark.prefixes=250"
    make bench-cluster ARGS="--trace conversation_trace.jsonl --set benchmark.trace.seconds=600"

Each mode gets the same prompts. Results: build/bench-cluster/report.html, and <mode>.json beside it.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster_bench.report import load, page
from tests.lab.cluster import Target, target

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "llm-d-storage"
RELEASE = "bench"
# The machine's two cores compute a thousand tokens a second or so: prefixes that take a second, and more of them than
# the accelerator's memory and the CPU tier of both pods hold together.
LAB = {
    "prefixes": 24,
    "promptsPerPrefix": 2,
    "prefixTokens": 1024,
    "suffixTokens": 32,
    "outputTokens": 16,
    "rates": [0.5, 1],
    "sampleSeconds": 5,
    "maxConcurrency": 8,
    # A node of the lab has two cores, and a model server.
    "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
}
QUICK = LAB | {
    "prefixes": 6,
    "promptsPerPrefix": 2,
    "prefixTokens": 512,
    "outputTokens": 8,
    "rates": [2],
    "sampleSeconds": 1,
}
# A trace of this project's own making (two conversations, and questions about one document), for the lab's model.
SAMPLE = Path(__file__).with_name("sample.jsonl")
TRACE = {key: LAB[key] for key in ("sampleSeconds", "resources")} | {"trace.scale": 0.25}
MODES = ("cache", "none", "stock")


@dataclass(frozen=True)
class Bench:
    cluster: Target
    namespace: str
    values: Path
    sets: tuple[str, ...]
    workload: dict[str, Any]
    seed: int

    def _call(self, program: Path, *args: str, stdin: str | None = None) -> str:
        argv = [str(program), "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace, *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(argv)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return self._call(self.cluster.kubectl, *args, stdin=stdin)

    def helm(self, *args: str) -> str:
        return self._call(self.cluster.helm, *args)

    def make_namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def keep_trace(self, path: Path) -> dict[str, Any]:
        """The file as a ConfigMap, gzip so that a megabyte holds more; gives the values that name it."""
        packed = base64.b64encode(gzip.compress(path.read_bytes(), mtime=0)).decode()
        metadata = {"name": f"{RELEASE}-trace"}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": {path.name: packed}}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))
        return {"trace.configMapName": metadata["name"], "trace.file": path.name}

    def install(self, mode: str) -> dict[str, Any]:
        """The release in one mode, all servers ready; gives the benchmark's Job, which has not been run."""
        connector = {"cache": "llmd-storage", "none": "none", "stock": "vllm-fs"}[mode]
        # vLLM's spec refuses a CPU. There, its tier runs under this project's spec, which only copies instead.
        on_cpu = mode == "stock" and self.cluster.is_lab
        values = {f"benchmark.{key}": value for key, value in self.workload.items()}
        values |= {"benchmark.enabled": True, "benchmark.label": mode, "benchmark.seed": self.seed}
        values |= {f"hooks.{name}.enabled": False for name in ("preflight", "claim", "probe", "proof")}
        values["modelserver.connector"] = "llmd-storage" if on_cpu else connector
        # Key by key: a whole object would take the place of the file's.
        parts = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
        flags = [word for s in self.sets for word in ("--set", s)]
        self.helm("upgrade", "--install", RELEASE, str(CHART), "-f", str(self.values), "--no-hooks", *parts, *flags)
        name = f"deployment/{RELEASE}-modelserver"
        if on_cpu:
            self._stock_on_cpu(name)
        self.kubectl("rollout", "status", name, "--timeout=900s")
        return self._job()

    def _stock_on_cpu(self, deployment: str) -> None:
        found = json.loads(self.kubectl("get", deployment, "-o", "json"))
        args: list[str] = found["spec"]["template"]["spec"]["containers"][0]["args"]
        at = args.index("--kv-transfer-config") + 1
        ours = json.loads(args[at])["kv_connector_extra_config"]
        stock = {
            "kv_connector": "OffloadingConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "spec_name": "LlmdStorageSpec",
                "spec_module_path": "llmd_storage_connector.vllm.spec",
                **{k: ours[k] for k in ("cpu_bytes_to_use", "block_size", "offload_prompt_only")},
                "secondary_tiers": [{"type": "fs", "root_dir": "/mnt/kv-cache/stock"}],
            },
        }
        path = f"/spec/template/spec/containers/0/args/{at}"
        patch = [{"op": "replace", "path": path, "value": json.dumps(stock)}]
        self.kubectl("patch", deployment, "--type=json", "-p", json.dumps(patch))

    def _job(self) -> dict[str, Any]:
        import yaml

        hooks = yaml.safe_load_all(self.helm("get", "hooks", RELEASE))
        job = next(h for h in hooks if h and h["kind"] == "Job" and h["metadata"]["name"] == f"{RELEASE}-benchmark")
        job["metadata"].pop("annotations")
        return dict(job)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """The Job's result; its progress goes to the terminal while it runs."""
        name = f"job/{job['metadata']['name']}"
        self.kubectl("delete", name, "--ignore-not-found", "--wait")
        self.kubectl("apply", "-f", "-", stdin=json.dumps(job))
        result = ""
        while not result and not self._ended(name):
            result = self._follow(name) or ""
            time.sleep(1)
        result = result or self._follow(name) or ""
        if not result:
            sys.exit(f"{name} left no result; its log: kubectl -n {self.namespace} logs {name}")
        return dict(json.loads(result))

    def _ended(self, name: str) -> bool:
        status = json.loads(self.kubectl("get", name, "-o", "json"))["status"]
        return bool(status.get("succeeded") or status.get("failed"))

    def _follow(self, name: str) -> str | None:
        """Prints the log as it grows; the last line, if it is the result."""
        argv = [str(self.cluster.kubectl), "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace]
        found = None
        with subprocess.Popen(
            [*argv, "logs", "-f", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as p:
            assert p.stdout is not None
            for line in p.stdout:
                if line.startswith("{"):
                    found = line
                else:
                    print("   ", line, end="", flush=True)
        return found

    def remove(self) -> None:
        self.helm("uninstall", RELEASE, "--ignore-not-found", "--wait")
        self.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=Path, default=CHART / "ci" / "lab.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for helm; once for each")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)}, in this order")
    parser.add_argument("--namespace", default="llmd-bench", help="made anew, and removed at the end")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-cluster")
    parser.add_argument("--trace", type=Path, help="replays it instead; benchmark.trace.* by --set")
    parser.add_argument("--scale", type=float, help="of the trace's sizes; the lab's model takes 0.25 unless given")
    parser.add_argument("--quick", action="store_true", help="a dozen prompts")
    parser.add_argument("--keep", action="store_true", help="leave release and namespace")
    given = parser.parse_args(argv)
    modes = given.modes.split(",")
    if unknown := [m for m in modes if m not in MODES]:
        parser.error(f"--modes names {unknown[0]!r}; there are: {', '.join(MODES)}")
    cluster = target(start=True)
    if given.trace:
        scale = {"trace.scale": given.scale} if given.scale else {}
        workload = (TRACE if cluster.is_lab else {}) | scale
    else:
        workload = QUICK if given.quick else LAB if cluster.is_lab else {}
    bench = Bench(cluster, given.namespace, given.values, tuple(given.set), dict(workload), int(time.time()))
    given.out.mkdir(parents=True, exist_ok=True)
    bench.make_namespace()
    try:
        if given.trace:
            bench.workload.update(bench.keep_trace(given.trace))
        files = [measured(bench, mode, given.out) for mode in modes]
    finally:
        if not given.keep:
            bench.remove()
    report = given.out / "report.html"
    report.write_text(page(load(files)))
    print(report)


def measured(bench: Bench, mode: str, out: Path) -> Path:
    start = time.monotonic()
    print(f"{mode}: installing", flush=True)
    job = bench.install(mode)
    print(f"{mode}: servers ready after {time.monotonic() - start:.0f} s", flush=True)
    path = out / f"{mode}.json"
    path.write_text(json.dumps(bench.run(job)) + "\n")
    print(f"{mode}: done after {time.monotonic() - start:.0f} s", flush=True)
    return path


if __name__ == "__main__":
    main()
