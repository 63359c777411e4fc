# SPDX-License-Identifier: Apache-2.0
"""Tiny random models, and a real vLLM per scenario."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="needs the engine environment")

HERE = Path(__file__).parent
CONNECTOR = HERE.parents[1] / "connector" / "src"
# Two vLLM blocks a file, as any real model has several.
BLOCK_TOKENS = 64
START_TIMEOUT_S = 300.0
ANSWER_TIMEOUT_S = 120.0
# Ten whole blocks and a rest that is always computed.
PROMPT = [random.Random(7).randrange(3, 2048) for _ in range(10 * BLOCK_TOKENS + 5)]


class Engine:
    """A vLLM in another process (runner.py). log: everything it printed."""

    def __init__(
        self,
        log: Path,
        model: Path,
        kv_transfer_config: dict[str, Any],
        *,
        core_in_process: bool = True,
        **setup: Any,
    ) -> None:
        self.log = log
        environment = os.environ | {
            "PYTHONPATH": str(CONNECTOR),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if core_in_process else "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "runner.py")],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self._send({"model": str(model), "kv_transfer_config": kv_transfer_config, **setup})

    def wait_ready(self) -> Engine:
        assert self._receive(START_TIMEOUT_S) == {"ready": True}
        return self

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        self._send({"do": do, **fields})
        return self._receive(ANSWER_TIMEOUT_S)

    def generate(self, prompt: list[int] = PROMPT, max_tokens: int = 8) -> list[int]:
        return self.ask("generate", prompt=prompt, max_tokens=max_tokens)["tokens"]

    def metrics(self) -> dict[str, float]:
        return self.ask("metrics")["metrics"]

    def kill(self) -> None:
        """kill -9, children too: vLLM's own processes outlive a parent that is killed."""
        own = _shared_memory(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        for path in own:
            path.unlink(missing_ok=True)

    def _send(self, message: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-40:])
            raise RuntimeError(f"vLLM gave no answer (exit code {self.process.poll()}):\n{tail}")
        return json.loads(line)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """make_model(seed) -> directory of a tiny random Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(seed: int) -> Path:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=2048,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=4096,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            tie_word_embeddings=False,
            initializer_range=0.2,
        )
        path = tmp_path_factory.mktemp(f"model-{seed}")
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
        return path

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[[int], Path]) -> Path:
    return make_model(0)


@pytest.fixture(scope="session")
def start_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Engine]]:
    """start_engine(model, root, **setup) -> an engine that is still starting: call wait_ready()."""
    logs = tmp_path_factory.mktemp("logs")
    engines: list[Engine] = []

    def start(model: Path, root: Path, *, extra: dict[str, Any] | None = None, **setup: Any) -> Engine:
        kv_transfer_config = {
            "kv_connector": "SharedStorageConnector",
            "kv_connector_module_path": "llmd_storage_connector.connector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "root_dir": str(root),
                "cpu_bytes_to_use": 16 << 20,
                "block_size": BLOCK_TOKENS,
                # Two busy cores must not turn a hit into a miss here.
                "lookup_deadline_s": 30,
                **(extra or {}),
            },
        }
        engine = Engine(logs / f"engine-{len(engines)}.log", model, kv_transfer_config, **setup)
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.kill()


def block_files(root: Path) -> list[Path]:
    return sorted(root.glob("*/??/*.kvb"))


def wait_for_blocks(root: Path, count: int) -> list[Path]:
    """Stores end after the answer: wait for them."""
    limit = time.monotonic() + 30
    while len(files := block_files(root)) < count:
        assert time.monotonic() < limit, f"{len(files)} of {count} blocks were stored"
        time.sleep(0.05)
    return files


def _shared_memory(group: int) -> set[Path]:
    """What vLLM's message queues map in a process group: Python would remove it at an orderly end only."""
    found: set[Path] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) == group:
                words = (process / "maps").read_text().split()
                found |= {Path(w) for w in words if w.startswith(("/dev/shm/psm_", "/dev/shm/sem.mp-"))}
    return found
