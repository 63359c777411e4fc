"""Let the default GPU build of torch load on a machine without 3.7 GB of GPU libraries.

torch's shared objects name cuBLAS, cuDNN, NCCL and others as needed libraries, so the loader wants files of
those names even where no GPU call is ever made. This writes, beside torch's own libraries, one tiny shared
object per missing name, with every symbol (and symbol version) that torch refers to; each symbol aborts.
The CUDA runtime itself stays real: torch calls it while it is being loaded.

Run by the engine environment's own Python; needs a C compiler and readelf.
"""

from __future__ import annotations

import collections
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The runtime is called from static initialisers; the driver is opened only on a GPU.
REAL = ("libcudart.so", "libcuda.so")
MARKER = b"cuda-stub"
# Symbols without a version say by their name which library they belong to.
PREFIX = {
    "libcublas.so": "cublas",
    "libcublasLt.so": "cublasLt",
    "libcudnn.so": "cudnn",
    "libcufft.so": "cufft",
    "libcufile.so": "cuFile",
    "libcupti.so": "cupti",
    "libcurand.so": "curand",
    "libcusolver.so": "cusolver",
    "libcusparse.so": "cusparse",
    "libcusparseLt.so": "cusparseLt",
    "libnccl.so": "(nccl|pnccl)",
    "libnvrtc.so": "nvrtc",
    "libnvshmem_host.so": "nvshmem",
}

Groups = dict[str, set[str]]  # symbol version ("" = none) -> symbols


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def is_stub(path: Path) -> bool:
    return path.stat().st_size < 1 << 20 and MARKER in path.read_bytes()


def wanted(libraries: list[Path]) -> tuple[set[str], Groups, Groups]:
    """The library names that are needed, who provides each symbol version, and the undefined symbols."""
    needed: set[str] = set()
    providers: Groups = collections.defaultdict(set)
    undefined: Groups = collections.defaultdict(set)
    for so in libraries:
        needed |= set(re.findall(r"NEEDED.*\[(.+?)\]", run("readelf", "-d", "-W", str(so))))
        current = ""
        for line in run("readelf", "-V", "-W", str(so)).splitlines():
            if m := re.search(r"File: (\S+)", line):
                current = m[1]
            elif current and (m := re.search(r"Name: (\S+)\s+Flags", line)):
                providers[m[1]].add(current)
        for line in run("readelf", "--dyn-syms", "-W", str(so)).splitlines():
            if m := re.search(r"\bUND\s+(\w+)(?:@(\S+))?", line):
                undefined[m[2] or ""].add(m[1])
    return needed, providers, undefined


def symbols_of(name: str, providers: Groups, undefined: Groups) -> Groups:
    prefix = PREFIX[name.split(".so", maxsplit=1)[0] + ".so"]
    groups: Groups = {version: set() for version, files in providers.items() if name in files}
    for version, names in undefined.items():
        for symbol in names:
            versioned = version and name in providers.get(version, ())
            if versioned or (not version and re.match(prefix, symbol)):
                groups.setdefault(version, set()).add(symbol)
    return groups


def build(target: Path, groups: Groups) -> int:
    symbols = sorted(set().union(*groups.values())) if groups else []
    with tempfile.TemporaryDirectory() as tmp:
        source, script = Path(tmp, "stub.c"), Path(tmp, "stub.map")
        body = "".join(f"void {s}(void) {{ abort(); }}\n" for s in symbols)
        source.write_text(f'#include <stdlib.h>\n{body}const char cuda_stub_marker[] = "{MARKER.decode()}";\n')
        flags = []
        if versions := [v for v in groups if v]:
            blocks = []
            for v in versions:
                names = " ".join(f"{s};" for s in sorted(groups[v])) or "cuda_stub_marker;"
                blocks.append(f"{v} {{\n global: {names}\n}};\n")
            script.write_text("".join(blocks))
            flags = [f"-Wl,--version-script={script}"]
        soname = f"-Wl,-soname,{target.name}"
        run("cc", "-shared", "-fPIC", "-O0", "-w", soname, *flags, "-o", str(target), str(source))
    return len(symbols)


def main() -> int:
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        print("torch is not installed in this environment", file=sys.stderr)
        return 1
    lib = Path(spec.submodule_search_locations[0]) / "lib"
    needed, providers, undefined = wanted(sorted(p for p in lib.glob("*.so*") if not is_stub(p)))
    have = {p.name for p in lib.iterdir()} | {p.name for p in lib.glob("../../nvidia/*/lib/*")}
    gpu = {n for n in needed if re.match(r"lib(cu|nv|nccl)", n) and not n.startswith(REAL)}
    for name in sorted(gpu - have):
        print(f"{name}: {build(lib / name, symbols_of(name, providers, undefined))} symbols", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
