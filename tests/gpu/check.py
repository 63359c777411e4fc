"""Prove LlmdStorageConnector on a real GPU with a real vLLM, and measure it beside vLLM's own fs tier.

usage: python3 check.py --out DIR --connector SRC [--work /tmp/gpu] [--budget 500] [--shape 2b|8b] [--sizes 16384,32768]
       python3 check.py --out DIR --connector SRC --cpu          a rehearsal with a tiny model, on vLLM for CPU

Every engine is a process of its own with a time limit of its own. What is known is in DIR/result.json after every step,
the engines' logs (their ends) in DIR/logs.txt. The last thing printed is one line of JSON, the verdict.
"""

import argparse
import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPES = {
    "2b": ["--layers", "24", "--hidden", "2048", "--heads", "16", "--kv-heads", "8"],
    "8b": ["--layers", "32", "--hidden", "4096", "--heads", "32", "--kv-heads", "8", "--intermediate", "14336"],
    "tiny": ["--layers", "2", "--hidden", "256", "--heads", "4", "--kv-heads", "2", "--head-dim", "64"],
}
# Tried in this order until one answers: what to pass to LLM, what to put into the environment.
RUNGS = [
    ({"attention_backend": "FLASH_ATTN"}, {}),
    ({"attention_backend": "TRITON_ATTN"}, {}),
    ({"attention_backend": "TRITON_ATTN"}, {"VLLM_USE_V2_MODEL_RUNNER": "0"}),
    ({"attention_backend": "FLASH_ATTN"}, {"VLLM_USE_V2_MODEL_RUNNER": "0"}),
    # No compiled vLLM kernels but the cache's; PyTorch's own for the rest.
    (
        {"attention_backend": "TRITON_ATTN", "compilation_config": {"mode": 0, "custom_ops": ["none"]}},
        {"VLLM_USE_V2_MODEL_RUNNER": "0"},
    ),
]
START_S = 150  # an engine's start: imports, weights, compiling Triton's kernels the first time, pinning host memory
STEP_S = 60


# ---------------------------------------------------------------- the parent: stages, limits, the report


class Report:
    def __init__(self, out: Path) -> None:
        self.path, self.logs, self.began = out / "result.json", out / "logs.txt", time.monotonic()
        self.data: dict = {"stages": {}, "notes": []}

    def put(self, stage: str, key: str, value: object) -> None:
        self.data["stages"].setdefault(stage, {})[key] = value
        self.save()
        last = json.dumps(value[-1] if isinstance(value, list) and value else value)
        print(f"{time.monotonic() - self.began:6.1f} s  {stage}.{key}: {last[:400]}", flush=True)

    def note(self, text: str) -> None:
        self.data["notes"].append(text)
        self.save()
        print(f"{time.monotonic() - self.began:6.1f} s  NOTE {text}", flush=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.data, indent=1))
        temporary.replace(self.path)

    def log(self, stage: str, path: Path, keep: int = 60_000) -> str:
        """Keep the end of an engine's log; its last lines say why it ended."""
        text = path.read_text(errors="replace") if path.exists() else ""
        with self.logs.open("a") as sink:
            sink.write(f"\n===== {stage}: last of {len(text)} characters\n{text[-keep:]}\n")
        return text[-1500:]


