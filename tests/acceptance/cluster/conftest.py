"""The fixtures of the cluster layer, for the parts that have an acceptance of their own."""

from tests.cluster.fixtures import (  # noqa: F401
    clean_namespace,
    cluster,
    pytest_runtest_makereport,
    release,
    unproven,
)
