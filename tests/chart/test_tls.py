"""HTTPS of the model servers: all that asks them follows, or the values are refused in a sentence."""

from __future__ import annotations

import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart import helm
from tests.chart.test_router import picker_config, refused_by_picker
from tests.chart.test_router_serving import ask, router, server

SECRET = "global.modelserverTls.secretName=vllm-tls"
NAME = "kv-modelserver.inference.svc"
CA_FILE = "/etc/modelserver-ca/ca.crt"


def pod(objs: list[helm.Object], kind: str, suffix: str) -> dict[str, Any]:
    spec: dict[str, Any] = helm.one(objs, kind, suffix)["spec"]["template"]["spec"]
    return spec


def config(objs: list[helm.Object], hook: str) -> dict[str, Any]:
    return dict(json.loads(pod(objs, "Job", f"-{hook}")["containers"][0]["args"][2]))


def test_vllm_serves_https_and_is_probed_by_it() -> None:
    objs = helm.objects("tls")
    vllm = pod(objs, "Deployment", "-modelserver")["containers"][0]
    at = vllm["args"].index("--ssl-certfile")
    wanted = ["--ssl-certfile", "/etc/modelserver-tls/tls.crt", "--ssl-keyfile", "/etc/modelserver-tls/tls.key"]
    assert vllm["args"][at : at + 5] == [*wanted, "--enable-ssl-refresh"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert vllm[probe]["httpGet"]["scheme"] == "HTTPS", probe
    assert helm.one(objs, "Service", "-modelserver")["spec"]["ports"][0]["appProtocol"] == "https"


def test_the_key_is_the_model_servers_alone() -> None:
    for where, spec in helm.pod_specs(helm.objects("tls")):
        taken = {
            item["key"]
            for volume in spec.get("volumes", ())
            if volume.get("secret", {}).get("secretName") == "vllm-tls"
            for item in volume["secret"]["items"]
        }
        asks = where.rpartition("-")[2] in ("router", "proof", "benchmark")
        assert taken == ({"tls.crt", "tls.key"} if where.endswith("-modelserver") else {"ca.crt"} if asks else set())


def test_the_proof_knows_the_ca_and_the_name() -> None:
    """Pods are asked by their addresses, which are in no certificate."""
    seen = config(helm.objects("tls"), "proof")
    assert (seen["scheme"], seen["caFiles"], seen["serverName"]) == ("https", [CA_FILE], NAME)
    assert "routerServerName" not in seen, "Envoy has another name, and no TLS"
    service = config(
        helm.objects("service", "--set", f"{SECRET},global.modelserverTls.serverName=llm.example.com"), "proof"
    )
    assert service["routerUrl"] == f"https://{NAME}:8000"
    assert service["serverName"] == service["routerServerName"] == "llm.example.com"


def test_without_a_ca_of_ones_own_everybody_is_trusted_who_is_known() -> None:
    objs = helm.objects("tls", "--set", "global.modelserverTls.caKey=none")
    assert "caFiles" not in config(objs, "proof")
    assert "/etc/ssl/certs/ca-certificates.crt" in helm.one(objs, "ConfigMap", "-router")["data"]["envoy.yaml"]
    (endpoint,) = helm.one(objs, "PodMonitor", "-modelserver")["spec"]["podMetricsEndpoints"]
    assert endpoint["tlsConfig"] == {"serverName": NAME}
    assert "modelserver-ca" not in json.dumps(objs)


def test_the_secret_is_looked_at_before_anything_is_made() -> None:
    objs = helm.objects("tls")
    seen = {s["key"] for s in config(objs, "preflight")["secrets"] if s["name"] == "vllm-tls"}
    assert seen == {"tls.crt", "tls.key", "ca.crt"}
    role = next(o for o in objs if o["kind"] == "Role" and o["metadata"]["name"].endswith("-preflight"))
    assert any("vllm-tls" in rule.get("resourceNames", ()) for rule in role["rules"])


def test_metrics_are_read_by_https() -> None:
    (endpoint,) = helm.one(helm.objects("tls"), "PodMonitor", "-modelserver")["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"] == {"serverName": NAME, "ca": {"secret": {"name": "vllm-tls", "key": "ca.crt"}}}
    objs = helm.objects("tls", "--set", "global.monitoring.scrape=annotations")
    for part, scheme in (("-modelserver", "https"), ("-epp", None), ("-evictor", None)):
        notes = helm.one(objs, "Deployment", part)["spec"]["template"]["metadata"]["annotations"]
        assert notes.get("prometheus.io/scheme") == scheme, part
    ours = "inferencepool.picker=llm-d-router,inferencepool.epp.image.repository=llm-d/epp"
    (own, *_) = helm.load_yaml(picker_config("tls", "--set", ours))[0]["plugins"]
    assert own["type"] == "metrics-data-source" and own["parameters"]["scheme"] == "https"


def test_the_benchmark_trusts_the_ca_beside_the_public_ones() -> None:
    """One file replaces what the image trusts, and the tokenizer comes from the hub."""
    objs = helm.objects("tls")
    spec = pod(objs, "Job", "-benchmark")
    (trust,) = spec["initContainers"]
    assert trust["args"] == ["/etc/llm-d-trust/ca-bundle.crt", CA_FILE]
    env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == trust["args"][0]
    data = helm.one(objs, "ConfigMap", "-benchmark")["data"]["config.json"]
    assert json.loads(data)["metricsScheme"] == "https"


BUNDLE = "global.caBundle.configMapName=corporate-cas,global.caBundle.key=bundle.pem"
BUNDLE_FILE = "/etc/ca-bundle/ca.crt"


@pytest.mark.parametrize(("kind", "suffix"), [("Deployment", "-modelserver"), ("Job", "-benchmark")])
def test_cas_of_ones_own_are_trusted_beside_the_public_ones(kind: str, suffix: str) -> None:
    """Behind a proxy that opens TLS no model could be downloaded; with its CA alone, none past it."""
    spec = pod(helm.objects("benchmark", "--set", BUNDLE), kind, suffix)
    trust = next(c for c in spec["initContainers"] if c["name"] == "trust")
    assert trust["command"][-1] == "llmd_storage_hooks.core.trust" and trust["args"][1:] == [BUNDLE_FILE]
    env = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
    assert env["SSL_CERT_FILE"] == env["REQUESTS_CA_BUNDLE"] == trust["args"][0]
    source = {"name": "corporate-cas", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
    assert {"name": "ca-bundle", "configMap": source} in spec["volumes"]
    plain = pod(helm.objects("benchmark"), kind, suffix)
    assert "trust" not in json.dumps(plain) and "SSL_CERT_FILE" not in json.dumps(plain)


def test_a_router_of_a_corporate_ca_is_trusted_by_the_proof() -> None:
    objs = helm.objects("default", "--set", f"{BUNDLE},hooks.proof.routerUrl=https://llm.example.com")
    assert config(objs, "proof")["caFiles"] == [BUNDLE_FILE]
    assert config(helm.objects("tls", "--set", BUNDLE), "proof")["caFiles"] == [CA_FILE, BUNDLE_FILE]


def test_it_may_be_the_ca_of_the_model_servers_too() -> None:
    objs = helm.objects("tls", "--set", f"{BUNDLE},global.modelserverTls.caKey=none")
    assert BUNDLE_FILE in helm.one(objs, "ConfigMap", "-router")["data"]["envoy.yaml"]
    assert "ca-bundle" in [v["name"] for v in pod(objs, "Deployment", "-router")["volumes"]]
    (endpoint,) = helm.one(objs, "PodMonitor", "-modelserver")["spec"]["podMetricsEndpoints"]
    assert endpoint["tlsConfig"]["ca"] == {"configMap": {"name": "corporate-cas", "key": "bundle.pem"}}


def test_a_bundle_in_the_environment_of_ones_own_wins() -> None:
    own = "modelserver.extraEnv[0].name=SSL_CERT_FILE,modelserver.extraEnv[0].value=/mine"
    env = pod(helm.objects("default", "--set", f"{BUNDLE},{own}"), "Deployment", "-modelserver")["containers"][0]["env"]
    assert [e["value"] for e in env if e["name"] == "SSL_CERT_FILE"] == ["/mine"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("global.router.mode=gateway,gateway.provider=gke-internal", "set global.router.mode to standalone"),
        ("global.router.mode=gateway,gateway.provider=agentgateway", "set global.router.mode to standalone"),
        ("modelserver.extraArgs={--ssl-ca-certs=/x}", "remove it and set global.modelserverTls.secretName"),
        ("modelserver.extraVolumes[0].name=tls", "give it another"),
        ("benchmark.enabled=true,global.router.mode=service,global.modelserverTls.serverName=x", "set benchmark.url"),
    ],
)  # fmt: skip
def test_what_could_not_speak_it_is_refused(settings: str, said: str) -> None:
    found = helm.refusal("--set", f"{SECRET},{settings}")
    assert found.count("\n  - ") == 1 and said in found, found


def test_ciphers_may_be_chosen() -> None:
    objs = helm.objects("tls", "--set", "modelserver.extraArgs={--ssl-ciphers=ECDHE-RSA-AES256-GCM-SHA384}")
    assert pod(objs, "Deployment", "-modelserver")["containers"][0]["args"][-1].startswith("--ssl-ciphers=")


def test_istio_speaks_it_to_the_service_that_it_makes_of_the_pool() -> None:
    objs = helm.objects("default", "--set", SECRET)
    rule = helm.one(objs, "DestinationRule", "-modelserver")["spec"]
    assert rule["host"] == "kv-pool-ip-1e3f1fe1.inference.svc.cluster.local"  # sha256 of "kv-pool"
    assert (rule["trafficPolicy"]["tls"]["mode"], rule["trafficPolicy"]["tls"]["sni"]) == ("SIMPLE", NAME)
    assert [o["metadata"]["name"] for o in helm.objects("default") if o["kind"] == "DestinationRule"] == ["kv-epp"]


def test_the_real_picker_takes_the_scheme(picker: Path, tmp_path: Path) -> None:
    path = tmp_path / "epp.yaml"
    path.write_text(picker_config("tls"))
    args = pod(helm.objects("tls"), "Deployment", "-epp")["containers"][0]["args"]
    assert "--model-server-metrics-scheme=https" in args
    assert refused_by_picker(picker, args, path, tmp_path) is None


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    made = ["-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{name}", "-out", crt, "-keyout", key]
    subprocess.run([*argv, *made], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    return context, crt


@pytest.mark.parametrize(("name", "status"), [(NAME, 200), ("other.example.com", 503)])
def test_the_real_envoy_asks_model_servers_of_that_name_only(
    envoy: Path, tmp_path: Path, name: str, status: int
) -> None:
    tls, ca = certificate(tmp_path, name)
    with server("model", tls=tls) as model, router(envoy, "tls", model, tmp_path, ca=ca) as port:
        assert ask(port, "GET")[0] == status
