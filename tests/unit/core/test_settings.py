# SPDX-License-Identifier: Apache-2.0
"""A user would lose: hours, if a wrong setting were not named with its place and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import jsonschema
import pytest

from llmd_storage_core.settings import Bytes, Invalid, Seconds, Setting, camel, decode, encode, json_schema


@dataclass(frozen=True)
class Rule:
    model_name: str
    quota_bytes: Annotated[Bytes | None, Setting("What it may hold.", minimum=1)] = None


@dataclass(frozen=True)
class Config:
    root_dir: Annotated[str, Setting("Where.")]
    threads: Annotated[int, Setting("How many.", minimum=1, maximum=8)] = 4
    share: Annotated[float, Setting(minimum=0)] = 0.5
    mode: Annotated[str, Setting(choices=("auto", "on"))] = "auto"
    dry_run: bool = False
    rules: tuple[Rule, ...] = ()
    labels: dict[str, str] | None = None
    nested: Rule | None = None
    theirs: tuple[dict[str, Any], ...] = ()
    keep_s: Annotated[Seconds, Setting(minimum=60, maximum=7200)] = 60.0


GOOD = {"rootDir": "/cache"}


def test_defaults_and_all_kinds_of_values() -> None:
    assert decode(Config, GOOD, naming=camel) == Config("/cache")
    raw = GOOD | {
        "threads": 2.0,  # as Helm may write it
        "share": 1,
        "mode": None,
        "labels": {"a": "b"},
        "rules": [{"modelName": "m", "quotaBytes": "2Gi"}, {"modelName": "n", "quotaBytes": 7}],
        "nested": {"modelName": "x", "quotaBytes": None},
        "theirs": [{"type": "fs", "deep": {"er": [1, None]}}],
    }
    found = decode(Config, raw, naming=camel)
    assert (found.threads, found.share, found.mode, found.labels) == (2, 1.0, "auto", {"a": "b"})
    assert found.rules == (Rule("m", 2 << 30), Rule("n", 7)) and found.nested == Rule("x")
    assert found.theirs == ({"type": "fs", "deep": {"er": [1, None]}},), "what is somebody else's to judge"
    assert isinstance(found.threads, int) and isinstance(found.share, float)
    assert decode(Config, encode(found, naming=camel), naming=camel) == found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ([], "the configuration must be a JSON object, not []"),
        ({"thread": 1}, "unknown key thread (did you mean 'threads'?)"),
        (
            {"x": 1},
            "unknown key x (known: rootDir, threads, share, mode, dryRun, rules, labels, nested, theirs, keepS)",
        ),
        ({"rootDir": None}, "rootDir must be a string, not null"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"threads": 9}, "threads must be at most 8, not 9"),
        ({"threads": 1.5}, "threads must be a whole number, not 1.5"),
        ({"threads": True}, "threads must be a whole number, not true"),
        ({"share": float("nan")}, "share must be at least 0, not nan"),
        ({"share": "1"}, 'share must be a number, not "1"'),
        ({"mode": "off"}, 'mode must be one of auto, on, not "off"'),
        ({"dryRun": "yes"}, 'dryRun must be true or false, not "yes"'),
        ({"rules": {}}, "rules must be a list, not {}"),
        ({"rules": [3]}, "rules[0] must be a JSON object, not 3"),
        ({"rules": [{"modelName": "m", "pin": 1}]}, "unknown key rules[0].pin (known: modelName, quotaBytes)"),
        ({"rules": [{}]}, "rules[0].modelName is missing"),
        (
            {"nested": {"modelName": "m", "quotaBytes": "1 GB"}},
            "nested.quotaBytes cannot be read: '1 GB' is not a size",
        ),
        ({"nested": {"modelName": "m", "quotaBytes": True}}, 'nested.quotaBytes must be bytes, or a size like "500Gi"'),
        ({"labels": {"a": 1}}, 'labels."a" must be a string, not 1'),
    ],
)
def test_a_problem_is_named(change: object, sentence: str) -> None:
    raw = GOOD | change if isinstance(change, dict) else change
    with pytest.raises(Invalid) as caught:
        decode(Config, raw, naming=camel)
    (problem,) = caught.value.problems
    assert problem.startswith(sentence)


def test_all_problems_are_named_at_once_each_with_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        decode(Config, {"threads": 0, "typo": 1}, where="config", naming=camel)
    assert len(caught.value.problems) == 3
    assert "config.rootDir is missing: Where." in caught.value.problems


def test_the_schema_takes_what_the_decoder_takes() -> None:
    schema = json_schema(Config, naming=camel)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["rootDir"] and schema["additionalProperties"] is False
    assert schema["properties"]["threads"] == {
        "type": "integer", "description": "How many.", "minimum": 1, "maximum": 8, "default": 4,
    }  # fmt: skip
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid(GOOD | {"rules": [{"modelName": "m", "quotaBytes": "2Gi"}], "labels": {"a": "b"}})
    for wrong in ({"threads": 0}, {"mode": "off"}, {"rules": [{}]}, {"labels": {"a": 1}}, {"typo": 1}):
        assert not valid(GOOD | wrong), wrong


@pytest.mark.parametrize(("raw", "seconds"), [(90, 90), (60.5, 60.5), ("90", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_time_is_written_as_on_the_command_line(raw: object, seconds: float) -> None:
    """A user would lose: a cache, to 30 seconds where 30 days were meant."""
    assert decode(Config, {"root_dir": "/cache", "keep_s": raw}).keep_s == seconds
    jsonschema.validate({"root_dir": "/cache", "keep_s": raw}, json_schema(Config))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("1d", "keep_s must be at most 7200, not 1d"),
        ("30 days", "keep_s cannot be read: '30 days' is not a duration: write seconds, or a number with s, m, h or d"),
        (True, 'keep_s must be seconds, or a time like "12h", not true'),
    ],
)
def test_a_time_that_is_none_is_told(raw: object, sentence: str) -> None:
    with pytest.raises(Invalid) as told:
        decode(Config, {"root_dir": "/cache", "keep_s": raw})
    assert told.value.problems == (sentence,)
