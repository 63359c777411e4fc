# SPDX-License-Identifier: Apache-2.0
"""llmd-kv. A user would lose: the night in which a command said "fine", or removed what it was only asked about."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.identity.facts import digest_of
from llmd_storage_evictor import __version__, cli
from llmd_storage_evictor.cli.app import app, main
from tests.unit.evictor.support import BLOCK, Namespace, key, namespace

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def cache(tmp_path: Path) -> Namespace:
    made = namespace(tmp_path / "blocks")
    for number in range(10):
        put(made, number, number * DAY)
    return made


def put(cache: Namespace, number: int, age_s: float) -> Path:
    path = cache.store(number)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def json_of(*arguments: object, code: int = 0) -> Any:
    result = call(*arguments, "--output", "json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def spoil(path: Path) -> None:
    mtime = path.stat().st_mtime
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, (mtime - 100,) * 2)


def test_stats_say_whose_blocks_and_how_old(cache: Namespace) -> None:
    (one,) = json_of("stats", cache.root)["namespaces"]
    assert one["namespace"] == cache.name and one["files"] == 10 and one["bytes"] == 10 * BLOCK
    assert one["used_within"] == {"1h": 0.1, "1d": 0.1, "7d": 0.7}
    assert 8.9 * DAY < one["oldest_s"] < 9.1 * DAY
    assert "model abababababab" in call("stats", cache.root).stdout


def test_stats_say_which_model_uses_how_much(cache: Namespace) -> None:
    other = namespace(cache.root, dtype="other")
    put(other, 1, 0)
    foreign = namespace(cache.root, weights={"model": {"kind": "hub", "repository": "Qwen/Qwen3-32B"}})
    put(foreign, 2, 0)
    models = {one.pop("model"): one for one in json_of("stats", cache.root)["models"]}
    assert len(models) == 2, "two namespaces are of one model"
    assert models["Qwen/Qwen3-32B"] == {"namespaces": 1, "files": 1, "bytes": BLOCK, "share": 1 / 12}
    assert "Qwen/Qwen3-32B" in call("stats", cache.root).stdout


def test_ls_lists_blocks_of_the_namespaces_asked_for(cache: Namespace) -> None:
    other = namespace(cache.root, dtype="other")
    put(other, 3, 0)
    found = json_of("ls", cache.root, "--namespace", other.name[:6])["blocks"]
    assert [(one["namespace"], one["key"]) for one in found] == [(other.name, key(3).hex())]
    assert len(json_of("ls", cache.root, "--limit", 4)["blocks"]) == 4
    wrong = call("ls", cache.root, "--namespace", "xyz")
    assert wrong.exit_code == 2 and cache.name in wrong.stderr


def test_verify_finds_what_is_damaged_and_repairs_only_when_told(cache: Namespace) -> None:
    spoil(cache.file(3))
    misnamed = cache.file(258)
    misnamed.write_bytes(cache.file(2).read_bytes())
    os.utime(misnamed, (time.time() - 100,) * 2)
    short = cache.file(5)
    short.write_bytes(short.read_bytes()[:-1])
    os.utime(short, (time.time() - 100,) * 2)
    cache.file(6).write_bytes(b"")  # just now: someone may be writing it
    found = json_of("verify", cache.root, code=1)
    assert {one["rule"] for one in found["damaged"]} == {"payload_checksum", "key", "length"}
    assert cache.file(3).exists()
    json_of("verify", cache.root, "--repair", code=1)
    aside = {layout.block_name(key(number)) for number in (3, 258, 5)}
    assert {path.name for path in (cache.path / "damaged").iterdir()} == aside
    assert json_of("verify", cache.root)["damaged"] == []


def test_verify_goes_on_where_it_was_broken_off(cache: Namespace, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert json_of("verify", cache.root, "--state", state)["checked"] == 10
    state.write_text("\n".join(line for line in state.read_text().split() if not line.endswith("/04")))
    again = json_of("verify", cache.root, "--state", state)
    assert again["checked"] == 1 and again["skipped_folders"] == 255


def test_what_is_damaged_is_said_again_until_it_is_set_aside(cache: Namespace, tmp_path: Path) -> None:
    """Else a run that goes on would say that all is well."""
    state = tmp_path / "state"
    spoil(cache.file(3))
    for _ in range(2):
        assert len(json_of("verify", cache.root, "--state", state, code=1)["damaged"]) == 1
    json_of("verify", cache.root, "--state", state, "--repair", code=1)
    assert json_of("verify", cache.root, "--state", state)["skipped_folders"] == 256


def test_verify_does_not_believe_a_header_about_sizes(cache: Namespace) -> None:
    """A damaged header must cost a line, not the machine's memory."""
    data = bytearray(cache.file(1).read_bytes())
    data[16:28] = (1 << 60).to_bytes(8, "little") + (1).to_bytes(4, "little")
    cache.file(1).write_bytes(data)
    os.utime(cache.file(1), (time.time() - 100,) * 2)
    assert [one["rule"] for one in json_of("verify", cache.root, code=1)["damaged"]] == ["length"]


def test_evict_removes_nothing_unless_told_and_then_what_it_said(cache: Namespace) -> None:
    said = json_of("evict", cache.root, "--older-than", "5d")
    assert said["chosen_files"] == 5 and said["dry_run"] and len(cache.numbers()) == 10
    done = json_of("evict", cache.root, "--older-than", "5d", "--yes")
    assert done["removed_files"] == 5 and cache.numbers() == [0, 1, 2, 3, 4]
    json_of("evict", cache.root, "--down-to", 3 * BLOCK, "--yes")
    assert cache.numbers() == [0, 1, 2]
    json_of("evict", cache.root, "--free", BLOCK, "--yes")
    assert cache.numbers() == [0, 1]
    assert call("evict", cache.root).exit_code == 2, "without a word about what, nothing may go"
    assert call("evict", cache.root, "--older-than", "soon").exit_code == 2


