"""One side in a process of its own, so that its CPU time and its memory can be told."""

from __future__ import annotations

import gc
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.bench.child import Child, serve

MIB = 1 << 20


class Side(Child):
    """A worker, seen from the bench: "ours" or "stock"."""

    def __init__(self, side: str, log: Path, *flags: str) -> None:
        """flags: --timed measures native code."""
        super().__init__("tests.bench.worker", side, *flags, log=log)

    def open(self, root: Path, rows: int, row_bytes: int, **settings: Any) -> dict[str, Any]:
        return self.ask("open", root=str(root), rows=rows, row_bytes=row_bytes, settings=settings)

    def move(self, do: str, seed: int, jobs: int = 1) -> dict[str, Any]:
        """load or store: {mib_s, seconds, cpu_s_gib}, and of a timed one python_us_mib."""
        return self.ask(do, seed=seed, jobs=jobs)


class Worker:
    """What runs there."""

    def __init__(self, side: str, native: NativeTime | None = None) -> None:
        """native: of native code, where it is measured."""
        self._side = side
        self._native = native
        self._region: Any = None
        self._driver: Any = None
        self._filled = (0, [0])

    def open(self, root: str, rows: int, row_bytes: int, settings: dict[str, Any]) -> dict[str, Any]:
        from tests.bench.region import Region
        from tests.bench.sides import Driver

        self.close()
        if self._region is None or (self._region.rows, self._region.row_bytes) != (rows, row_bytes):
            if self._region is not None:
                self._region.close()
            self._region = Region(rows, row_bytes)
            self._filled = (0, [])
        self._region.clear()
        self._driver = Driver(self._side, self._region, root, settings)
        # As vLLM does after its start: what was imported is not walked through again and again.
        gc.collect()
        gc.freeze()
        # The peak starts here: code that had to be imported is not the tier's memory.
        Path("/proc/self/clear_refs").write_text("5")
        return {"opened_s": self._driver.opened_s, "rss_bytes": rss_bytes()} | self._setup()

    def _setup(self) -> dict[str, Any]:
        """What the tier chose, as far as it tells."""
        engine = getattr(self._driver.tier, "_engine", None)
        if engine is None:
            return {"threads": 16, "lookup_threads": 1, "publish": "rename"}  # vLLM's own
        parts = engine.parts
        return {
            # Of those configured, as many work as the mount can use.
            "threads": parts.scheduler.queue.threads,
            "lookup_threads": parts.config.lookup_threads,
            "publish": parts.store.publish_strategy,
        }

    def store(self, seed: int, jobs: int) -> dict[str, Any]:
        self._region.fill(seed)
        self._filled = (seed, self._region.digests())
        return self._move(seed, load=False, jobs=jobs)

    def load(self, seed: int, jobs: int) -> dict[str, Any]:
        """What is loaded is compared with what this worker stored under the seed, if it did so last."""
        self._region.clear()
        result = self._move(seed, load=True, jobs=jobs)
        if self._filled[0] == seed and self._region.digests() != self._filled[1]:
            raise RuntimeError(f"seed {seed}: other bytes came back than were stored")
        return result

    def load_over(self, seed: int, jobs: int) -> dict[str, Any]:
        """Load, over whatever the rows hold and looking at no byte: nothing else keeps the processor busy."""
        return self._move(seed, load=True, jobs=jobs)

    def _move(self, seed: int, *, load: bool, jobs: int) -> dict[str, Any]:
        before = self._native.seconds() if self._native else 0.0
        took = self._driver.move(seed, load=load, jobs=jobs)
        size = self._region.rows * self._region.row_bytes
        rates = {
            "mib_s": size / MIB / took["seconds"],
            "seconds": took["seconds"],
            "cpu_s_gib": took["cpu_s"] / (size / (1 << 30)),
        }
        if self._native:
            rates["python_us_mib"] = 1e6 * (took["threads_s"] - self._native.seconds() + before) / (size / MIB)
        return rates

    def copy(self, threads: int, do_hash: bool) -> dict[str, Any]:
        from tests.bench.alone import copy

        took = copy(self._region, threads, do_hash=do_hash)
        return {"mib_s": self._region.rows * self._region.row_bytes / MIB / took}

    def steps(self, seed: int, requests: int, processor: int) -> dict[str, Any]:
        from tests.bench.alone import steps

        return dict(steps(self._driver, seed, requests, processor))

    def look_up(self, seed: int, count: int) -> dict[str, Any]:
        return dict(self._driver.look_up(seed, count))

    def look_up_apart(self, seed: int, count: int) -> dict[str, Any]:
        return dict(self._driver.look_up_apart(seed, count))

    def stripe(self) -> dict[str, Any]:
        """Bytes of a thread's buffer."""
        from llmd_storage_connector.blocks.format import BlockSpec

        spec = BlockSpec(bytes(32), self._region.row_bytes)
        return {"buffer_bytes": spec.header_bytes + getattr(spec, "longest_stripe", spec.payload_bytes)}

    def memory(self) -> dict[str, Any]:
        return {"rss_bytes": rss_bytes(), "peak_bytes": rss_bytes("VmHWM")}

    def close(self) -> dict[str, Any]:
        if self._driver is not None:
            self._driver.close()
            self._driver = None
            # The tier is gone only when all that refers to it is, what was frozen when it was opened included.
            gc.unfreeze()
            gc.collect()
        return {}


def rss_bytes(field: str = "VmRSS") -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"/proc/self/status has no {field}"
    return int(found[1]) * 1024


class NativeTime:
    """Processor seconds of native code, all threads together; of what they are in now, too."""

    def __init__(self) -> None:
        self._done = 0.0
        self._inside: dict[int, float] = {}

    def seconds(self) -> float:
        """From the start."""
        inside = list(self._inside.items())
        return self._done + sum(time.clock_gettime(time.pthread_getcpuclockid(who)) - at for who, at in inside)

    def of(self, call: Any) -> Any:
        """The call, measured."""

        def run(*arguments: Any) -> Any:
            me = threading.get_ident()
            self._inside[me] = began = time.thread_time()
            try:
                return call(*arguments)
            finally:
                del self._inside[me]
                self._done += time.thread_time() - began

        return run


def time_native() -> NativeTime:
    """Have native code take down the processor time of its calls."""
    from llmd_storage_connector.blocks import native

    path, native_time = native.best_path(), NativeTime()
    assert isinstance(path, native.NativePath), "there is no native code for this processor"
    for name in ("_read", "_write"):
        setattr(path, name, native_time.of(getattr(path, name)))
    new_crew = path.new_crew

    def new_timed_crew() -> Any:
        crew = new_crew()
        crew._work = native_time.of(crew._work)
        return crew

    path.new_crew = new_timed_crew
    return native_time


def main() -> None:
    side, *flags = sys.argv[1:]
    native = time_native() if "--timed" in flags else None
    serve(lambda: Worker(side, native))


if __name__ == "__main__":
    main()
