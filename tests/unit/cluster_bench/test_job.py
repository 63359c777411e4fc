"""What the benchmark Job runs: counters of servers, the generator's command line, what is kept of its result."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import scripts
from tests.patience import CEILING_S
from tests.unit.hooks.support import https_server

SCRIPT = Path(__file__).resolve().parents[3] / "charts" / "llm-d-storage" / "files" / "benchmark" / "benchmark.py"
METRICS = """# HELP vllm:prompt_tokens_total x
vllm:prompt_tokens_total{engine="0",model_name="m"} 400.0
vllm:prompt_tokens_by_source_total{engine="0",source="local_cache_hit"} 40.0
vllm:prompt_tokens_by_source_total{engine="0",source="local_compute"} 200.0
vllm:external_prefix_cache_hits_total{engine="0"} 150.0
vllm:prompt_tokens_cached_by_source_total{source="disk"} 1e2
vllm:request_success_total{finished_reason="stop"} 3.0
vllm:request_success_total{finished_reason="length"} 4.0
vllm:request_prefill_time_seconds_sum{engine="0"} 1.5
vllm:request_prefill_time_seconds_count{engine="0"} 7.0
"""
MODELS = b'{"data": [{"id": "m", "max_model_len": 4096}, {"id": "adapter", "max_model_len": 2000}]}'
TRACE = "".join(
    json.dumps({"timestamp": at, "input_length": 1000, "output_length": 10, "hash_ids": [0, at]}) + "\n"
    for at in (0, 900, 60_000)
)
# Stands for vLLM's generator: writes what it writes, at the place it is told.
GENERATOR = """
import json, sys
at = lambda flag: sys.argv[sys.argv.index(flag) + 1]
n = int(at("--num-prompts"))
json.dump({"errors": [""] * (n - 1) + ["refused"], "itls": [[0.01, 0.03]] * (n - 1) + [[]], "ttfts": [0.5] * n,
  "start_times": [5.0 + i for i in range(n)], "duration": 2.0, "total_input_tokens": 10, "total_output_tokens": 20,
  "request_throughput": 1.5, "output_throughput": 10.0}, open(at("--result-dir") + "/result.json", "w"))
"""


@pytest.fixture
def job() -> ModuleType:
    return scripts.module("charts/llm-d-storage/files/benchmark", "benchmark")


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(METRICS.encode() if self.path == "/metrics" else MODELS)

        def log_message(self, *args: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


@pytest.fixture
def server_with_tls(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Metrics by https: port, and the file with whom to trust."""
    with https_server(tmp_path, "kv.example", lambda *_: (200, METRICS.encode())) as (url, ca):
        yield int(url.rpartition(":")[2]), ca


def config(tmp_path: Path, url: str, generator: list[str]) -> dict[str, Any]:
    return {
        "label": "cache",
        "url": url,
        "metricsHost": "127.0.0.1",
        "metricsPort": int(url.rpartition(":")[2]),
        "metricsScheme": "http",
        "model": "m",
        "tokenizer": "/models/m",
        "generator": generator,
        "prefixes": 2,
        "promptsPerPrefix": 3,
        "prefixTokens": 100,
        "suffixTokens": 10,
        "outputTokens": 3,
        "rates": [2, 4.5],
        "maxConcurrency": 0,
        "seed": 0,
        "sampleSeconds": 0.5,
        "readySeconds": 5,
        "resultDir": str(tmp_path / "benchmarks"),
    }


