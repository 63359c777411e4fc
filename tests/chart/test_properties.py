"""Values that nobody wrote down: whatever the schema takes is rendered into valid objects, or refused in a sentence."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chart import helm, schemas

FEW = 25
EXAMPLES = int(os.environ.get("LLMD_TEST_EXAMPLES", FEW))

names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
sizes = st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 99999), st.sampled_from(["Mi", "Gi", "Ti", "G", "T"]))
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp")), min_size=1, max_size=12)
BACKENDS = json.loads((helm.CHART / "values.schema.json").read_text())["$defs"]["storage"]["properties"]["backend"][
    "enum"
]


def maybe(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keys."""
    return st.fixed_dictionaries({}, optional=parts)


VALUES = maybe(
    **{
        "global": maybe(
            nameOverride=names,
            router=maybe(mode=st.sampled_from(["gateway", "standalone", "service", "external"])),
            networkPolicy=maybe(enabled=st.booleans(), hubEgress=st.booleans()),
            monitoring=maybe(
                scrape=st.sampled_from(["none", "operator", "annotations"]),
                interval=st.sampled_from(["15s", "1m"]),
                labels=st.dictionaries(names, names, max_size=2),
            ),
            podSecurity=maybe(runAsUser=st.just("none") | st.integers(1, 65535), fsGroup=st.integers(0, 65535)),
        ),
        "storage": maybe(
            backend=st.sampled_from(BACKENDS),
            storageClassName=names,
            size=sizes,
            keepOnUninstall=st.booleans(),
            storageClass=maybe(create=st.booleans(), name=names, provisioner=names, zones=st.lists(names, max_size=1)),
            persistentVolume=maybe(
                create=st.booleans(),
                csi=maybe(driver=names, volumeHandle=texts, volumeAttributes=st.dictionaries(names, texts, max_size=2)),
            ),
        ),
        "modelserver": maybe(
            replicas=st.integers(2, 100),
            model=texts,
            servedModelName=texts,
            tensorParallelSize=st.sampled_from([1, 2, 8]),
            connector=st.sampled_from(["llmd-storage", "vllm-fs", "llmd-fs-backend", "lmcache"]),
            cpuTier=maybe(size=st.sampled_from(["512Mi", "1Gi", "100G"]), shmHeadroom=st.sampled_from(["64Mi", "1Gi"])),
            storageTier=maybe(blockTokens=st.sampled_from([16, 128, 4096]), promptOnly=st.booleans()),
            extraArgs=st.lists(texts.map(lambda t: f"--x={t}"), max_size=2),
            extraEnv=st.lists(st.builds(lambda n, v: {"name": n, "value": v}, names, texts), max_size=1),
            podAnnotations=st.dictionaries(names, texts, max_size=2),
            probes=maybe(startupSeconds=st.integers(10, 86400)),
            termination=maybe(preStopSeconds=st.integers(0, 3600), drainSeconds=st.integers(0, 86400)),
            spread=st.sampled_from(["preferred", "required", "none"]),
            autoscaling=maybe(
                kind=st.sampled_from(["none", "hpa", "keda"]),
                minReplicas=st.integers(2, 4),
                maxReplicas=st.integers(3, 9),
                triggers=st.just([{"type": "cron", "metadata": {"timezone": "UTC", "desiredReplicas": "3"}}]),
            ),
            podDisruptionBudget=maybe(enabled=st.booleans(), maxUnavailable=st.sampled_from([1, "50%"])),
        ),
        "inferencepool": maybe(
            failureMode=st.sampled_from(["FailOpen", "FailClose"]),
            scorers=maybe(queue=st.floats(0, 1000), activeRequests=st.integers(0, 3)),
            epp=maybe(replicas=st.integers(1, 3)),
        ),
        "gateway": maybe(
            provider=st.sampled_from(["istio", "gke-internal", "kgateway", "agentgateway-openshift"]),
            hostnames=st.lists(names, max_size=2),
            tls=maybe(secretName=names, keepHttp=st.booleans()),
        ),
        "evictor": maybe(enabled=st.booleans(), replicas=st.integers(1, 3)),
        "alerts": maybe(
            kind=st.sampled_from(["none", "operator", "file"]), labels=st.dictionaries(names, names, max_size=1)
        ),
        "dashboards": maybe(enabled=st.booleans()),
    }
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # The gate tries the same ones each time: what is new belongs to the acceptance, and to whoever reads its record.
    derandomize=EXAMPLES == FEW,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(VALUES)
@pytest.mark.timeout(6 * 3600)
def test_accepted_values_give_objects_that_an_api_server_takes(values: dict[str, Any]) -> None:
    """Text with quotes, colons or braces must not become YAML; numbers must stay numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "values.json"
        path.write_text(json.dumps(values, ensure_ascii=False))
        done = helm.helm("template", helm.RELEASE, helm.CHART, *helm.REGISTRY, "-n", helm.NAMESPACE, "-f", path)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("  - ")]
        assert "the values contradict each other" in done.stderr, done.stderr
        assert said and not any("%!" in line or "<no value>" in line for line in said), done.stderr
        return
    for obj in helm.load_yaml(done.stdout):
        assert not schemas.problems(obj, "1.36"), (obj["kind"], obj["metadata"]["name"])
