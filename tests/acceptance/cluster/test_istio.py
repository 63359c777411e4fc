"""router.mode gateway, served by Istio: the chart's Gateway and route, the real picker, Envoy configured by istiod."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.harness import HTTP, TRIES, Cluster, Release, ask, metrics
from tests.lab import istio as istiod
from tests.lab.cluster import target
from tests.lab.paths import lab
from tests.lab.proc import Console
from tests.patience import CEILING_S, eventually

HOST = "llm.example.test"
SHARED = "llmd-test-gateways"
ON = ("global.router.mode=gateway", "gateway.provider=istio", f"gateway.hostnames={{{HOST}}}")
# The lab has nobody who gives load balancers an address.
OWN = (*ON, "gateway.istio.serviceType=ClusterIP", "gateway.tls.secretName=gateway-cert", "gateway.tls.keepHttp=true")
THEIRS = (
    *ON,
    "gateway.existing.name=shared",
    f"gateway.existing.namespace={SHARED}",
    "gateway.existing.sectionName=web",
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not target(start=False).is_lab, reason="runs the lab's own Istio"),
]


@pytest.fixture(scope="module")
def istio(cluster: Cluster) -> Iterator[None]:
    """Istio's control plane beside the lab's own."""
    the_lab = lab()
    istiod.end(the_lab)  # what a killed run left
    try:
        istiod.begin(Console(the_lab.log / "istio.log"), the_lab)
        yield
    finally:
        istiod.end(the_lab)


@pytest.fixture(scope="module")
def certificate(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For HOST, signed by itself, in the release's namespace as a Secret."""
    folder = tmp_path_factory.mktemp("tls")
    crt, key = folder / "crt.pem", folder / "key.pem"
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    argv = ["openssl", "req", "-x509", *ec, *names, "-out", str(crt), "-keyout", str(key)]
    subprocess.run(argv, check=True, capture_output=True)
    secret = ("create", "secret", "tls", "gateway-cert", f"--cert={crt}", f"--key={key}", "-n", release.namespace)
    release.cluster.kubectl(*secret).ok()
    return crt


@pytest.fixture(scope="module")
def routed(istio: None, release: Release, certificate: Path) -> Iterator[Release]:
    """The release behind its own Gateway, proven through it; standalone again afterwards."""
    pods = release.wait_ready()
    try:
        # After the test that made storage sick, the servers may still leave it out: that is not what is proven here.
        release.upgrade(*OWN, "hooks.allowInconclusive=true").ok()
        assert release.wait_ready() == pods, "changing the router rolled the model servers"
        yield release
    finally:
        release.upgrade(hooks=False).ok()
        release.wait_deployed()
        release.cluster.kubectl("delete", "secret", "gateway-cert", "-n", release.namespace).ok()


def patient_client(verify: ssl.SSLContext | bool = True) -> httpx.Client:
    """Asks for the host name, through a port-forward that Envoy ends whenever it resets a connection."""
    transport = httpx.HTTPTransport(verify=verify, retries=TRIES)
    return httpx.Client(transport=transport, headers={"Host": HOST}, timeout=CEILING_S)


@pytest.fixture
def way_in(routed: Release) -> Iterator[tuple[str, httpx.Client]]:
    """The Gateway's HTTP listener, and a client that asks for the host name there."""
    with (
        routed.cluster.forward(routed.namespace, f"deploy/{routed.name}-gateway-istio", 80) as url,
        patient_client() as client,
    ):
        yield url, client


def conditions(holder: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in holder.get("conditions") or []}


def accepted(cluster: Cluster, release: Release, gateway: str) -> bool:
    """Route and pool are accepted by this Gateway, and by no other."""
    route = cluster.get("httproute", f"{release.name}-route", "-n", release.namespace).get("status", {})
    pool = cluster.get("inferencepool", f"{release.name}-pool", "-n", release.namespace).get("status", {})
    for parents in (route.get("parents") or [], pool.get("parents") or []):
        if [p["parentRef"]["name"] for p in parents] != [gateway]:
            return False
        seen = conditions(parents[0])
        if not (seen.get("Accepted") == seen.get("ResolvedRefs") == "True"):
            return False
    return True


