# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers, if other weights were looked at than vLLM has loaded; or a sentence that helps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llmd_storage_connector.errors import Misconfigured, Unusable
from llmd_storage_connector.identity.digest_cache import DigestCache
from llmd_storage_connector.identity.fingerprint import Fingerprint
from llmd_storage_connector.identity.weights import Checkpoint
from llmd_storage_connector.vllm.model_files import model_name, weights_of
from tests.patience import CEILING_S, eventually

COMMIT = "0123456789" * 4


def model_config(model: Path | str, **changes: Any) -> Any:
    fields = {
        "model_weights": "",
        "revision": None,
        "code_revision": None,
        "hf_config": SimpleNamespace(),
        "trust_remote_code": False,
        "is_multimodal_model": False,
        "seed": 0,
    }
    return SimpleNamespace(model=str(model), **(fields | changes))


def engine(model: Path | str, load_format: str = "auto", draft: Any = None, **changes: Any) -> Any:
    speculative = None if draft is None else SimpleNamespace(draft_model_config=draft, draft_load_config=None)
    return SimpleNamespace(
        model_config=model_config(model, **changes),
        load_config=SimpleNamespace(load_format=load_format, download_dir=None),
        speculative_config=speculative,
    )


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = ModuleType("huggingface_hub.constants")
    constants.HF_HUB_CACHE = str(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", ModuleType("huggingface_hub"))
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", constants)
    return tmp_path / "hub"


def snapshot(cache: Path, *files: str) -> Path:
    repository = cache / "models--Qwen--Odd"
    made = repository / "snapshots" / COMMIT
    made.mkdir(parents=True)
    for file in files:
        (made / file).write_text(file)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return made


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (engine("/tmp/pulled", "runai_streamer", model_weights="s3://bucket/odd"), "s3://bucket/odd"),
        (engine("gs://bucket/odd"), "gs://bucket/odd"),
        (engine("/models/odd", "tensorizer"), "load format tensorizer"),
        (engine("/models/odd", "somebodys_plugin"), "load format somebodys_plugin"),
    ],
    ids=lambda made: made if isinstance(made, str) else "",
)
def test_weights_that_are_no_local_files_need_a_name(made: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=f"weights come from {said}.*set weights_id.*storageTier.weightsId"):
        weights_of(made, None)
    assert weights_of(made, "odd@7") == {"model": {"kind": "named", "id": "odd@7"}}


def test_a_local_folder_is_held_against_the_engines_start(tmp_path: Path) -> None:
    found = weights_of(engine(tmp_path, trust_remote_code=True, is_multimodal_model=True), None)["model"]
    assert isinstance(found, Checkpoint)
    assert found.places == (tmp_path,) and found.code and found.media
    (tmp_path / "model.safetensors").write_text("changed while the engine started")
    with pytest.raises(Unusable, match="was changed after this engine's start"):
        Fingerprint({"model": found}, DigestCache(tmp_path / "claim")).facts(CEILING_S)


def test_a_hub_model_is_the_snapshot_that_vllm_has(hub_cache: Path) -> None:
    made = snapshot(hub_cache, "model.safetensors", "config.json")
    found = weights_of(engine("Qwen/Odd"), None)["model"]
    assert isinstance(found, Checkpoint) and found.places == (made,)
    assert found.loaded_after_s is None, "a snapshot that was downloaded while the engine started is what it says"


def test_weights_in_download_dir_are_read_with_the_configurations_beside(hub_cache: Path, tmp_path: Path) -> None:
    configurations = snapshot(hub_cache, "config.json")
    weights = snapshot(tmp_path / "weights", "model.safetensors")
    made = engine("Qwen/Odd")
    made.load_config.download_dir = str(tmp_path / "weights")
    found = weights_of(made, None)["model"]
    assert isinstance(found, Checkpoint) and found.places == (weights, configurations)
    assert sorted(found.files()) == ["config.json", "model.safetensors"]


def test_a_model_that_is_nowhere_is_said(hub_cache: Path) -> None:
    with pytest.raises(Misconfigured, match="neither a local directory nor in the hub cache"):
        weights_of(engine("Qwen/Odd"), None)


