"""The fixtures of the engine layer."""

from tests.engine.conftest import (  # noqa: F401
    make_model,
    model,
    pytest_runtest_makereport,
    start_engine,
    without_cache,
)
