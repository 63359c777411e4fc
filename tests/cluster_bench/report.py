"""One HTML file of one or more results of the benchmark Job: figures, pictures, and what may be compared.

    python -m tests.cluster_bench.report cache.json none.json -o report.html

The pictures are SVG inside the page, so that it can be sent, opened anywhere, and needs no script.
"""

from __future__ import annotations

import argparse
import html
import io
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import Any

Result = dict[str, Any]
VERSION = 1
PLOTS = {
    "ttft": "Time to first token: share of requests that had one by then",
    "itl": "Gap between two tokens (inter-token latency): share of gaps up to that",
    "throughput": "Throughput",
    "hits": "Hit rate over time: share of the prompts' tokens that were not computed",
}
COLOURS = ("#1a7f5a", "#7a7f87", "#b0652a", "#3b5fa0", "#8a4fa0", "#a08000")
# What others have published, with the work it was measured for. Shown only beside a run of that very work.
PUBLISHED = (
    {
        "where": "llm-d guide, filesystem connector on Lustre, 16 H100, against the CPU tier alone",
        "work": {
            "model": "meta-llama/Llama-3.3-70B-Instruct",
            "prefixes": 50,
            "promptsPerPrefix": 50,
            "prefixTokens": 50000,
            "suffixTokens": 256,
            "outputTokens": 1024,
            "maxConcurrency": 20,
        },
        "figures": "TTFT 27.11 s to 15.25 s (-43.7 %), throughput 18682 to 27609 tokens/s (+47.8 %)",
    },
)


def load(paths: Sequence[Path]) -> list[Result]:
    """The results, in the given order. Raises: ValueError naming the file that is none, or of other work."""
    results: list[Result] = []
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if line.startswith("{")]
        result = json.loads(lines[-1]) if lines else {}
        if result.get("version") != VERSION:
            raise ValueError(f"{path} is no result of the benchmark in version {VERSION}: give the Job's last line")
        if results and work(result) != work(results[0]):
            raise ValueError(f"{path} is of other work than {paths[0]}: {work(result)} and {work(results[0])}")
        results.append(result)
    return results


def work(result: Result) -> dict[str, Any]:
    """What has to be equal for two results to be compared."""
    config = result["config"]
    if trace := result.get("trace"):
        return {"trace": trace, **{key: config[key] for key in ("model", "seed", "maxConcurrency")}}
    keys = ("prefixes", "promptsPerPrefix", "prefixTokens", "suffixTokens", "outputTokens", "rates", "model", "seed")
    return {key: config[key] for key in (*keys, "maxConcurrency")}


def said(result: Result) -> list[str]:
    """The work in sentences."""
    trace = result.get("trace")
    if not trace:
        return [
            "The work: " + ", ".join(f"{k} {v}" for k, v in work(result).items()) + ".",
            'Stage "cold" sends prompts that nobody has seen, each further stage the same prompts again, at its rate.',
        ]
    config, pace = result["config"], trace["speed"]
    times = "the arrival times are the trace's" if pace == 1 else f"{pace:g} times as fast as it came"
    if config["maxConcurrency"]:
        times += f", but at most {config['maxConcurrency']} requests at once: the others waited for their turn"
    repeats = 100 * trace["repeatedTokens"] / trace["promptTokens"]
    cut = (
        f"{trace['cut']} were cut to the {trace['cutTo']} tokens that the model takes"
        if trace["cut"]
        else "none was cut"
    )
    return [
        f"The work: the trace {trace['name']} (format {trace['format']}, sha256 {trace['sha256'][:12]}…), with model "
        f"{config['model']} and seed {config['seed']}.",
        f"Sizes are the trace's, times {trace['scale']:g}; {times}.",
        f"{trace['requests']} requests in {trace['seconds']:g} s; {cut}; "
        f"{trace['leftOut']} of the trace were left out.",
        f"Of {trace['promptTokens']} prompt tokens {repeats:.0f} % repeat the beginning of an earlier prompt: "
        "more than that no cache can save. The texts are made up; a trace has none.",
    ]


def published(result: Result) -> list[dict[str, Any]]:
    """Those published figures whose work is this run's."""
    return [p for p in PUBLISHED if all(result["config"].get(k) == v for k, v in p["work"].items())]  # type: ignore[attr-defined]