def run(tmp_path: Path, given: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (tmp_path / "config.json").write_text(json.dumps(given))
    argv = [sys.executable, str(SCRIPT), str(tmp_path / "config.json")]
    env = {"TMPDIR": str(tmp_path)}
    return subprocess.run(argv, capture_output=True, text=True, timeout=CEILING_S, env=env, check=False, cwd=tmp_path)


def test_counters_are_summed_and_labels_held(job: ModuleType) -> None:
    assert job.counted(METRICS) == {
        "answered": 7,
        "promptTokens": 400,
        "ownMemoryTokens": 40,
        "reusedTokens": 150,
        "storageTokens": 100,
        "prefillSeconds": 1.5,
    }


def test_servers_with_tls_are_read_by_address_from_a_trusted_ca_only(
    job: ModuleType, server_with_tls: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their certificate has a name, and no address."""
    port, ca = server_with_tls
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        job.Servers("127.0.0.1", port, "https").read()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    assert job.Servers("127.0.0.1", port, "https").read()["promptTokens"] == 400


def test_a_whole_run_says_how_far_it_is_and_ends_with_its_result(tmp_path: Path, server: str) -> None:
    (tmp_path / "generator.py").write_text(GENERATOR)
    done = run(tmp_path, config(tmp_path, server, [sys.executable, str(tmp_path / "generator.py")]))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [s["stage"] for s in result["stages"]] == ["cold", "2/s", "4.5/s"]
    assert result["config"]["seed"] > 0, "0 asks for new prompts"
    for one in result["stages"]:
        assert (one["answered"], one["failed"], one["firstError"]) == (5, 1, "refused")
        assert one["requests"][0] == [0.0, 500.0, 20.0]
        assert (one["gapQuantilesMs"][0], one["gapQuantilesMs"][-1]) == (10.0, 30.0)
        assert len(one["samples"]) >= 1 and one["samples"][0]["servers"] == 1
    assert "cold: 0 of 6 answered" in done.stdout
    assert json.loads((tmp_path / "benchmarks" / "cache.json").read_text()) == result


def test_a_generator_that_fails_is_quoted(tmp_path: Path, server: str) -> None:
    program = [sys.executable, "-c", "import sys; sys.exit('no tokenizer here')"]
    done = run(tmp_path, config(tmp_path, server, program))
    assert done.returncode != 0
    assert "no tokenizer here" in done.stderr and "vLLM's generator ended with 1" in done.stderr


def test_a_way_in_that_does_not_answer_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, config(tmp_path, "http://127.0.0.1:9", ["true"]) | {"readySeconds": 0})
    assert done.returncode != 0 and "set benchmark.url" in done.stderr


def test_storage_that_takes_no_file_costs_the_file_only(tmp_path: Path, server: str) -> None:
    (tmp_path / "generator.py").write_text(GENERATOR)
    (tmp_path / "benchmarks").write_text("not a folder")
    done = run(tmp_path, config(tmp_path, server, [sys.executable, str(tmp_path / "generator.py")]))
    assert done.returncode == 0 and "could not be written" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["label"] == "cache"


def test_a_trace_is_replayed_as_it_came_and_the_result_says_which(tmp_path: Path, server: str) -> None:
    seen = "import os, shutil; shutil.copy(at('--dataset-path'), 'sent.jsonl'); n = int(at('--num-prompts'))"
    argv = "json.dump([sys.argv, os.environ['PYTHONHASHSEED']], open('argv.json', 'w'))"
    (tmp_path / "generator.py").write_text(GENERATOR.replace("n = int", f"{seen}; {argv}; n = int", 1))
    (tmp_path / "mine.jsonl").write_text(TRACE)
    given = config(tmp_path, server, [sys.executable, str(tmp_path / "generator.py")]) | {"seed": 5}
    for key in ("prefixes", "promptsPerPrefix", "prefixTokens", "suffixTokens", "outputTokens", "rates"):
        del given[key]
    given["trace"] = {
        "source": str(tmp_path / "mine.jsonl"), "format": "mooncake", "scale": 0.5, "speed": 1, "seconds": 30
    }  # fmt: skip
    done = run(tmp_path, given)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [one["stage"] for one in result["stages"]] == ["trace"]
    facts = {"name": "mine.jsonl", "scale": 0.5, "requests": 2, "seconds": 0.9, "cut": 0, "cutTo": 2000, "leftOut": 1}
    assert result["trace"] | facts == result["trace"]
    assert "source" not in json.dumps(result), "a URL may have a token in it"
    argv, seed = json.loads((tmp_path / "argv.json").read_text())
    assert "--request-rate" not in argv and argv[argv.index("--timed-trace-chunk-hash-size") + 1] == "256"
    assert seed == "5", "blocks would be other text in each run"
    sent = [json.loads(line) for line in (tmp_path / "sent.jsonl").read_text().splitlines()]
    assert [(line["timestamp"], line["input_length"]) for line in sent] == [(0.0, 500), (0.9, 500)]


@pytest.mark.parametrize("source", ["/nowhere/none.jsonl", "http://127.0.0.1:9/none.jsonl?signature=hidden"])
def test_a_trace_that_cannot_be_read_is_named_without_what_signs_its_address(
    tmp_path: Path, server: str, source: str
) -> None:
    given = config(tmp_path, server, ["true"])
    given["trace"] = {"source": source, "format": "mooncake", "scale": 1, "speed": 1}
    done = run(tmp_path, given)
    assert done.returncode != 0 and "the trace none.jsonl cannot be replayed" in done.stderr
    assert "hidden" not in done.stdout + done.stderr