def test_a_draft_models_weights_count(tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    found = weights_of(engine(tmp_path, draft=model_config(draft)), None)
    assert [one.places for one in found.values() if isinstance(one, Checkpoint)] == [(tmp_path,), (draft,)]
    assert set(weights_of(engine(tmp_path, draft=model_config(tmp_path)), None)) == {"model"}, "of one checkpoint"


def test_code_of_another_repository_counts_where_it_runs(hub_cache: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_text("weights")
    config = SimpleNamespace(auto_map={"AutoModel": "Qwen/Odd--modeling.Odd", "AutoTokenizer": ["tokens.Slow", None]})
    without = weights_of(engine(model, hf_config=config, trust_remote_code=True), None)["model"]
    assert isinstance(without, Checkpoint) and set(without.files()) == {"model.safetensors"}, "it was not downloaded"
    snapshot(hub_cache, "modeling.py")
    found = weights_of(engine(model, hf_config=config, trust_remote_code=True), None)["model"]
    assert isinstance(found, Checkpoint)
    assert set(found.files()) == {"model.safetensors", "Qwen/Odd--modeling.py"}
    unused = weights_of(engine(model, hf_config=config), None)["model"]
    assert isinstance(unused, Checkpoint) and not unused.other_code


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "Qwen/Odd--images.Odd"}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": {"pil": "Qwen/Odd--images.Odd"}}}),
        ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "Qwen/Odd--images.Odd"}}),
        ("processor_config.json", {"image_processor": {"auto_map": {"AutoImageProcessor": "Qwen/Odd--images.Odd"}}}),
        ("tokenizer_config.json", {"auto_map": {"AutoProcessor": "Qwen/Odd--images.Odd"}}),
    ],
)
def test_code_that_only_a_processors_configuration_names_counts(
    hub_cache: Path, tmp_path: Path, file: str, says: dict[str, Any]
) -> None:
    """What prepares images decides what the blocks of one and the same image hold."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_text("weights")
    (model / file).write_text(json.dumps(says))
    (model / "odd_processor.json").write_text("no JSON")
    (model / "list_processor.json").write_text("[1]")
    code = snapshot(hub_cache, "images.py")
    found = weights_of(engine(model, trust_remote_code=True), None)["model"]
    assert isinstance(found, Checkpoint) and found.other_code == (("Qwen/Odd", code),)
    # A revision that is given is of the model's code.
    config = SimpleNamespace(auto_map={"AutoModel": "Qwen/Odd--modeling.Odd"})
    both = weights_of(engine(model, hf_config=config, trust_remote_code=True, code_revision=COMMIT), None)["model"]
    assert isinstance(both, Checkpoint)
    assert both.other_code == ((f"Qwen/Odd@{COMMIT}", code), ("Qwen/Odd", code))
    unused = weights_of(engine(model), None)["model"]
    assert isinstance(unused, Checkpoint) and not unused.other_code


def test_what_npcache_has_made_of_the_weights_is_what_is_loaded(tmp_path: Path) -> None:
    """It is not made anew when they change: without it an engine would take itself for one of the new ones."""
    (tmp_path / "np").mkdir()
    for name in ("pytorch_model.bin", "np/weight_names.json", "np/model.norm.weight"):
        (tmp_path / name).write_text(name)
    found = {name: weights_of(engine(tmp_path, name), None)["model"] for name in ("npcache", "pt")}
    files = {name: set(one.files()) for name, one in found.items() if isinstance(one, Checkpoint)}
    assert files["npcache"] == {"pytorch_model.bin", "np/weight_names.json", "np/model.norm.weight"}
    assert files["pt"] == {"pytorch_model.bin"}


def test_dummy_weights_are_their_seed() -> None:
    assert weights_of(engine("/models/odd", "dummy", seed=7), None) == {"model": {"kind": "dummy", "seed": 7}}


def test_the_evictor_is_told_the_repository(hub_cache: Path) -> None:
    assert model_name(engine("Qwen/Odd")) == "Qwen/Odd"
    assert model_name(engine(snapshot(hub_cache))) == "Qwen/Odd", "offline vLLM puts the path in its place"
    assert model_name(engine(hub_cache)) == ""
    assert model_name(engine("/tmp/x", model_weights="s3://bucket/odd")) == "s3://bucket/odd"


def test_a_process_knows_that_a_file_was_there_before_it_started(tmp_path: Path) -> None:
    """A start that is taken for too early would refuse every model; one for too late, none. It is known to 10 ms."""
    file = tmp_path / "model.safetensors"
    file.write_text("weights")
    code = "from llmd_storage_connector.vllm import model_files; print(model_files._started_s())"

    def started_s() -> float:
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    eventually(lambda: started_s() > file.stat().st_ctime, "a process that started after the file was made")
    later_s = started_s()

    def changed_s() -> float:
        file.write_text("changed")
        return file.stat().st_ctime

    eventually(lambda: changed_s() > later_s, "a change after the process had started")