def row(one: dict[str, Any]) -> dict[str, float]:
    """The figures of one stage: ms, tokens a second, shares of prompt tokens."""
    ttft = sorted(r[1] for r in one["requests"])
    gaps = one["gapQuantilesMs"]
    hit = share(one["samples"][0], one["samples"][-1], "ownMemoryTokens", "reusedTokens") if one["samples"] else 0.0
    storage = share(one["samples"][0], one["samples"][-1], "storageTokens") if one["samples"] else 0.0
    return {
        "answered": one["answered"],
        "failed": one["failed"],
        "ttft50": at(ttft, 0.5),
        "ttft90": at(ttft, 0.9),
        "gap50": at(gaps, 0.5),
        "gap99": at(gaps, 0.99),
        "requests": one["requestsPerSecond"],
        "tokens": one["outputTokensPerSecond"],
        "hit": hit,
        "storage": storage,
        "prefill": prefill(one["samples"]),
    }


def prefill(samples: Sequence[dict[str, float]]) -> float:
    """Seconds that a prompt of the stage was in prefill, on average; not a number where that was not recorded."""
    if not samples or "prefillSeconds" not in samples[-1]:
        return float("nan")
    answered = samples[-1]["answered"] - samples[0]["answered"]
    seconds = samples[-1]["prefillSeconds"] - samples[0]["prefillSeconds"]
    return seconds / answered if answered > 0 <= seconds else float("nan")


def at(values: Sequence[float], share_: float) -> float:
    return values[round(share_ * (len(values) - 1))] if values else float("nan")


def share(first: dict[str, float], last: dict[str, float], *keys: str) -> float:
    """Of the prompt tokens between two samples; 0 when there were none, or a server was started anew."""
    tokens = last["promptTokens"] - first["promptTokens"]
    return max(0.0, min(1.0, sum(last[k] - first[k] for k in keys) / tokens)) if tokens > 0 else 0.0


def page(results: Sequence[Result]) -> str:
    """The whole HTML file."""
    pictures = draw(results)
    figures = "\n".join(
        f'<figure id="{name}"><figcaption>{html.escape(title)}</figcaption>{pictures[name]}</figure>'
        for name, title in PLOTS.items()
    )
    same = published(results[0])
    beside = "".join(f"<li>{html.escape(p['where'])}: {html.escape(p['figures'])}</li>" for p in same)
    other = "Nobody has published figures for this very work that are known here, so none are set beside it."
    return _PAGE.format(
        work="\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in said(results[0])),
        kind="a trace, replayed" if "trace" in results[0] else "a load of shared prefixes",
        runs=html.escape("; ".join(f"{r['label']} at {r['startedAt']}" for r in results)),
        table=table(results),
        figures=figures,
        published=f"<ul>{beside}</ul>" if same else f"<p>{other}</p>",
    )


def table(results: Sequence[Result]) -> str:
    head = ["cache", "stage", "answered", "failed", "TTFT p50, ms", "TTFT p90, ms", "gap p50, ms", "gap p99, ms"]
    head += ["requests/s", "tokens/s", "not computed", "of it from storage", "prefill a prompt, s"]
    lines = ["<table><thead><tr>", *(f"<th>{h}</th>" for h in head), "</tr></thead><tbody>"]
    for i in range(len(results[0]["stages"])):
        for result in results:
            r = row(one := result["stages"][i])
            cells = [result["label"], one["stage"], f"{r['answered']:.0f}", f"{r['failed']:.0f}"]
            cells += [f"{r[k]:.0f}" for k in ("ttft50", "ttft90")] + [f"{r[k]:.1f}" for k in ("gap50", "gap99")]
            cells += [f"{r['requests']:.2f}", f"{r['tokens']:.1f}"] + [
                f"{100 * r[k]:.0f} %" for k in ("hit", "storage")
            ]
            cells.append("" if isnan(r["prefill"]) else f"{r['prefill']:.2f}")
            lines.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    return "".join([*lines, "</tbody></table>"])


