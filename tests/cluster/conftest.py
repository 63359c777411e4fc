"""The fixtures of the cluster layer."""

from tests.cluster.fixtures import (  # noqa: F401
    clean_namespace,
    cluster,
    pytest_runtest_makereport,
    release,
    unproven,
)