def test_evict_leaves_other_namespaces_alone(cache: Namespace) -> None:
    other = namespace(cache.root, dtype="other")
    put(other, 3, 90 * DAY)
    json_of("evict", cache.root, "--namespace", cache.name[:8], "--yes")
    assert cache.numbers() == [] and other.numbers() == [3]


@pytest.mark.parametrize(
    "selection",
    [
        ("--namespace", ""),
        ("--namespace", " "),
        ("--older-than", ""),
        ("--free", "", "--older-than", "1s"),
        ("--down-to", "", "--older-than", "1s"),
    ],
    ids=" ".join,
)
def test_an_unset_variable_removes_nothing(cache: Namespace, selection: tuple[str, ...]) -> None:
    """`llmd-kv evict --namespace "$UNSET" --yes` removed everything."""
    result = call("evict", cache.root, *selection, "--yes")
    assert result.exit_code == 2 and f"{selection[0]} is empty" in result.stderr
    assert json_of("stats", cache.root)["files"] == 10


def test_a_directory_without_a_cache_is_told(tmp_path: Path) -> None:
    result = call("stats", tmp_path)
    assert result.exit_code == 0 and "not the root_dir of the connector" in result.stderr


@pytest.mark.parametrize("fields", [[], {"weights": 3}, {"model_config": {"hf": {"architectures": {}}}}], ids=str)
def test_one_odd_manifest_does_not_hide_the_others(cache: Namespace, fields: object) -> None:
    odd = cache.root / layout.namespace_name(digest_of(fields))
    odd.mkdir()
    (odd / layout.MANIFEST).write_text(json.dumps({"fields": fields}))
    found = json_of("stats", cache.root)["namespaces"]
    assert {one["namespace"] for one in found} >= {cache.name}


def test_it_says_its_version() -> None:
    assert call("--version").stdout == f"llmd-kv {__version__}\n"


def test_explain_says_in_words_why_two_do_not_share(cache: Namespace, tmp_path: Path) -> None:
    other = namespace(cache.root, dtype="float32", block_hash={"algorithm": "sha256", "seedSha256": "11"})
    found = json_of("explain", cache.name, other.name, "--root", cache.root, code=1)["differences"]
    assert {one["field"] for one in found} == {"dtype", "block_hash.seedSha256"}
    text = call("explain", cache.path, other.path / "manifest.json").stdout
    assert "seed of the hash" in text and "set PYTHONHASHSEED to one value" in text
    assert call("explain", cache.path, cache.path).exit_code == 0
    assert call("explain", cache.path, tmp_path / "nothing").exit_code == 2


def test_plan_counts_what_the_model_keeps(tmp_path: Path) -> None:
    qwen = {
        "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "hidden_size": 5120, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(qwen))
    found = json_of(
        "plan", tmp_path, "--tokens", 32768, "--storage-mib-s", 2048, "--prefill-tokens-s", 4096, "--capacity", "1Ti"
    )
    assert found["token_bytes"] == 2 * 64 * 8 * 128 * 2
    assert found["prompt_blocks"] == 128 and found["capacity_prompts"] == 127
    assert found["prefill_s"] == 8.0 and found["load_s"] == pytest.approx(4.0, rel=0.01)
    assert found["speedup"] == pytest.approx(2.0, rel=0.01)
    assert json_of("plan", tmp_path, "--kv-dtype", "fp8")["token_bytes"] == 64 * 8 * 128 * 2
    slow = call("plan", tmp_path, "--storage-mib-s", 100, "--prefill-tokens-s", 4096).stdout
    assert "Not worth it on this storage" in slow
    assert call("plan", tmp_path, "--plot", tmp_path / "plot.png").exit_code == 2, "it takes a prefill speed to compare"
    (tmp_path / "config.json").write_text("{}")
    assert call("plan", tmp_path).exit_code == 2


def test_bench_moves_real_blocks_and_leaves_nothing(cache: Namespace) -> None:
    before = sorted(cache.root.rglob("*"))
    found = json_of("bench", cache.root, "--size", "64Ki", "--count", 4, "--no-fio")
    assert found["write"]["mib_s"] > 0 and found["read"]["mib_s"] > 0
    assert sorted(cache.root.rglob("*")) == before


def test_migrate_says_that_there_is_nothing_to_do(cache: Namespace) -> None:
    assert "version 1: 1 namespaces" in call("migrate", cache.root).stdout
    assert json_of("migrate", cache.root) == {"newest": 1, "namespaces": {"1": 1}, "migrated": 0}


def test_each_command_is_in_the_file_of_its_name_and_its_help_has_an_example() -> None:
    commands = {str(one.callback.__name__) for one in app.registered_commands if one.callback}
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    assert files == commands | {"__init__", "app", "arguments", "output"}
    for name in commands:
        assert f"Example: llmd-kv {name} " in " ".join(call(name, "--help").stdout.split())


def test_what_is_wrong_is_a_sentence_and_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("root_dir: /cache\nbudget_byte: 5\n")
    monkeypatch.setattr("sys.argv", ["llmd-kv", "run", "--config", str(config)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "unknown key budget_byte (did you mean 'budget_bytes'?)" in capsys.readouterr().err
    missing = call("stats", tmp_path / "nowhere")
    assert missing.exit_code == 1 and "set root_dir to where it is" in missing.stderr