def draw(results: Sequence[Result]) -> dict[str, str]:
    """{plot: SVG}, each with a title for those who cannot see it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cluster-bench", "font.size": 9})
    drawers = {"ttft": _ttft, "itl": _gaps, "throughput": _throughput, "hits": _hits}
    return {name: _svg(drawers[name](results), title, name) for name, title in PLOTS.items()}


def _svg(figure: Any, title: str, name: str) -> str:
    from matplotlib import pyplot

    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Several SVGs share one page: their ids must not meet.
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def _panels(results: Sequence[Result]) -> tuple[Any, Any]:
    from matplotlib import pyplot

    stages = results[0]["stages"]
    figure, axes = pyplot.subplots(1, len(stages), figsize=(3.1 * len(stages) + 0.6, 2.8), sharey=True, squeeze=False)
    for axis, one in zip(axes[0], stages, strict=True):
        axis.set_title(one["stage"])
        axis.grid(alpha=0.3)
    return figure, axes[0]


def _ttft(results: Sequence[Result]) -> Any:
    figure, axes = _panels(results)
    for colour, result in zip(COLOURS, results, strict=False):
        for axis, one in zip(axes, result["stages"], strict=True):
            ttft = sorted(r[1] / 1000 for r in one["requests"])
            axis.step(
                ttft, [(i + 1) / len(ttft) for i in range(len(ttft))], where="post", color=colour, label=result["label"]
            )
            axis.set_xlabel("s")
            axis.set_xlim(left=0)
    axes[0].legend()
    return figure


def _gaps(results: Sequence[Result]) -> Any:
    figure, axes = _panels(results)
    for colour, result in zip(COLOURS, results, strict=False):
        for axis, one in zip(axes, result["stages"], strict=True):
            gaps = one["gapQuantilesMs"]
            axis.plot(gaps, [i / max(1, len(gaps) - 1) for i in range(len(gaps))], color=colour, label=result["label"])
            axis.set_xlabel("ms")
            axis.set_xlim(left=0)
    axes[0].legend()
    return figure


def _throughput(results: Sequence[Result]) -> Any:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 2.8))
    names = [one["stage"] for one in results[0]["stages"]]
    width = 0.8 / len(results)
    for axis, key, unit in (
        (axes[0], "requests", "requests a second"),
        (axes[1], "tokens", "answered tokens a second"),
    ):
        for i, (colour, result) in enumerate(zip(COLOURS, results, strict=False)):
            heights = [row(one)[key] for one in result["stages"]]
            axis.bar([x + i * width for x in range(len(names))], heights, width, color=colour, label=result["label"])
        axis.set_xticks([x + 0.4 - width / 2 for x in range(len(names))], names)
        axis.set_title(unit)
        axis.grid(axis="y", alpha=0.3)
    axes[0].legend()
    return figure


def _hits(results: Sequence[Result]) -> Any:
    figure, axes = _panels(results)
    for colour, result in zip(COLOURS, results, strict=False):
        for axis, one in zip(axes, result["stages"], strict=True):
            times, hit = over_time(one["samples"])
            axis.plot(times, hit, color=colour, marker=".", label=result["label"])
            axis.set_xlabel("s")
            axis.set_ylim(-0.02, 1.02)
    axes[0].legend()
    return figure


def over_time(samples: Sequence[dict[str, float]]) -> tuple[list[float], list[float]]:
    """Seconds since the first sample, and the share of tokens not computed since the sample before."""
    pairs = [(a, b) for a, b in pairwise(samples) if b["promptTokens"] > a["promptTokens"]]
    times = [b["at"] - samples[0]["at"] for _, b in pairs]
    return times, [share(a, b, "ownMemoryTokens", "reusedTokens") for a, b in pairs]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>llm-d-storage: benchmark</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; font-size: 13px; }}
td, th {{ padding: .25rem .6rem; border-bottom: 1px solid #ddd; }}
td {{ text-align: right; }} td:nth-child(-n+2), th:nth-child(-n+2) {{ text-align: left; }}
figure {{ margin: 2rem 0; overflow-x: auto; }}
figcaption {{ font-weight: 600; }} svg {{ max-width: 100%; height: auto; }}
</style></head><body>
<h1>Benchmark: {kind}</h1>
{work}
<p>Runs: {runs}.</p>
{table}
<p>"Prefill a prompt" is vLLM's own count of the time from a prompt's turn on the accelerator to its first token;
waiting for its turn or for storage is not in it. The difference between two caches is accelerator time that one of
them saved for each prompt; prompts that are computed together are each counted whole.</p>
{figures}
<h2>Beside published figures</h2>
{published}
</body></html>
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "results", nargs="+", type=Path, help="the last line of a benchmark Job's log, in a file; or its JSON"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"))
    given = parser.parse_args(argv)
    try:
        results = load(given.results)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    given.output.write_text(page(results))
    print(given.output)


if __name__ == "__main__":
    main()