def test_the_gateway_is_programmed_and_route_and_pool_are_accepted(routed: Release) -> None:
    gateway = routed.cluster.get("gateway", f"{routed.name}-gateway", "-n", routed.namespace)["status"]
    assert conditions(gateway)["Programmed"] == "True"
    assert gateway["addresses"][0]["value"] == f"{routed.name}-gateway-istio.{routed.namespace}.svc.cluster.local"
    assert {li["name"]: li["attachedRoutes"] for li in gateway["listeners"]} == {"http": 1, "https": 1}
    assert all(conditions(li)["Programmed"] == "True" for li in gateway["listeners"])
    assert accepted(routed.cluster, routed, f"{routed.name}-gateway")


def test_the_upgrade_was_proven_through_the_gateway(routed: Release) -> None:
    report = routed.report("proof")
    said = {f["id"]: f for f in report["findings"]}
    assert said["proof.router.answer"]["verdict"] == said["proof.router.tokens"]["verdict"] == "pass"
    assert (
        f"{routed.name}-gateway-istio.{routed.namespace}.svc.cluster.local:80"
        in said["proof.router.answer"]["sentence"]
    )
    assert report["proof"]["ttftRouterSeconds"] is not None


def test_a_prefix_goes_back_to_the_pod_that_the_pickers_index_names(
    routed: Release, way_in: tuple[str, httpx.Client]
) -> None:
    url, client = way_in
    with contextlib.ExitStack() as open_:
        pods = {p: open_.enter_context(routed.vllm(p)) for p in routed.wait_ready()}
        picker = open_.enter_context(routed.cluster.forward(routed.namespace, f"deploy/{routed.name}-epp", 9090))

        def answered() -> dict[str, float]:
            count = "vllm:request_success_total"
            return {p: sum(v for k, v in metrics(at).items() if k.startswith(count)) for p, at in pods.items()}

        def who(prompt: str) -> str:
            before = answered()
            ask(url, prompt, max_tokens=1, client=client)
            (pod,) = (p for p, count in answered().items() if count > before[p])
            return pod

        for number in range(3):
            prompt = f"{number}: the picker remembers which server has seen this beginning. " * 30
            before = index_hits(picker)
            first = who(prompt)
            assert index_hits(picker) - before < 0.5, "nobody has it yet"
            assert who(prompt + "And then?") == first
            assert index_hits(picker) - before > 0.5, "the picker did not know the prefix: the same pod is chance"


def index_hits(picker: str) -> float:
    """Shares of the prompts that the picker's index knew, added up over all requests."""
    text = HTTP.get(f"{picker}/metrics", timeout=CEILING_S).text
    lines = [x for x in text.splitlines() if x.startswith("inference_extension_prefix_indexer_hit_ratio_sum")]
    return sum(float(x.rsplit(" ", 1)[1]) for x in lines)


def test_a_long_answer_is_not_cut(way_in: tuple[str, httpx.Client]) -> None:
    """Envoy ends a request after 15 seconds unless told otherwise."""
    url, client = way_in
    pace = ask(url, "How long is a long answer?", max_tokens=32, client=client)
    count = min(3500, int(40 * 32 / pace.total_s))
    answer = ask(url, "A very long answer, please.", max_tokens=count, client=client)
    assert len(answer.tokens) == count
    assert answer.total_s > 15, "too short to show anything"


