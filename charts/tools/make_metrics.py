"""Makes docs/metrics.md: every metric of the project, out of its code, and those of others that are used.

usage: make_metrics.py [--check]

--check writes nothing and exits 1 when the page is not what the code gives.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import generated

from llmd_storage_connector.telemetry.metrics import METRICS, PREFIX
from llmd_storage_evictor.controller.metrics import Metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@dataclass(frozen=True, slots=True)
class Known:
    """One metric. name: as Prometheus stores it, of a histogram without its endings; labels: beside the pod's own."""

    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str

    @property
    def samples(self) -> set[str]:
        """The names of its series."""
        if self.kind == "histogram":
            return {f"{self.name}_{end}" for end in ("bucket", "sum", "count")}
        return {self.name}


def connector() -> list[Known]:
    """What the connector counts, in vLLM's endpoint."""
    return [
        Known(
            PREFIX + name + ("_total" if metric.kind.value == "counter" else ""),
            metric.kind.value,
            ("tier", metric.detail) if metric.detail else ("tier",),
            metric.doc,
        )
        for name, metric in METRICS.items()
    ]


def evictor() -> list[Known]:
    """What the evictor shows."""
    metrics = Metrics()
    labels = {
        family._name: tuple(family._labelnames) for family in vars(metrics).values() if hasattr(family, "_labelnames")
    }
    return [
        Known(
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            labels[family.name],
            family.documentation,
        )
        for family in metrics.registry.collect()
    ]


def _of(kind: str, *lines: str) -> list[Known]:
    """name{labels} doc, a line each."""
    found = []
    for line in lines:
        name, _, doc = line.partition(" ")
        name, _, labels = name.removesuffix("}").partition("{")
        found.append(Known(name, kind, tuple(filter(None, labels.split(","))), doc))
    return found


# Of others, only what rules and dashboards use. The cluster tests look for each on the lab.
VLLM = [
    *_of(
        "counter",
        "vllm:prompt_tokens_total Prompt tokens.",
        "vllm:prompt_tokens_by_source_total{source} local_compute, local_cache_hit, external_kv_transfer (below).",
        "vllm:prompt_tokens_cached_by_source_total{source} Those from a cache; disk is the storage.",
        "vllm:generation_tokens_total Tokens that were generated.",
        "vllm:prefix_cache_queries_total Tokens that were looked up in the accelerator's own cache.",
        "vllm:prefix_cache_hits_total Of them, those that were there.",
        "vllm:external_prefix_cache_queries_total Tokens that were looked up below it: CPU tier, storage.",
        "vllm:external_prefix_cache_hits_total Of them, those that were there.",
    ),
    *_of(
        "gauge",
        "vllm:num_requests_running Requests that are worked on.",
        "vllm:num_requests_waiting Requests that wait.",
        "vllm:kv_cache_usage_perc Share of the accelerator's KV cache that is in use, 0 to 1.",
    ),
    *_of(
        "histogram",
        "vllm:time_to_first_token_seconds Until the first token.",
        "vllm:inter_token_latency_seconds Between tokens.",
        "vllm:request_prefill_time_seconds From when a request was scheduled to its first token.",
        "vllm:request_prefill_kv_computed_tokens Prompt tokens that a request had computed.",
    ),
]
PICKER = [
    *_of("gauge", "inference_pool_ready_pods{name} Model servers that the picker knows."),
    *_of(
        "histogram",
        "inference_extension_scheduler_e2e_duration_seconds How long picking takes.",
        "inference_extension_prefix_indexer_hit_ratio Share of a prompt that is in the picker's index.",
    ),
]
STATE = _of("gauge", "kube_job_failed{job_name,condition} From kube-state-metrics: whether a Job has failed.")


def known() -> dict[str, list[Known]]:
    """All, by where they come from."""
    return {
        "Connector, in vLLM's own endpoint (port 8000)": connector(),
        "Evictor (port 9464)": evictor(),
        "vLLM (port 8000), what rules and dashboards use": VLLM,
        "Endpoint picker (port 9090), what rules and dashboards use": PICKER,
        "kube-state-metrics, what rules and dashboards use": STATE,
    }


def rendered() -> str:
    """The page."""
    parts = [
        "# Metrics\n",
        "Made from the code by `charts/tools/make_metrics.py`; do not edit. Prometheus adds the labels `namespace`\n",
        "and `pod`. A counter with labels is not there before it has counted once.\n",
    ]
    for where, metrics in known().items():
        parts.append(f"\n## {where}\n| metric | kind | what it is |\n| --- | --- | --- |\n")
        for one in metrics:
            labels = f"{{{', '.join(one.labels)}}}" if one.labels else ""
            parts.append(f"| `{one.name}{labels}` | {one.kind} | {one.doc} |\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, "the code", lambda: {PAGE: rendered()}))
