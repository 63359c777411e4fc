"""A client inside the cluster: threads that ask the router's Service without a pause, over connections that they keep.

A port-forward ends with the pod it leads to; only from inside does a client see what a Service does while nodes drain.
"""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.cluster.log_pod import LogPod
from tests.cluster.harness import Cluster
from tests.patience import eventually

NAME = "client"
LABELS = {"app": NAME}
# Arguments: host, model, threads. A line of JSON for each request: the status (0: none came), whether an answer had
# begun, and what went wrong.
_ASK = """
import http.client, json, random, sys, threading, time
host, model, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
def words(source, count):
    return " ".join(str(source.randrange(10**4)) for _ in range(count))
def keep_asking(number):
    source, connection = random.Random(number), http.client.HTTPConnection(host, timeout=600)
    for turn in range(10**9):
        prompt = words(random.Random(turn % 3), 40) + words(source, source.randrange(5, 40))
        body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 4, "stream": True})
        said = {"status": 0, "began": False, "error": None, "s": time.time()}
        try:
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said["status"] = answer.status
            text = b""
            while piece := answer.read1(4096):
                said["began"], text = True, text + piece
            if answer.status != 200 or not text.rstrip().endswith(b"data: [DONE]"):
                said["error"] = text[-200:].decode(errors="replace") or "nothing"
        except (OSError, http.client.HTTPException) as error:
            said["error"] = repr(error)
            connection.close()
        said["took"] = round(time.time() - said["s"], 2)
        sys.stdout.write(json.dumps(said) + "\\n")  # in one piece: threads share it
        time.sleep(0.2)
for number in range(threads):
    threading.Thread(target=keep_asking, args=(number,)).start()
"""


class Client:
    """The pod, on the project image; a context manager. ``kubectl drain`` must be told to leave it: by LABELS."""

    def __init__(self, cluster: Cluster, namespace: str, host: str, model: str, image: str, threads: int = 2) -> None:
        container = {
            "name": NAME,
            "image": image,
            "command": ["python3", "-u", "-c", _ASK, host, model, str(threads)],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        }
        user = {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        spec = {"containers": [container], "securityContext": user}
        self._pod = LogPod(cluster, namespace, NAME, spec, self._hear, LABELS)
        self.said: list[dict[str, Any]] = []

    def __enter__(self) -> Client:
        self._pod.__enter__()
        eventually(lambda: self.said, "the first answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._pod.__exit__()

    def _hear(self, line: str) -> None:
        if line.startswith("{"):
            self.said.append(json.loads(line))

    def failed(self) -> list[dict[str, Any]]:
        return [one for one in list(self.said) if one["error"]]
