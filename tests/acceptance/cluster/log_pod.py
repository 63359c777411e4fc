"""A pod that says something all the time: what it logs is heard while it runs."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tests.cluster.harness import Cluster
from tests.patience import CEILING_S


class LogPod:
    """A context manager: the pod is ready on entry, and gone after it.

    heard: called with each line of its log, in a thread of its own.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        spec: dict[str, Any],
        heard: Callable[[str], None],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster, self._namespace, self._name, self._heard = cluster, namespace, name, heard
        self._pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {})},
            "spec": {**spec, "restartPolicy": "Never", "automountServiceAccountToken": False},
        }

    def __enter__(self) -> LogPod:
        self._remove()
        self._cluster.apply(self._pod)
        ready = ("wait", "--for=condition=Ready", f"pod/{self._name}", "-n", self._namespace)
        self._cluster.kubectl(*ready, f"--timeout={CEILING_S:.0f}s").ok()
        argv = [str(self._cluster.kubectl_binary), "--kubeconfig", str(self._cluster.kubeconfig)]
        argv += ["logs", "-f", self._name, "-n", self._namespace]
        self._logs = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._logs.terminate()
        self._logs.wait(10)
        self._remove()

    def _remove(self) -> None:
        self._cluster.kubectl("delete", "pod", self._name, "-n", self._namespace, "--ignore-not-found", "--now").ok()

    def _read(self) -> None:
        assert self._logs.stdout is not None
        for line in self._logs.stdout:
            self._heard(line)