class Engine:
    """A child that holds one LLM; commands in, JSON lines out."""

    def __init__(self, name: str, setup: dict, extra_env: dict, log: Path, connector: str) -> None:
        env = dict(os.environ)
        env.update(
            VLLM_ENABLE_V1_MULTIPROCESSING="0",
            HF_HUB_OFFLINE="1",
            TRANSFORMERS_OFFLINE="1",
            VLLM_NO_USAGE_STATS="1",
            DO_NOT_TRACK="1",
            VLLM_USE_FLASHINFER_SAMPLER="0",
            VLLM_HOST_IP="127.0.0.1",
            PYTHONUNBUFFERED="1",
            PYTHONHASHSEED="0",
            GLOO_SOCKET_IFNAME="lo",
            NCCL_SOCKET_IFNAME="lo",  # a machine without network may not resolve its own name
            TOKENIZERS_PARALLELISM="false",
        )
        env.update(extra_env)
        # This file's own folder may hold all of vLLM: it must be on the path of the child either way.
        env["PYTHONPATH"] = os.pathsep.join(p for p in (connector, env.get("PYTHONPATH", "")) if p)
        self.name, self.log = name, log
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(Path(__file__).resolve()), "--engine"],
            env=env,
            text=True,
            bufsize=1,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            start_new_session=True,
        )
        self.answers: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._send(setup)

    def _read(self) -> None:
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.answers.put(json.loads(line))
        self.answers.put({"error": f"the engine ended with {self.process.wait()}"})

    def _send(self, command: dict) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(command) + "\n")

    def wait(self, limit: float) -> dict:
        try:
            answer = self.answers.get(timeout=max(limit, 1))
        except queue.Empty:
            raise EngineFailed(f"no answer within {limit:.0f} s") from None
        if "error" in answer:
            raise EngineFailed(answer["error"])
        return answer

    def ask(self, limit: float, **command: object) -> dict:
        self._send(command)
        return self.wait(limit)

    def end(self) -> None:
        self._send({"do": "end"})
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class EngineFailed(Exception):
    pass


