"""Traces of requests: three formats read, scaled so that what is shared stays shared, cut to what the model takes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests import scripts
from tests.cluster_bench.__main__ import SAMPLE

MOONCAKE = """{"timestamp": 2000, "input_length": 1100, "output_length": 100, "hash_ids": [0, 1, 2]}
{"timestamp": 500, "input_length": 1024, "output_length": 3, "hash_ids": [0, 1]}

{"timestamp": 9500, "input_length": 600, "output_length": 1, "hash_ids": [0, 7]}
"""
BAILIAN = json.dumps(
    {"chat_id": 1, "parent_chat_id": -1, "timestamp": 61.5, "input_length": 40, "output_length": 8, "type": "text"}
    | {"turn": 1, "hash_ids": [10, 11, 12]}
)
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.4799600,512,8
2024-05-10 00:00:00.009930+00:00,0,8
"""


@pytest.fixture
def traces() -> Any:
    return scripts.module("charts/llm-d-storage/files/benchmark", "traces")


def replay(traces: Any, text: str, **how: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    return traces.replay(text.encode(), **({"format": "mooncake", "scale": 1, "speed": 1} | how))  # type: ignore[no-any-return]


def test_arrival_times_are_kept_from_the_first_request_on(traces: Any) -> None:
    lines, facts = replay(traces, MOONCAKE)
    assert [line["timestamp"] for line in lines] == [0, 1.5, 9]
    assert [line["input_length"] for line in lines] == [1024, 1100, 600], "out of order in the file"
    assert (facts["requests"], facts["leftOut"], facts["cut"], facts["seconds"]) == (3, 0, 0, 9)


def test_a_speed_changes_the_times_alone(traces: Any) -> None:
    lines, facts = replay(traces, MOONCAKE, speed=3)
    assert [line["timestamp"] for line in lines] == [0, 0.5, 3] and facts["speed"] == 3
    assert facts["promptTokens"] == replay(traces, MOONCAKE)[1]["promptTokens"]


@pytest.mark.parametrize("scale", [1, 0.5, 0.1, 0.013, 0.0001, 2])
def test_a_scale_leaves_each_prompt_its_blocks(traces: Any, scale: float) -> None:
    """vLLM's generator gives a prompt as many blocks as its length needs: one more or less, and others are shared."""
    lines, facts = replay(traces, MOONCAKE, scale=scale)
    assert facts["scale"] == facts["blockTokens"] / 512
    for line, ids in zip(lines, [(0, 1), (0, 1, 2), (0, 7)], strict=True):
        assert line["hash_ids"] == ids
        assert (len(ids) - 1) * facts["blockTokens"] < line["input_length"] <= len(ids) * facts["blockTokens"]
        assert line["output_length"] >= 1


def test_what_a_cache_could_save_is_said(traces: Any) -> None:
    # Of the second all 1024 tokens of the first, of the third one block; its second block is nobody's.
    assert replay(traces, MOONCAKE)[1]["repeatedTokens"] == 1024 + 512


def test_what_the_model_does_not_take_is_cut_and_counted(traces: Any) -> None:
    lines, facts = replay(traces, MOONCAKE, limit=1040)
    assert (facts["cut"], facts["cutTo"]) == (1, 1040)
    assert (lines[1]["input_length"], lines[1]["output_length"], lines[1]["hash_ids"]) == (932, 100, (0, 1))
    assert lines[0]["input_length"] == 1024


def test_only_the_first_seconds(traces: Any) -> None:
    lines, facts = replay(traces, MOONCAKE, seconds=1.5)
    assert (len(lines), facts["leftOut"]) == (1, 2)


def test_seconds_and_small_blocks_of_qwen(traces: Any) -> None:
    lines, facts = replay(traces, BAILIAN, format="bailian", scale=0.5)
    assert lines == [{"timestamp": 0, "input_length": 20, "output_length": 4, "hash_ids": (10, 11, 12)}]
    assert facts["blockTokens"] == 8


def test_a_trace_without_ids_shares_nothing(traces: Any) -> None:
    lines, facts = replay(traces, AZURE, format="azure")
    assert [(line["timestamp"], line["input_length"]) for line in lines] == [(0, 4808), (0.5, 512)]
    assert facts["repeatedTokens"] == 0 and facts["leftOut"] == 1, "a prompt of no tokens cannot be sent"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}\n", "line 1 is no request of such a trace"),
        (MOONCAKE + "nonsense", "line 5 is no request"),
        (BAILIAN, "line 1 has 3 hash_ids for 40 tokens of 512 to a block; set benchmark.trace.format"),
        ("\n", "it has no request"),
    ],
)
def test_what_is_no_such_trace_is_refused(traces: Any, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replay(traces, text)


def test_no_requests_within_the_seconds(traces: Any) -> None:
    with pytest.raises(ValueError, match=r"set benchmark\.trace\.seconds higher"):
        replay(traces, MOONCAKE, seconds=0)


def test_a_packed_trace_is_unpacked(traces: Any, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(gzip.compress(MOONCAKE.encode()))
    assert traces.content(str(tmp_path / "t")) == MOONCAKE.encode()


def test_the_sample_shares_most_of_its_prompts_and_fits_the_labs_model(traces: Any) -> None:
    _, facts = replay(traces, SAMPLE.read_text(), scale=0.25, limit=4096)
    assert (facts["cut"], facts["leftOut"], facts["requests"]) == (0, 0, 24)
    assert 0.5 < facts["repeatedTokens"] / facts["promptTokens"] < 0.9
