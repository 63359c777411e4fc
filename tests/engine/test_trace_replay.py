# SPDX-License-Identifier: Apache-2.0
"""The benchmark's trace through vLLM's own generator: what a server is asked, block by block. No engine is started."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import engine
from tests.lab.paths import lab
from tests.patience import CEILING_S

REPLAY = Path(__file__).resolve().parents[2] / "charts" / "llm-d-storage" / "files" / "benchmark" / "replay.py"
BLOCK = 24
LINES = [
    {"timestamp": 0.0, "input_length": 60, "output_length": 2, "hash_ids": [0, 1, 2]},
    {"timestamp": 0.1, "input_length": 55, "output_length": 3, "hash_ids": [0, 1, 3]},
    {"timestamp": 0.2, "input_length": 10, "output_length": 1, "hash_ids": [9]},
]


@pytest.fixture
def asked() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(a server's address, the bodies that it was sent)."""
    bodies: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"")

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for _ in range(body["max_tokens"]):
                self.wfile.write(b'data: {"choices": [{"text": " a"}]}\n\n')
            usage = {"prompt_tokens": 1, "completion_tokens": body["max_tokens"]}
            self.wfile.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())

        def log_message(self, *args: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}", bodies
        served.shutdown()


def replay(tmp_path: Path, url: str, seed: int) -> dict[str, Any]:
    (tmp_path / "trace.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    flags = {
        "--backend": "openai",
        "--base-url": url,
        "--endpoint": "/v1/completions",
        "--model": "m",
        "--tokenizer": engine.model_folder(lab()),
        "--dataset-name": "timed_trace",
        "--dataset-path": tmp_path / "trace.jsonl",
        "--timed-trace-chunk-hash-size": BLOCK,
        "--num-prompts": len(LINES),
        "--ready-check-timeout-sec": 0,
        "--result-dir": tmp_path,
        "--result-filename": "result.json",
    }
    words = [str(word) for flag in flags.items() for word in flag]
    argv = [sys.executable, str(REPLAY), "bench", "serve", *words, "--disable-tqdm", "--save-result", "--save-detailed"]
    env = {**os.environ, "PYTHONHASHSEED": str(seed), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=CEILING_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return dict(json.loads((tmp_path / "result.json").read_text()))


def test_prompts_are_texts_of_the_lengths_asked_for_that_share_what_the_trace_shares(
    tmp_path: Path, asked: tuple[str, list[dict[str, Any]]]
) -> None:
    from transformers import AutoTokenizer

    url, bodies = asked
    result = replay(tmp_path, url, seed=7)
    assert [error for error in result["errors"] if error] == []
    tokenizer = AutoTokenizer.from_pretrained(str(engine.model_folder(lab())))
    assert all(isinstance(body["prompt"], str) for body in bodies), "a picker reads texts, not token ids"
    by_answer = {body["max_tokens"]: tokenizer(body["prompt"]).input_ids for body in bodies}
    first, second, third = by_answer[2], by_answer[3], by_answer[1]
    assert [len(first), len(second), len(third)] == [60, 55, 10], "a text has other tokens than it was made of"
    assert first[: 2 * BLOCK] == second[: 2 * BLOCK] and first[2 * BLOCK] != second[2 * BLOCK]
    texts = sorted(body["prompt"] for body in bodies)
    bodies.clear()
    replay(tmp_path, url, seed=7)
    assert sorted(body["prompt"] for body in bodies) == texts, "a second cache would be asked other prompts"
