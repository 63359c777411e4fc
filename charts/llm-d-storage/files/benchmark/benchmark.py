# SPDX-License-Identifier: Apache-2.0
"""A load of shared prefixes on the installed release, with vLLM's own generator. Runs in the model server's image.

    python3 benchmark.py CONFIG.json

Sends ``prefixes`` times ``promptsPerPrefix`` prompts as a Poisson process: once when nobody has seen them (stage
"cold"), then once for each rate of ``rates``. With ``trace`` it replays that one instead (stage "trace"; traces.py).
Meanwhile the counters of all model servers are read every ``sampleSeconds``, and progress is printed. The result is one
JSON object: a file in ``resultDir``, and the last line of the output.

Only the standard library: what else the image has is vLLM's business. The configuration's keys are the chart's
``benchmark`` values; templates/benchmark/_config.tpl adds the addresses.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from workloads import Workload, prefixes, replayed

VERSION = 1
# What a sample holds, and the counters that make it up: name, and labels that must be there.
COUNTERS: dict[str, tuple[str, str]] = {
    "answered": ("vllm:request_success_total", ""),
    "promptTokens": ("vllm:prompt_tokens_total", ""),
    "ownMemoryTokens": ("vllm:prompt_tokens_by_source_total", 'source="local_cache_hit"'),
    "reusedTokens": ("vllm:external_prefix_cache_hits_total", ""),
    "storageTokens": ("vllm:prompt_tokens_cached_by_source_total", 'source="disk"'),
    "prefillSeconds": ("vllm:request_prefill_time_seconds_sum", ""),
}
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


def counted(text: str) -> dict[str, float]:
    """The counters of one server's /metrics, summed over their other labels."""
    sums = dict.fromkeys(COUNTERS, 0.0)
    for line in text.splitlines():
        if not line.startswith("vllm:") or (found := _SAMPLE.match(line)) is None:
            continue
        for key, (name, label) in COUNTERS.items():
            if found["name"] == name and label in (found["labels"] or ""):
                sums[key] += float(found["value"])
    return sums


class Servers:
    """All model servers' counters, found by the name of a headless Service. Read from one thread at a time."""

    def __init__(self, host: str, port: int, scheme: str = "http") -> None:
        self._host, self._port, self._scheme = host, port, scheme
        self._tls = ssl.create_default_context()
        self._tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # own CAs often lack extensions that Python 3.13 asks for
        self._tls.check_hostname = False  # they are asked by their addresses, which are in no certificate

    def addresses(self) -> list[str]:
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return sorted({f"[{a[4][0]}]" if ":" in str(a[4][0]) else str(a[4][0]) for a in found})

    def read(self) -> dict[str, float]:
        """The sums over all servers. Raises: OSError when one does not answer."""
        sums = dict.fromkeys(COUNTERS, 0.0)
        addresses = self.addresses()
        for address in addresses:
            url = f"{self._scheme}://{address}:{self._port}/metrics"
            with urllib.request.urlopen(url, timeout=10, context=self._tls) as answer:  # noqa: S310
                for key, value in counted(answer.read().decode()).items():
                    sums[key] += value
        return sums | {"servers": len(addresses)}


class Sampler(threading.Thread):
    """Reads the counters at a fixed pace and says how far the stage is. ``samples`` grows until ``close``."""

    def __init__(self, servers: Servers, every_s: float, stage: str, total: int) -> None:
        super().__init__(name="sampler", daemon=True)
        self._servers, self._every_s, self._stage, self._total = servers, every_s, stage, total
        self._end = threading.Event()
        self.samples: list[dict[str, float]] = []

    def run(self) -> None:
        while True:
            try:
                self.samples.append({"at": time.time(), **self._servers.read()})
                say(progress(self._stage, self._total, self.samples))
            except OSError as error:
                say(f"{self._stage}: the servers' counters could not be read ({error}); going on")
            if self._end.wait(self._every_s):
                return

    def close(self) -> None:
        """One last sample, and the end of the thread."""
        self._end.set()
        self.join(60)


def progress(stage: str, total: int, samples: list[dict[str, float]]) -> str:
    first, last = samples[0], samples[-1]
    return f"{stage}: {last['answered'] - first['answered']:.0f} of {total} answered, {shares(first, last)}"


def shares(first: dict[str, float], last: dict[str, float]) -> str:
    """Where the prompts' tokens came from between two samples, in words."""
    tokens = last["promptTokens"] - first["promptTokens"]
    if tokens <= 0:
        return "no prompt tokens yet"
    own, reused = (100 * (last[k] - first[k]) / tokens for k in ("ownMemoryTokens", "reusedTokens"))
    return f"{own:.0f} % of prompt tokens from the accelerator's memory, {reused:.0f} % from the cache behind it"


def command(config: dict[str, Any], work: Workload, rate: float | None, folder: Path) -> list[str]:
    """vLLM's generator: https://docs.vllm.ai/en/latest/benchmarking/cli/"""
    flags = {
        "--backend": "openai",
        "--base-url": config["url"],
        "--endpoint": "/v1/completions",
        "--model": config["model"],
        "--tokenizer": config["tokenizer"],
        **work.flags,
        "--num-prompts": work.prompts,
        "--seed": config["seed"],
        # Its first prompt, sent to see whether anybody answers, would be in the cache before the cold stage begins.
        "--ready-check-timeout-sec": 0,
        "--num-warmups": 0,
        "--result-dir": folder,
        "--result-filename": "result.json",
    }
    if rate is not None:
        # Burstiness 1 is a Poisson process.
        flags |= {"--request-rate": rate, "--burstiness": 1}
    if config["maxConcurrency"]:
        flags["--max-concurrency"] = config["maxConcurrency"]
    words = [str(word) for flag in flags.items() for word in flag]
    return [*config["generator"], *words, "--ignore-eos", "--disable-tqdm", "--save-result", "--save-detailed"]