def test_only_the_host_name_is_served_and_over_tls_by_its_own_certificate(routed: Release, certificate: Path) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate))
    sni = {"sni_hostname": HOST}
    with (
        routed.cluster.forward(routed.namespace, f"deploy/{routed.name}-gateway-istio", 443) as plain,
        patient_client(trusted) as client,
    ):
        url = plain.replace("http://", "https://")
        answer = client.get(f"{url}/v1/models", extensions=sni)
        assert answer.status_code == 200 and answer.json()["data"][0]["id"] == "smollm2"
        other = client.get(f"{url}/v1/models", headers={"Host": "other.example.test"}, extensions=sni)
        assert other.status_code == 404


def test_without_the_picker_the_failure_mode_of_the_values_holds(
    routed: Release, way_in: tuple[str, httpx.Client]
) -> None:
    url, client = way_in
    cluster, epp = routed.cluster, f"{routed.name}-epp"
    body = {"model": "smollm2", "prompt": "Anybody there?", "max_tokens": 1}

    def status(method: str, path: str, **given: Any) -> int:
        """0: Envoy, told of something new, had just ended the connection; a client asks again."""
        try:
            return client.request(method, f"{url}{path}", **given).status_code
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return 0

    def models() -> int:
        return status("GET", "/v1/models")

    def generation() -> int:
        return status("POST", "/v1/completions", json=body)

    def set_failure_mode(mode: str) -> None:
        patch = json.dumps({"spec": {"endpointPickerRef": {"failureMode": mode}}})
        pool = ("inferencepool", f"{routed.name}-pool", "-n", routed.namespace)
        cluster.kubectl("patch", *pool, "--type=merge", "-p", patch).ok()

    eventually(lambda: (models(), generation()) == (200, 200), "answers")
    cluster.kubectl("scale", "deployment", epp, "--replicas=0", "-n", routed.namespace).ok()
    try:
        eventually(lambda: models() >= 500, "FailClose to refuse")
        eventually(lambda: generation() >= 500, "FailClose to refuse a request with a body")
        set_failure_mode("FailOpen")
        eventually(lambda: models() == 200, "FailOpen to ask any model server")
        # Envoy keeps FailOpen until a body's first piece is sent: with no picker's pod left it knows before that.
        eventually(lambda: generation() == 200, "FailOpen to hold for a request with a body")
    finally:
        set_failure_mode("FailClose")
        cluster.kubectl("scale", "deployment", epp, "--replicas=1", "-n", routed.namespace).ok()
    eventually(lambda: generation() == 200, "the picker to be asked again")


def test_a_gateway_that_is_there_already_takes_the_route(routed: Release) -> None:
    """In a namespace of its own, as a platform team has it; the release's own Gateway goes, with its proxy."""
    cluster = routed.cluster
    try:
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHARED}})
        cluster.apply(shared_gateway(routed.namespace))
        routed.upgrade(*THEIRS, hooks=False).ok()
        eventually(lambda: accepted(cluster, routed, "shared"), "the shared Gateway to accept the route")
        proxy = ("rollout", "status", "deployment/shared-istio", "-n", SHARED, "--timeout=300s")
        eventually(lambda: cluster.kubectl(*proxy).code == 0, "the shared Gateway's proxy")
        with (
            cluster.forward(SHARED, "deploy/shared-istio", 80) as url,
            patient_client() as client,
        ):
            eventually(lambda: client.get(f"{url}/v1/models").status_code == 200, "an answer")
            assert len(ask(url, "Through the shared Gateway", max_tokens=2, client=client).tokens) == 2
        own = f"deployment.apps/{routed.name}-gateway-istio"
        eventually(lambda: own not in cluster.objects(routed.namespace), "the release's own proxy to go")
    finally:
        cluster.kubectl("delete", "namespace", SHARED, "--ignore-not-found").ok()


def shared_gateway(served: str) -> dict[str, Any]:
    allowed = {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": served}}}
    listener = {"name": "web", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": allowed}}
    note = {"networking.istio.io/service-type": "ClusterIP"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "shared", "namespace": SHARED, "annotations": note},
        "spec": {"gatewayClassName": "istio", "listeners": [listener]},
    }
