# SPDX-License-Identifier: Apache-2.0
"""A vLLM in a process of its own (runner.py), and how tests and the soak configure it."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine.models import BLOCK_TOKENS
from tests.patience import CEILING_S, eventually

HERE = Path(__file__).parent
TIER = "tier=1:llmd_storage"
OURS = "vllm:kv_offload_llmd_storage_"


def prompt(seed: int, blocks: int = 10) -> list[int]:
    """A prompt of its own for each seed: whole blocks and a rest that is always computed."""
    source = random.Random(seed)
    return [source.randrange(3, 2048) for _ in range(blocks * BLOCK_TOKENS + 5)]


def transfer_config(root: Path, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """What --kv-transfer-config says for a cache in `root`."""
    return {
        "kv_connector": "LlmdStorageConnector",
        "kv_connector_module_path": "llmd_storage_connector.vllm.connector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {
            "root_dir": str(root),
            "cpu_bytes_to_use": 16 << 20,
            "block_size": BLOCK_TOKENS,
            # A busy machine must not turn a hit into a miss where no deadline is being tested.
            "lookup_deadline_s": CEILING_S,
            "load_deadline_s": CEILING_S,
            "store_deadline_s": CEILING_S,
            **(extra or {}),
        },
    }


class Engine:
    """See the module's head. log: everything it printed; llm: further arguments of vLLM's LLM."""

    def __init__(
        self,
        log: Path,
        model: Path,
        kv_transfer_config: dict[str, Any] | None,
        *,
        core_in_process: bool = True,
        environment: dict[str, str] | None = None,
        llm: dict[str, Any] | None = None,
    ) -> None:
        self.log = log
        self._scratch = tempfile.TemporaryDirectory(prefix="kv-")  # vLLM's sockets and files outlive it when killed
        variables = os.environ | {
            "VLLM_RPC_BASE_PATH": self._scratch.name,
            "TMPDIR": self._scratch.name,
            # What one engine compiled serves the next.
            "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")),
            # The connector, and the vLLM, that the tests themselves import; wherever the engine runs.
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep))),
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if core_in_process else "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_HOST_IP": "127.0.0.1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **(environment or {}),
        }
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "runner.py")],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )
        self._send({"model": str(model), "kv_transfer_config": kv_transfer_config, "llm": llm or {}})

    def wait_ready(self) -> Engine:
        assert self.receive(3 * CEILING_S) == {"ready": True}
        return self

    def ask(self, do: str, *, timeout_s: float = CEILING_S, **fields: Any) -> dict[str, Any]:
        self._send({"do": do, **fields})
        return self.receive(timeout_s)

    def generate(self, tokens: list[int], max_tokens: int = 8, **fields: Any) -> list[int]:
        return self.ask("generate", prompt=tokens, max_tokens=max_tokens, **fields)["tokens"]

    def metrics(self) -> Metrics:
        return Metrics(self.ask("metrics")["metrics"])

    def forget(self) -> None:
        """Empty the caches of GPU and CPU: the next prompt has to ask storage. Returns when all transfers are over."""
        self.ask("reset")

    def wait_until(self, holds: Callable[[Metrics], bool], what: str) -> Metrics:
        """Poll the metrics; the engine steps meanwhile."""
        seen = self.metrics()

        def holds_now() -> bool:
            nonlocal seen
            seen = self.metrics()
            return holds(seen)

        try:
            eventually(holds_now, what, every_s=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}") from None
        return seen

    def end(self) -> int:
        """An orderly end, as after the last command. Returns: the exit code. Raises: TimeoutExpired."""
        self.process.stdin.close()
        return self.process.wait(CEILING_S)

    def kill(self) -> None:
        """kill -9, children too: vLLM's own processes outlive a parent that is killed.

        All but Python's resource tracker: seeing the others gone, it removes what they shared, and ends.
        """
        while victims := _group(self.process.pid):
            for victim in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            self.process.wait(CEILING_S)
            time.sleep(0.01)
        for group in Path(self._scratch.name).glob("vllm_dist_*"):
            for shared in Path("/dev/shm").glob(f"{group.name}*"):
                shared.unlink(missing_ok=True)
        self._scratch.cleanup()

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """The answer to the oldest command. Raises: RuntimeError with the end of the log when none comes."""
        readable, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            tail = "\n".join(self.log.read_text().splitlines()[-40:])
            raise RuntimeError(f"vLLM gave no answer (exit code {self.process.poll()}):\n{tail}")
        return json.loads(line)

    def _send(self, message: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()


class Metrics(dict[str, float]):
    """What vLLM shows, by name{labels}. One that was never counted is 0."""

    def __missing__(self, name: str) -> float:
        return 0.0

    def ours(self, name: str, **label: str) -> float:
        """A number of this tier, by its short name."""
        labels = ",".join([f"{key}={value}" for key, value in label.items()] + [TIER])
        return self[f"{OURS}{name}{{{labels}}}"]

    def total(self, name: str) -> float:
        """All that is counted under this short name, whatever the second label."""
        return sum(value for key, value in self.items() if key.startswith(f"{OURS}{name}{{"))

    def __str__(self) -> str:
        return "\n".join(f"{key} {value:g}" for key, value in sorted(self.items()) if key.startswith(OURS))


def block_files(root: Path) -> list[Path]:
    return sorted(root.glob("*/??/*.kvb"))


def wait_for_blocks(root: Path, count: int) -> list[Path]:
    """Stores end after the answer: wait for them."""
    eventually(lambda: len(block_files(root)) >= count, f"{count} blocks to be stored", every_s=0.05)
    return block_files(root)


def _group(group: int) -> list[int]:
    """The living processes of a process group, without resource trackers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) == group:
                command = (process / "cmdline").read_bytes()
                if command and b"resource_tracker" not in command:  # a zombie has none
                    found.append(int(process.name))
    return found