class Check:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.report = args, Report(args.out)
        self.ends = time.monotonic() + args.budget
        self.model = args.work / "model"
        self.rung: tuple[dict, dict] = ({}, {})
        self.reference: dict[str, list[int]] = {}
        self.kv_token_bytes = 0
        # One more than a multiple of any block: a full hit computes one token, wherever it comes from.
        self.prompts = [(n + 1, seed) for n in args.sizes for seed in range(args.repeats)]

    def left(self) -> float:
        return self.ends - time.monotonic()

    def run(self) -> None:
        self.machine()
        if not self.make_model():
            return
        if not self.baseline():
            return
        folders = {"shm": Path("/dev/shm"), "disk": self.args.work}
        for side, place in self.args.pairs:
            root = folders[place] / f"kv-check-{side}-{os.getpid()}"
            try:
                self.pair(side, place, root.absolute())
            finally:
                shutil.rmtree(root, ignore_errors=True)

    def machine(self) -> None:
        put = lambda key, value: self.report.put("machine", key, value)  # noqa: E731
        put("python", sys.version.split()[0])
        put("cpus", os.cpu_count())
        put("memory", next(line.strip() for line in open("/proc/meminfo") if line.startswith("MemTotal")))
        for name, folder in (("shm", "/dev/shm"), ("work", str(self.args.work))):
            usage = shutil.disk_usage(folder)
            put(f"{name}_free_gib", round(usage.free / 2**30, 1))
        put(
            "mounts",
            [line.split()[:3] for line in open("/proc/mounts") if line.split()[1] in ("/", "/tmp", "/dev/shm")],
        )
        if not self.args.cpu:
            put("gpu", command(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]))
            put("kernels", command([sys.executable, "-c", LOAD_KERNELS], limit=120))
        for name, folder in (("shm", Path("/dev/shm")), ("disk", self.args.work)):
            put(f"{name}_raw_gib_s", raw_speed(folder, 2**28 if self.args.cpu else 2**31))

    def make_model(self) -> bool:
        began = time.monotonic()
        line = [sys.executable, str(HERE / "model.py"), str(self.model), *SHAPES[self.args.shape]]
        text = command(line, limit=min(180, self.left()))
        try:
            made = json.loads((self.model / "made.json").read_text())
        except OSError:
            self.report.put("model", "error", text[-1500:])
            return False
        self.kv_token_bytes = made["kv_bytes_per_token"]
        self.expected_top = made.get("reference_top5")
        self.report.put("model", "made", made | {"wall_s": round(time.monotonic() - began, 1)})
        return True

    def setup(self, side: str, root: Path | None) -> dict:
        # All prompts, the ones of the latency steps, and some room: what the GPU and the CPU tier each hold.
        tokens = int(1.1 * (sum(n for n, _ in self.prompts) + 2 * max(self.args.sizes)))
        options: dict = {
            "model": str(self.model),
            "dtype": "bfloat16",
            "skip_tokenizer_init": True,
            "enforce_eager": True,
            "max_model_len": max(self.args.sizes) + 2048,
            "max_num_seqs": 8,
            "max_num_batched_tokens": 8192,
            "kv_cache_memory_bytes": tokens * self.kv_token_bytes,
            "disable_log_stats": False,
            "seed": 0,
            "distributed_executor_backend": "uni",
        }
        if self.args.cpu:
            options |= {"block_size": 32, "max_num_batched_tokens": 2048}
        if not self.args.cpu:
            options |= self.rung[0]
        if root is not None:
            room = int(shutil.disk_usage("/dev/shm").free * 0.45)
            cpu_bytes = min(tokens * self.kv_token_bytes, room)
            options["kv_transfer_config"] = transfer_config(side, root, cpu_bytes, self.args)
        return {"llm": options, "prompt_vocabulary": 30000, "warm_tokens": min(9000, max(self.args.sizes))}

    def start(self, name: str, side: str, root: Path | None) -> tuple[Engine, dict]:
        began = time.monotonic()
        log = self.args.work / f"{name}.log"
        engine = Engine(name, self.setup(side, root), self.rung[1], log, str(self.args.connector))
        try:
            ready = engine.wait(min(START_S, self.left()))
        except EngineFailed:
            engine.end()
            raise
        return engine, ready | {"wall_s": round(time.monotonic() - began, 1)}

    def baseline(self) -> bool:
        """The first rung that answers; its tokens from the GPU's own prefix cache are what all others must give."""
        for number, rung in enumerate([({}, {})] if self.args.cpu else RUNGS):
            self.rung, name, engine = rung, f"baseline-{number}", None
            try:
                engine, ready = self.start(name, "none", None)
                self.report.put(name, "ready", ready | {"rung": rung})
                smoke = engine.ask(min(STEP_S, self.left()), do="smoke")
                if self.expected_top and smoke["tokens"][0] not in self.expected_top:
                    raise EngineFailed(f"first token {smoke['tokens'][0]} is none of transformers' {self.expected_top}")
                self.report.put(name, "smoke", smoke | {"in_transformers_top5": bool(self.expected_top)})
                self.generate(engine, name, "cold")
                self.generate(engine, name, "gpu_prefix_cache", reference=True)
                self.report.put(name, "itl_alone", engine.ask(min(STEP_S, self.left()), do="itl"))
                self.report.put(name, "itl_computing", self.itl(engine, 900, reset=False))
                return True
            except EngineFailed as error:
                self.report.put(name, "failed", str(error))
                if self.reference:
                    return True
            finally:
                if engine is not None:
                    engine.end()
                self.report.log(name, self.args.work / f"{name}.log")
            if self.left() < 90:
                self.report.note("no time for another try at a baseline")
                return False
        return False

    def itl(self, engine: Engine, seed: int, reset: bool) -> dict:
        n = max(self.args.sizes) + 1
        return engine.ask(min(STEP_S, self.left()), do="itl", arriving=[n, seed], reset=reset)

    def generate(self, engine: Engine, stage: str, key: str, reset: str = "", reference: bool = False) -> list[dict]:
        found = []
        for n, seed in self.prompts:
            answer = engine.ask(min(STEP_S, self.left()), do="generate", n=n, seed=seed, reset=reset)
            name = f"{n}/{seed}"
            if reference:
                self.reference[name] = answer["tokens"]
            expected = self.reference.get(name)
            answer["tokens_equal"] = None if expected is None else answer["tokens"] == expected
            if answer["tokens_equal"] is False:
                pairs = list(zip(answer["tokens"], expected, strict=False))
                answer["equal_first"] = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
            answer["kv_gib"] = round(answer["cached"] * self.kv_token_bytes / 2**30, 3)
            if answer["cached"] and answer["ttft_s"]:
                answer["kv_gib_per_ttft_s"] = round(answer["kv_gib"] / answer["ttft_s"], 2)
            found.append(answer)
            self.report.put(stage, key, found)
        return found

    def pair(self, side: str, place: str, root: Path) -> None:
        """Engine A computes and stores; engine B, another process, reads."""
        first, second = f"{side}-{place}-A", f"{side}-{place}-B"
        if self.left() < 60:
            self.report.note(f"no time for {first}")
            return
        root.mkdir(parents=True)
        engine = None
        try:
            engine, ready = self.start(first, side, root)
            self.report.put(first, "ready", ready)
            self.generate(engine, first, "cold")
            expected = sum((n - 1) // self.args.chunk * self.args.chunk for n, _ in self.prompts) * self.kv_token_bytes
            self.report.put(
                first, "stored", engine.ask(min(90, self.left()), do="stored", bytes=expected) | files_in(root)
            )
            self.generate(engine, first, "cpu_tier", reset="gpu")
            self.generate(engine, first, "storage_same_engine", reset="all")
            self.report.put(first, "itl_alone", engine.ask(min(STEP_S, self.left()), do="itl"))
            self.report.put(first, "itl_computing_and_storing", self.itl(engine, 900, reset=False))
            self.report.put(first, "itl_loading_from_cpu_tier", self.itl(engine, 0, reset="gpu"))
            self.report.put(first, "itl_loading_from_storage", self.itl(engine, 0, reset="all"))
            self.report.put(first, "metrics", engine.ask(min(STEP_S, self.left()), do="metrics"))
        except EngineFailed as error:
            self.report.put(first, "failed", str(error))
        finally:
            if engine is not None:
                engine.end()
            self.report.log(first, self.args.work / f"{first}.log")
        if self.args.one_engine:
            return
        if self.left() < 45 or not files_in(root)["files"]:
            self.report.note(f"no {second}: {self.left():.0f} s left, {files_in(root)}")
            return
        engine = None
        try:
            engine, ready = self.start(second, side, root)
            self.report.put(second, "ready", ready)
            self.generate(engine, second, "storage")
            self.report.put(second, "metrics", engine.ask(min(STEP_S, self.left()), do="metrics"))
        except EngineFailed as error:
            self.report.put(second, "failed", str(error))
        finally:
            if engine is not None:
                engine.end()
            self.report.log(second, self.args.work / f"{second}.log")

    def verdict(self) -> dict:
        stages = self.report.data["stages"]
        verdict: dict = {"seconds": round(time.monotonic() - self.report.began), "rung": self.rung, "ttft_s": {}}
        equal, hits, bad = 0, 0, []
        for stage, steps in stages.items():
            for key, value in steps.items():
                if key == "failed":
                    bad.append(f"{stage}: {str(value)[:200]}")
                if not (isinstance(value, list) and value and isinstance(value[0], dict) and "ttft_s" in value[0]):
                    continue
                by_size: dict[int, list[float]] = {}
                for answer in value:
                    by_size.setdefault(answer["n"], []).append(answer["ttft_s"])
                    if key != "cold" and not stage.startswith("baseline"):
                        hits += answer["cached"] >= answer["n"] - 1 - self.args.chunk
                        equal += answer["tokens_equal"] is True
                        if answer["tokens_equal"] is False:
                            bad.append(f"{stage}.{key} {answer['n']}/{answer['seed']}: other tokens")
                verdict["ttft_s"][f"{stage}.{key}"] = {n: round(statistics.median(t), 4) for n, t in by_size.items()}
        verdict |= {"full_hits": hits, "equal_tokens": equal, "faults": bad, "notes": self.report.data["notes"]}
        self.report.data["verdict"] = verdict
        self.report.save()
        return verdict


LOAD_KERNELS = """
import torch, vllm._C_stable_libtorch
x = torch.randn(64, 2048, dtype=torch.bfloat16, device="cuda")
w = torch.ones(2048, dtype=torch.bfloat16, device="cuda")
out = torch.empty_like(x); torch.ops._C.rms_norm(out, x, w, 1e-5); torch.cuda.synchronize()
want = torch.nn.functional.rms_norm(x.float(), (2048,), w.float(), 1e-5)
error = float((out.float() - want).abs().max())
print("torch", torch.__version__, torch.cuda.get_device_name(), "rms_norm error", error)
try:
    import vllm.vllm_flash_attn._vllm_fa3_C; print("fa3 loads")
except Exception as error:
    print("fa3:", error)
"""


def transfer_config(side: str, root: Path, cpu_bytes: int, args: argparse.Namespace) -> dict:
    common, chunk = {"kv_role": "kv_both"}, args.chunk
    if side == "ours":
        # By default it loads whatever that costs: the load is what is measured here.
        extra = {
            "root_dir": str(root),
            "cpu_bytes_to_use": cpu_bytes,
            "block_size": chunk,
            "skip_slow_loads": args.skip_slow_loads,
        }
        return common | {
            "kv_connector": "LlmdStorageConnector",
            "kv_connector_module_path": "llmd_storage_connector.vllm.connector",
            "kv_connector_extra_config": extra,
        }
    extra = {
        "spec_name": "TieringOffloadingSpec",
        "cpu_bytes_to_use": cpu_bytes,
        "block_size": chunk,
        "secondary_tiers": [{"type": "fs", "root_dir": str(root), "n_read_threads": 16, "n_write_threads": 16}],
    }
    if args.cpu:  # vLLM's own spec has no CPU worker
        extra |= {"spec_name": "LlmdStorageSpec", "spec_module_path": "llmd_storage_connector.vllm.spec"}
    return common | {"kv_connector": "OffloadingConnector", "kv_connector_extra_config": extra}


def command(line: list[str], limit: float = 60) -> str:
    try:
        done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=limit)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"
    return (done.stdout + ("" if done.returncode == 0 else f"\nrc {done.returncode}: {done.stderr[-2000:]}")).strip()