def stage(
    config: dict[str, Any], work: Workload, which: tuple[str, float | None], servers: Servers, folder: Path
) -> dict[str, Any]:
    """One pass over all prompts. Raises: SystemExit with the generator's last words when it fails."""
    name, rate = which
    say(f"{name}: {work.prompts} prompts {f'at {rate:g} /s' if rate else 'when they came'}, {work.words}")
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    sampler = Sampler(servers, config["sampleSeconds"], name, work.prompts)
    sampler.start()
    done = subprocess.run(
        command(config, work, rate, folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        # What a trace's blocks are drawn from, beside their ids: the same in every run of this seed.
        env={**os.environ, "PYTHONHASHSEED": str(config["seed"])},
    )
    sampler.close()
    if done.returncode or not result.exists():
        sys.exit(
            f"{done.stdout[-4000:]}\n{name}: vLLM's generator ended with {done.returncode}; its last words are above"
        )
    return {"stage": name, "rate": rate, **shortened(json.loads(result.read_text())), "samples": sampler.samples}


def shortened(raw: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the generator's result: times of each request in ms, gaps between tokens as quantiles.

    Raises: SystemExit when no request was answered.
    """
    good = [i for i, error in enumerate(raw["errors"]) if not error]
    if not good:
        sys.exit(f"no request was answered; the first error: {raw['errors'][0][:500]}")
    gaps = sorted(1000 * gap for i in good for gap in raw["itls"][i])
    begin = min(raw["start_times"])
    return {
        "seconds": round(raw["duration"], 3),
        "answered": len(good),
        "failed": len(raw["errors"]) - len(good),
        "firstError": next((e[:500] for e in raw["errors"] if e), ""),
        "inputTokens": raw["total_input_tokens"],
        "outputTokens": raw["total_output_tokens"],
        "requestsPerSecond": round(raw["request_throughput"], 4),
        "outputTokensPerSecond": round(raw["output_throughput"], 3),
        # [start in s, time to first token in ms, mean gap between tokens in ms]
        "requests": [
            [
                round(raw["start_times"][i] - begin, 3),
                round(1000 * raw["ttfts"][i], 2),
                round(1000 * sum(raw["itls"][i]) / len(raw["itls"][i]), 3) if raw["itls"][i] else None,
            ]
            for i in good
        ],
        "gapQuantilesMs": quantiles(gaps, 200),
    }


def quantiles(values: list[float], parts: int) -> list[float]:
    """``parts`` + 1 quantiles of sorted values, smallest and largest included; nothing of nothing."""
    if not values:
        return []
    return [round(values[round(i * (len(values) - 1) / parts)], 3) for i in range(parts + 1)]


def table(result: dict[str, Any]) -> str:
    lines = [f"{'stage':10} {'answered':>9} {'TTFT p50':>10} {'p90':>9} {'gap p50':>9} {'tokens/s':>9}   prompt tokens"]
    for one in result["stages"]:
        ttft = sorted(r[1] for r in one["requests"])
        p50, p90 = (ttft[round(q * (len(ttft) - 1))] for q in (0.5, 0.9))
        gap = one["gapQuantilesMs"][100] if one["gapQuantilesMs"] else float("nan")
        where = shares(one["samples"][0], one["samples"][-1]) if one["samples"] else "the servers were not read"
        lines.append(
            f"{one['stage']:10} {one['answered']:>9} {p50:>7.0f} ms {p90:>6.0f} ms {gap:>6.1f} ms "
            f"{one['outputTokensPerSecond']:>9.1f}   {where}"
        )
    return "\n".join(lines)


def wait_for(url: str, timeout_s: float) -> int | None:
    """Until the way in answers; gives how many tokens the model takes, if it is said. Raises: SystemExit."""
    end = time.monotonic() + timeout_s
    key = os.environ.get("OPENAI_API_KEY")
    question = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"} if key else {})  # noqa: S310
    while True:
        try:
            with urllib.request.urlopen(question, timeout=10) as answer:  # noqa: S310
                return most_tokens(answer.read())
        except (OSError, urllib.error.URLError) as error:
            if time.monotonic() > end:
                sys.exit(f"{url} did not answer within {timeout_s:.0f} s ({error}): set benchmark.url to the way in")
        time.sleep(2)


def most_tokens(models: bytes) -> int | None:
    """``max_model_len`` of an answer to /v1/models; other servers than vLLM do not say it."""
    try:
        known = [model.get("max_model_len") for model in json.loads(models)["data"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return min((int(n) for n in known if n), default=None)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def write(result: dict[str, Any], folder: str) -> None:
    """Whole or not at all; storage that refuses it costs the file, not the run."""
    path = Path(folder) / f"{result['label']}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result))
        part.replace(path)
        say(f"written to {path}")
    except OSError as error:
        say(f"{path} could not be written ({error}); the last line has the same")


def main() -> None:
    config: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    config["seed"] = config["seed"] or int(time.time())
    limit = wait_for(config["url"], config["readySeconds"])
    servers = Servers(config["metricsHost"], config["metricsPort"], config["metricsScheme"])
    work = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108
    workload = replayed(config, limit, work) if "trace" in config else prefixes(config)
    result = {
        "version": VERSION,
        "label": config["label"],
        "startedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": {k: v for k, v in config.items() if k not in ("resultDir", "generator", "trace")},
        **({"trace": workload.facts} if workload.facts else {}),
        "stages": [stage(config, workload, which, servers, work) for which in workload.stages],
    }
    write(result, config["resultDir"])
    print(table(result), flush=True)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
