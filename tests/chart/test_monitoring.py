"""Monitors and annotations point at ports that exist, and at the same ones."""

from __future__ import annotations

from typing import Any

from tests.chart import helm
from tests.chart.helm import Object

PARTS = ("-modelserver", "-epp", "-evictor")
WATCHED = ("--set", "global.router.mode=external,evictor.enabled=true,evictor.config.budget_bytes=1Ti")


def scraped(how: str) -> list[Object]:
    return helm.objects("default", *WATCHED, "--set", f"global.monitoring.scrape={how}")


def ports(objs: list[Object], part: str) -> dict[str, int]:
    pod = helm.one(objs, "Deployment", part)["spec"]["template"]["spec"]
    return {port["name"]: port["containerPort"] for c in pod["containers"] for port in c.get("ports", [])}


def annotations(objs: list[Object], part: str) -> dict[str, Any]:
    meta = helm.one(objs, "Deployment", part)["spec"]["template"]["metadata"]
    return {k: v for k, v in meta.get("annotations", {}).items() if k.startswith("prometheus.io/")}


def test_nothing_is_scraped_unless_asked_for() -> None:
    objs = scraped("none")
    assert not [o for o in objs if o["kind"] in ("PodMonitor", "ServiceMonitor")]
    assert not any(annotations(objs, part) for part in PARTS)


def test_monitors_name_ports_that_are_there() -> None:
    objs = scraped("operator")
    found = {o["metadata"]["name"]: o for o in objs if o["kind"] in ("PodMonitor", "ServiceMonitor")}
    assert found.keys() == {f"kv{part}" for part in PARTS}
    assert not any(annotations(objs, part) for part in PARTS), "everything would be scraped twice"
    for part in PARTS:
        monitor = found[f"kv{part}"]
        (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        if monitor["kind"] == "PodMonitor":
            assert endpoint["port"] in ports(objs, part)
            labels = helm.one(objs, "Deployment", part)["spec"]["template"]["metadata"]["labels"]
        else:
            service = helm.one(objs, "Service", part)
            assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
            labels = service["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_googles_managed_prometheus_finds_the_same_pods() -> None:
    """It reads no PodMonitor and no annotation."""
    objs, operators = scraped("google"), scraped("operator")
    found = {o["metadata"]["name"]: o for o in objs if o["kind"] == "PodMonitoring"}
    assert found.keys() == {f"kv{part}" for part in PARTS}
    assert not [o for o in objs if o["kind"] in ("PodMonitor", "ServiceMonitor")]
    for part in PARTS:
        (endpoint,) = found[f"kv{part}"]["spec"]["endpoints"]
        assert (
            endpoint["port"] in ports(objs, part) and endpoint["path"] == "/metrics" and endpoint["interval"] == "15s"
        )
        labels = helm.one(objs, "Deployment", part)["spec"]["template"]["metadata"]["labels"]
        assert found[f"kv{part}"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert [o for o in operators if o["metadata"]["name"] == f"kv{part}" and o["kind"].endswith("Monitor")]
    secured = helm.objects("default", "--set", "global.monitoring.scrape=google,global.modelserverTls.secretName=t")
    (endpoint,) = helm.one(secured, "PodMonitoring", "-modelserver")["spec"]["endpoints"]
    assert (endpoint["scheme"], endpoint["tls"]) == ("https", {"insecureSkipVerify": True})


def test_annotations_name_the_same_ports_as_monitors() -> None:
    annotated, monitors = scraped("annotations"), scraped("operator")
    for part in PARTS:
        (monitor,) = (
            o
            for o in monitors
            if o["kind"] in ("PodMonitor", "ServiceMonitor") and o["metadata"]["name"].endswith(part)
        )
        (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        name = endpoint["port"]
        assert annotations(annotated, part) == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(ports(annotated, part)[name]),
            "prometheus.io/path": endpoint["path"],
        }


def test_annotations_of_yours_stay_and_win() -> None:
    extra = ("--set-json", 'modelserver.podAnnotations={"prometheus.io/path":"/other","a":"b"}')
    objs = helm.objects("default", *WATCHED, "--set", "global.monitoring.scrape=annotations", *extra)
    meta = helm.one(objs, "Deployment", "-modelserver")["spec"]["template"]["metadata"]
    assert meta["annotations"]["prometheus.io/path"] == "/other" and meta["annotations"]["a"] == "b"
    assert meta["annotations"]["prometheus.io/port"] == "8000"