def files_in(root: Path) -> dict:
    sizes = [f.stat().st_size for f in root.rglob("*") if f.is_file()]
    return {"files": len(sizes), "gib": round(sum(sizes) / 2**30, 3)}


def raw_speed(folder: Path, size: int) -> dict:
    """One thread, 8 MiB at a time, past the page cache where the filesystem can: what the place itself gives."""
    import mmap

    path, piece, found = folder / "raw-speed", mmap.mmap(-1, 2**23), {}
    piece.write(os.urandom(2**20) * 8)
    for key, flags in (("write", os.O_WRONLY | os.O_CREAT), ("read", os.O_RDONLY)):
        try:
            try:
                fd = os.open(path, flags | os.O_DIRECT, 0o600)
            except OSError:
                fd, found["direct"] = os.open(path, flags, 0o600), False
            began = time.monotonic()
            for _ in range(size // len(piece)):
                os.writev(fd, [piece]) if key == "write" else os.readv(fd, [piece])
            if key == "write":
                os.fsync(fd)
            os.close(fd)
            found[key] = round(size / 2**30 / (time.monotonic() - began), 2)
        except OSError as error:
            found[key] = str(error)
    path.unlink(missing_ok=True)
    return found


# ---------------------------------------------------------------- the child: one engine


def engine_main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")

    try:
        setup = json.loads(sys.stdin.readline())
        began = time.monotonic()
        import vllm

        imported = time.monotonic()
        llm = vllm.LLM(**setup["llm"])
        child = Child(llm, setup["prompt_vocabulary"], setup["warm_tokens"])
        answer(import_s=round(imported - began, 1), engine_s=round(time.monotonic() - imported, 1), facts=facts(llm))
    except BaseException as error:
        import traceback

        traceback.print_exc()
        answer(error=f"{type(error).__name__}: {error}"[:1500])
        os._exit(1)
    for line in sys.stdin:
        wanted = json.loads(line)
        do = wanted.pop("do")
        if do == "end":
            with contextlib.suppress(Exception):
                llm.llm_engine.engine_core.shutdown()
            break
        try:
            answer(**getattr(child, do)(**wanted))
        except BaseException as error:
            import traceback

            traceback.print_exc()
            answer(error=f"{do}: {type(error).__name__}: {error}"[:1500])
    # Nothing is to be saved, and a library's own teardown may hang.
    sys.stderr.flush()
    answers.flush()
    os._exit(0)


def facts(llm) -> dict:
    """What the engine really runs with."""
    import torch
    import vllm

    found = {"vllm": vllm.__version__, "torch": torch.__version__}
    with contextlib.suppress(Exception):
        core = llm.llm_engine.engine_core.engine_core
        runner = core.model_executor.driver_worker.worker.model_runner
        found["runner"] = f"{type(runner).__module__}.{type(runner).__name__}"
    with contextlib.suppress(Exception):
        config = llm.llm_engine.vllm_config
        found["backend"] = str(config.attention_config.backend)
        found["block_size"] = config.cache_config.block_size
        found["gpu_blocks"] = config.cache_config.num_gpu_blocks
    return found


class Child:
    def __init__(self, llm, vocabulary: int, warm_tokens: int) -> None:
        self.llm, self.vocabulary, self.warm_tokens, self.count = llm, vocabulary, warm_tokens, 0

    def prompt(self, n: int, seed: int) -> list[int]:
        import random

        rng = random.Random(seed * 1_000_003 + n)
        return [rng.randrange(3, self.vocabulary) for _ in range(n)]

    def params(self, tokens: int):
        from vllm import SamplingParams

        return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)

    def smoke(self) -> dict:
        prompt = [3 + (i * 7919) % 997 for i in range(200)]
        began = time.monotonic()
        output = self.llm.generate([{"prompt_token_ids": prompt}], self.params(8), use_tqdm=False)[0]
        # Compiles what a long prompt needs, so that no measured one pays for it.
        self.llm.generate([{"prompt_token_ids": self.prompt(self.warm_tokens, 77)}], self.params(8), use_tqdm=False)
        return {"tokens": list(output.outputs[0].token_ids), "seconds": round(time.monotonic() - began, 2)}

    def generate(self, n: int, seed: int, reset: str = "", tokens: int = 16) -> dict:
        self._warm()
        if reset:
            self._reset(reset)
        run = self._drive({"r": (self.prompt(n, seed), tokens)})["r"]
        return {
            "n": n,
            "seed": seed,
            "ttft_s": round(run["times"][0] - run["began"], 4),
            "cached": run["cached"],
            "total_s": round(run["times"][-1] - run["began"], 4),
            "tokens": run["tokens"],
        }

    def _warm(self) -> None:
        """Once per engine: compiles and first allocations stay out of the measured requests."""
        if not self.count:
            for n in (self.warm_tokens, 40):
                self._drive({"w": (self.prompt(n, 78), 8)})
            self._reset("gpu")

    def _reset(self, what: str) -> None:
        for _ in range(50):
            if self.llm.reset_prefix_cache(reset_connector=what == "all"):
                return
            self._drive({"x": ([3, 4, 5], 1)})
            time.sleep(0.02)
        raise RuntimeError("reset_prefix_cache is refused: blocks are still in use")

    def _drive(self, requests: dict, arriving: tuple | None = None, after: int = 0) -> dict:
        """Step the engine until all is answered. arriving: (name, prompt, tokens), added when r has `after` tokens."""
        engine, runs = self.llm.llm_engine, {}

        def add(name: str, prompt: list[int], tokens: int) -> None:
            self.count += 1
            runs[name] = {
                "began": time.monotonic(),
                "times": [],
                "cached": 0,
                "tokens": [],
                "id": f"{name}-{self.count}",
            }
            engine.add_request(runs[name]["id"], {"prompt_token_ids": prompt}, self.params(tokens))

        for name, (prompt, tokens) in requests.items():
            add(name, prompt, tokens)
        while engine.has_unfinished_requests():
            outputs = engine.step()
            now = time.monotonic()
            if not outputs:
                time.sleep(0.001)  # as vLLM's core process does: a loop that spins starves threads written in Python
            for output in outputs:
                run = next((r for r in runs.values() if output.request_id.startswith(r["id"])), None)
                if run is None:
                    continue
                run["cached"] = output.num_cached_tokens or run["cached"]
                got = list(output.outputs[0].token_ids)
                run["times"] += [now] * (len(got) - len(run["tokens"]))
                run["tokens"] = got
            if arriving and len(runs["r"]["times"]) >= after:
                add(*arriving)
                arriving = None
        return runs

    def itl(self, arriving: list[int] | None = None, reset: str | bool = False, tokens: int = 400) -> dict:
        """Milliseconds between the tokens of a running request, while another arrives if one is given."""
        self._warm()
        if reset:
            self._reset(str(reset))
        long = None if arriving is None else ("long", self.prompt(*arriving), 2)
        runs = self._drive({"r": (self.prompt(500, 9000 + self.count), tokens)}, long, after=tokens // 8)
        times = runs["r"]["times"]
        gaps = [(b, 1000 * (b - a)) for a, b in itertools.pairwise(times)]
        found = {"all": spread([g for _, g in gaps])}
        if long:
            other = runs["long"]
            until = other["times"][0]
            found |= {
                "while_other_waits": spread([g for at, g in gaps if other["began"] < at <= until + 0.05]),
                "after": spread([g for at, g in gaps if at > until + 0.05]),
                "other_ttft_s": round(until - other["began"], 4),
                "other_cached": other["cached"],
            }
        return found

    def stored(self, bytes: int) -> dict:
        """Until the tier has written that much and, as warming up is written too, nothing more comes."""
        began = last = time.monotonic()
        written = -1.0
        while time.monotonic() - last < 5 and time.monotonic() - began < 60:
            self._drive({"s": ([3, 4, 5], 1)})
            now = sum(v for k, v in self._numbers().items() if "write_bytes" in k and "0:primary" not in k)
            if now != written:
                written, last = now, time.monotonic()
            if written >= bytes and time.monotonic() - last > 0.5:
                break
            time.sleep(0.02)
        return {
            "waited_s": round(last - began, 2),
            "written_gib": round(written / 2**30, 3),
            "wanted_gib": round(bytes / 2**30, 3),
        }

    def metrics(self) -> dict:
        self._drive({"s": ([3, 4, 5], 1)})
        return {k: v for k, v in self._numbers().items() if v}

    def _numbers(self) -> dict[str, float]:
        found = {}
        for metric in self.llm.get_metrics():
            if not any(word in metric.name for word in ("offload", "external_prefix", "by_source", "llmd")):
                continue
            labels = ",".join(f"{k}={v}" for k, v in sorted(metric.labels.items()) if k not in ("engine", "model_name"))
            value = getattr(metric, "value", None)
            if value is None:
                value = getattr(metric, "sum", None)
            if isinstance(value, int | float):
                found[f"{metric.name}{{{labels}}}"] = value
        return found


def spread(values: list[float]) -> dict | None:
    if not values:
        return None
    ordered = sorted(values)
    at = lambda q: round(ordered[min(int(q * len(ordered)), len(ordered) - 1)], 2)  # noqa: E731
    return {"n": len(values), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": round(ordered[-1], 2)}


def main() -> None:
    if "--engine" in sys.argv:
        engine_main()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--connector",
        type=Path,
        required=True,
        help="directory that holds llmd_storage_connector/ and llmd_storage_core/",
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/gpu"))
    parser.add_argument("--budget", type=float, default=500, help="seconds for everything")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="2b")
    parser.add_argument("--sizes", default="16384,32768")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--pairs", default="ours-shm,stock-shm,ours-disk,stock-disk", help="SIDE-PLACE,...: the most telling first"
    )
    parser.add_argument("--one-engine", action="store_true", help="leave the second process of each pair out")
    parser.add_argument("--chunk", type=int, default=64, help="tokens a file, for both sides")
    parser.add_argument(
        "--skip-slow-loads", action="store_true", help="ours: leave out loads slower than computing, its default"
    )
    parser.add_argument("--cpu", action="store_true", help="rehearse with a tiny model on vLLM for CPU")
    args = parser.parse_args()
    args.sizes = [int(n) for n in args.sizes.split(",")]
    args.pairs = [tuple(pair.split("-")) for pair in args.pairs.split(",")]
    if args.cpu:
        args.shape = "tiny"
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)
    check = Check(args)
    try:
        check.run()
    except BaseException as error:
        check.report.note(f"ended early: {type(error).__name__}: {error}")
        if not isinstance(error, Exception):
            raise
    finally:
        print(json.dumps(check.verdict()), flush=True)


if __name__ == "__main__":
    main()
