"""Build the offline bundle: vLLM 0.32.0 (CUDA 13) for Python 3.12 and torch 2.11, for one dense model on Hopper.

usage: python3 tests/gpu/bundle.py OUT [--vllm-wheel FILE] [--connector DIR...] [--part-mib 58]

Needs pip and access to a package index; runs on any Linux machine, with or without a GPU. Writes OUT/part1.tar.xz,
OUT/part2.tar.xz, ... (each below --part-mib), OUT/bundle.json (what is in them) and OUT/site (the tree itself).
On the GPU machine unpack every part into one directory and put that on PYTHONPATH: README.md beside this file.
"""

import argparse
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

VLLM = "vllm==0.32.0"
# What `from vllm import LLM` and an engine with a dense model import and the GPU machine's image lacks. Versions: those
# that were rehearsed together. Nothing else of vLLM's requirements is imported on that path.
WHEELS = """
pydantic==2.14.4 pydantic_core==2.50.5 annotated_types==0.8.0 typing_inspection==0.4.5 typing_extensions==4.16.0
pydantic_extra_types==2.11.1 fastapi==0.136.3 starlette==1.10.0 python_multipart==0.0.34 uvicorn==0.54.0
msgspec==0.22.0 pyzmq==27.3.0 cbor2==6.3.0 blake3==1.0.11 cachetools==8.0.2 partial_json_parser==0.2.1.1.post7
lark==1.2.2 compressed_tensors==0.17.0 pybase64==1.5.1 ijson==3.6.0 setproctitle==1.3.8 gguf==0.19.0
jsonschema==4.26.0 jsonschema_specifications==2025.9.1 referencing==0.37.0 rpds_py==2026.9.1
python_json_logger==4.2.0 depyf==0.20.0 astor==0.8.1 dill==0.4.1 interegular==0.3.3 diskcache==5.6.3 loguru==0.7.3
prometheus_fastapi_instrumentator==8.1.0 watchfiles==1.3.0 docstring_parser==0.18.0
openai==3.57.0 jiter==0.19.0 distro==1.9.0 sniffio==1.3.1 httpx2==2.16.2 httpcore2==2.16.2 truststore==0.10.5
oss_harmony==0.0.11 mistral_common==1.13.1
xgrammar==0.2.8 apache_tvm_ffi==0.1.11 llguidance==1.7.6
""".split()
# manylinux tags a glibc 2.39 system may install.
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (39, 35, 34, 31, 28, 27, 26, 24, 17)] + [
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
]
# Parts of the wheels that a dense Llama or Qwen on Hopper never touches.
DROP = [
    re.compile(p)
    for p in (
        r"^vllm/vllm-rs$",
        r"^vllm/vllm_flash_attn/_vllm_fa2_C",  # FA3 serves Hopper; FA2 is 308 MB
        r"^vllm/vllm_flash_attn/cute/",  # FA4
        r"^vllm/(_moe_C|_flashkda_C|_flashmla|_deepselect_C|_qutlass_C)",
        r"^vllm/third_party/(deep_gemm|fmha_sm100)/",
        r"^vllm/kernels/helion/configs/",
        r"^vllm/model_executor/layers/fused_moe/configs/",
        r"^vllm/model_executor/layers/quantization/utils/configs/",
        r"^vllm/entrypoints/serve/instrumentator/static/",
        r"^mistral_common/data/",
        r"\.(h|hpp|cuh|cu|pyi)$",
        r"(^|/)tests?/",
    )
]
# The kernels every model needs: one incompressible file, which gets the first part to itself.
KERNELS = "vllm/_C_stable_libtorch.abi3.so"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--vllm-wheel", type=Path, help="the vLLM wheel, if it is here already")
    parser.add_argument("--connector", type=Path, nargs="+", default=[], help="folders of our packages, to take along")
    parser.add_argument("--part-mib", type=float, default=58)
    args = parser.parse_args()
    wheels, site = args.out / "wheels", args.out / "site"
    shutil.rmtree(site, ignore_errors=True)
    for folder in (wheels, site):
        folder.mkdir(parents=True, exist_ok=True)
    download(wheels, WHEELS)
    if args.vllm_wheel is None:
        download(wheels, [VLLM])
    elif not (wheels / args.vllm_wheel.name).exists():
        (wheels / args.vllm_wheel.name).symlink_to(args.vllm_wheel.absolute())
    for wheel in sorted(wheels.glob("*.whl")):
        unpack(wheel, site)
    patch(site)
    for folder in args.connector:
        ours, ignored = site / "connector_src", shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, ours, ignore=ignored, dirs_exist_ok=True)
    here = Path(__file__).resolve().parent
    for script in ("check.py", "model.py"):
        shutil.copy(here / script, site)
    parts = pack(site, args.out, int(args.part_mib * 2**20))
    report = {"wheels": sorted(w.name for w in wheels.glob("*.whl")), "parts": parts}
    (args.out / "bundle.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report["parts"], indent=1))


def download(folder: Path, names: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command += [
        "--python-version",
        "3.12",
        "--implementation",
        "cp",
        "--abi",
        "cp312",
        "--abi",
        "abi3",
        "--abi",
        "none",
    ]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run(command + names, check=True)


def unpack(wheel: Path, site: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename
            if info.is_dir() or any(pattern.search(name) for pattern in DROP):
                continue
            # A wheel's own <name>.data/purelib and platlib go to the top; scripts and headers are not needed.
            moved = re.match(r"^[^/]+\.data/(purelib|platlib)/(.*)$", name)
            if re.match(r"^[^/]+\.data/", name) and not moved:
                continue
            target = site / (moved[2] if moved else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def patch(site: Path) -> None:
    """Edits to vLLM's text. Each must fit exactly once: another version fails here, not on the GPU machine."""
    # Without FA2 and FA3 a module that everything imports refuses to load; TRITON_ATTN needs neither.
    edit(
        site / "vllm/vllm_flash_attn/__init__.py",
        "if not (FA2_AVAILABLE or FA3_AVAILABLE):\n    raise ImportError(",
        "if not (FA2_AVAILABLE or FA3_AVAILABLE):\n    import warnings\n\n    warnings.warn(",
    )
    # The sampler takes flashinfer for granted on CUDA.
    edit(
        site / "vllm/v1/sample/ops/topk_topp_sampler.py",
        "    from vllm.v1.attention.backends.flashinfer import FlashInferBackend\n\n    capability",
        "    try:\n        from vllm.v1.attention.backends.flashinfer import FlashInferBackend\n"
        "    except ImportError:\n        return False\n\n    capability",
    )
    # Warming up imports the code of models that are not served, torchvision included; the check warms up by itself.
    edit(
        site / "vllm/model_executor/warmup/kernel_warmup.py",
        'def kernel_warmup(worker: "Worker", *, process_local_only: bool = False):\n',
        'def kernel_warmup(worker: "Worker", *, process_local_only: bool = False):\n    return\n',
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    if text.count(old) != 1:
        raise SystemExit(f"{path}: the text to patch is there {text.count(old)} times, not once")
    path.write_text(text.replace(old, new))


def pack(site: Path, out: Path, limit: int) -> list[dict]:
    """Parts below the limit: the kernels first, then all else, cut where a part is full."""
    for old in out.glob("part*.tar.xz"):
        old.unlink()
    everything = sorted(p for p in site.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    kernels = [p for p in everything if p == site / KERNELS]
    # Large compiled files last, so that a second cut falls between few large files and many small ones.
    rest = sorted((p for p in everything if p not in kernels), key=lambda p: (p.stat().st_size > 2**22, p))
    groups, parts = [kernels, rest], []
    while groups:
        group = groups.pop(0)
        path = out / f"part{len(parts) + 1}.tar.xz"
        with lzma.open(path, "wb", preset=6) as compressed, tarfile.open(fileobj=compressed, mode="w") as archive:
            for file in group:
                archive.add(file, arcname=str(file.relative_to(site)))
        if path.stat().st_size > limit:
            if len(group) == 1:
                raise SystemExit(f"{group[0]} alone is larger than a part: raise --part-mib")
            total, so_far, cut = sum(f.stat().st_size for f in group), 0, 0
            while so_far < total / 2:
                so_far += group[cut].stat().st_size
                cut += 1
            cut = min(max(cut, 1), len(group) - 1)
            groups[:0] = [group[:cut], group[cut:]]
            path.unlink()
            continue
        parts.append({"name": path.name, "mib": round(path.stat().st_size / 2**20, 1), "files": len(group)})
    return parts


if __name__ == "__main__":
    main()
