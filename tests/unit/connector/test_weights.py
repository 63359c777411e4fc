# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers after weights were changed in place, or sharing between copies of one model."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.errors import Misconfigured, Pending, Unusable
from llmd_storage_connector.identity import content, digest_cache, hub
from llmd_storage_connector.identity.content import ContentReader
from llmd_storage_connector.identity.digest_cache import DigestCache, Stamp
from llmd_storage_connector.identity.fingerprint import Fingerprint
from llmd_storage_connector.identity.weights import Checkpoint
from tests.patience import CEILING_S

ROW_BYTES = 4096
TENSOR_BYTES = 64 << 20
COMMIT, NEWER = "0123456789" * 4, "abcdef0123" * 4
LATER_S = 10 * digest_cache.RACY_S


def in_a_while() -> float:
    """A wall clock by which files made now are old."""
    return time.time() + LATER_S


@pytest.fixture
def cache(tmp_path: Path) -> DigestCache:
    return DigestCache(tmp_path / "claim" / ".weights", in_a_while)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As a small multimodal repository that brings code."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model-1.safetensors").write_bytes(os.urandom(2 << 20))
    (folder / "model-2.safetensors").write_bytes(os.urandom(64))
    for name in ("config.json", "preprocessor_config.json", "modeling_odd.py", "README.md", "tokenizer.json"):
        (folder / name).write_text(f'{{"file": "{name}"}}')
    (folder / "model.safetensors.index.json").write_text("{}")
    return folder


def facts(path: Path | Checkpoint, cache: DigestCache) -> dict[str, Any]:
    checkpoint = path if isinstance(path, Checkpoint) else Checkpoint((path,), code=True, media=True)
    found = Fingerprint({"model": checkpoint}, cache, in_a_while).facts(CEILING_S)["model"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of weights each read took."""
    taken: list[int] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], at: int) -> int:
        taken.append(preadv(fd, buffers, at))
        return taken[-1]

    monkeypatch.setattr(content.os, "preadv", counting)
    return taken


# ---- what is told apart, and what is not -----------------------------------------------------------------


def test_256_changed_rows_in_the_middle_of_a_large_tensor_show(
    tmp_path: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a few tokens' embeddings that were trained on: of 16384 rows, of equal size and time."""
    monkeypatch.setattr(content, "PART_BYTES", 8 << 20)  # several parts, as of a file of gigabytes
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(TENSOR_BYTES))
    before, times = facts(tmp_path, cache), path.stat()
    with path.open("r+b") as file:
        file.seek(9000 * ROW_BYTES + 12345)
        file.write(os.urandom(256 * ROW_BYTES))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert facts(tmp_path, cache) != before


@pytest.mark.parametrize("name", ["preprocessor_config.json", "modeling_odd.py", "config.json", "model-2.safetensors",
                                  "model.safetensors.index.json"])  # fmt: skip
def test_any_file_that_an_engine_computes_with_counts(model: Path, cache: DigestCache, name: str) -> None:
    before = facts(model, cache)
    with (model / name).open("r+b") as file:
        file.write(b"~")
    assert facts(model, cache) != before


@pytest.mark.parametrize("name", ["README.md", "tokenizer.json"])
def test_what_changes_no_block_or_its_name_does_not(model: Path, cache: DigestCache, name: str) -> None:
    before = facts(model, cache)
    (model / name).write_text("another")
    assert facts(model, cache) == before


def test_code_and_media_count_only_where_they_are_used(model: Path, cache: DigestCache) -> None:
    """vLLM downloads neither for a model of text without code: a whole copy has the same blocks."""
    plain = Checkpoint((model,))
    before = facts(plain, cache)
    for name in ("modeling_odd.py", "preprocessor_config.json"):
        (model / name).unlink()
    assert facts(plain, cache) == before


def test_files_that_trade_names_show(model: Path, cache: DigestCache) -> None:
    """Which of two sets of weights is loaded goes by the name."""
    before = facts(model, cache)
    (model / "model-1.safetensors").rename(model / "x")
    (model / "model-2.safetensors").rename(model / "model-1.safetensors")
    (model / "x").rename(model / "model-2.safetensors")
    assert facts(model, cache) != before


def test_weights_in_a_folder_below_count_and_states_of_training_do_not(model: Path, cache: DigestCache) -> None:
    before = facts(model, cache)
    (model / "checkpoint-500").mkdir()
    (model / "checkpoint-500" / "model.safetensors").write_bytes(b"older")
    assert facts(model, cache) == before
    (model / "encoder").mkdir()
    (model / "encoder" / "model.safetensors").write_bytes(b"used")
    assert facts(model, cache) != before


def hub_snapshot(cache: Path, commit: str, files: Path | None = None) -> Path:
    """A snapshot of Qwen/Odd as huggingface_hub keeps it: links to blobs."""
    repository = hub.folder_of(cache, "Qwen/Odd")
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for file in files.iterdir() if files else ():
        blob = shutil.copy(file, repository / "blobs" / f"{commit}-{file.name}")
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


def test_a_hub_snapshot_and_a_copy_of_it_are_the_same(model: Path, tmp_path: Path, cache: DigestCache) -> None:
    snapshot = hub_snapshot(tmp_path / "hub", COMMIT, model)
    copy = shutil.copytree(snapshot, tmp_path / "a copy")
    assert facts(snapshot, cache) == facts(copy, cache) == facts(model, cache)


def test_a_folder_that_only_looks_like_a_hub_snapshot_is_read(model: Path, tmp_path: Path, cache: DigestCache) -> None:
    """Its name says a commit; what is in it was changed since."""
    snapshot = hub_snapshot(tmp_path / "hub", COMMIT, model)
    before = facts(snapshot, cache)
    (snapshot / "model-2.safetensors").unlink()
    (snapshot / "model-2.safetensors").write_bytes(os.urandom(64))
    assert facts(snapshot, cache) != before


def test_one_file_is_a_model_too(tmp_path: Path, cache: DigestCache) -> None:
    one = tmp_path / "model.gguf"
    one.write_bytes(b"weights")
    other = shutil.copy(one, tmp_path / "another name.gguf")
    assert facts(one, cache) == facts(other, cache)
    one.write_bytes(b"WEIGHTS")
    assert facts(one, cache) != facts(other, cache)


def test_other_formats_count_where_there_is_no_safetensors_or_they_are_asked_for(
    model: Path, tmp_path: Path, cache: DigestCache
) -> None:
    before = facts(model, cache)
    asked = Checkpoint((model,), other_formats=True)
    (model / "pytorch_model.bin").write_bytes(b"the same in another format")
    assert facts(model, cache) == before
    both = facts(asked, cache)
    (model / "pytorch_model.bin").write_bytes(b"changed")
    assert facts(asked, cache) != both


def test_no_weights_is_said(tmp_path: Path, cache: DigestCache) -> None:
    with pytest.raises(Misconfigured, match=r"no weight files.*weights_id"):
        facts(tmp_path, cache)


# ---- what was loaded -------------------------------------------------------------------------------------


def test_files_that_changed_after_the_engines_start_are_not_said_to_be_loaded(model: Path, cache: DigestCache) -> None:
    """They may have been replaced between the load and now."""
    changed_s = (model / "model-1.safetensors").stat().st_ctime
    facts(Checkpoint((model,), loaded_after_s=changed_s + 60), cache)
    with pytest.raises(Unusable, match=r" was changed after this engine's start.*start the engine"):
        facts(Checkpoint((model,), loaded_after_s=changed_s - 60), cache)


def moved_ref(cache: Path, commit: str, moved_s: float) -> Path:
    ref = hub.folder_of(cache, "Qwen/Odd") / "refs" / "main"
    ref.parent.mkdir(exist_ok=True)
    ref.write_text(commit)
    os.utime(ref, (moved_s, moved_s))
    return hub.folder_of(cache, "Qwen/Odd")


def test_a_name_that_moved_while_the_engine_started_is_refused(model: Path, tmp_path: Path) -> None:
    """Another pod followed the hub: what main named when vLLM asked, nobody knows."""
    old, new = hub_snapshot(tmp_path, COMMIT, model), hub_snapshot(tmp_path, NEWER, model)
    repository = moved_ref(tmp_path, NEWER, 2000.0)
    with pytest.raises(Misconfigured, match=r"came to name another commit while this engine started.*--revision"):
        hub.loaded_snapshot(repository, None, started_s=1000.0)
    assert hub.loaded_snapshot(repository, None, started_s=3000.0) == new
    assert hub.loaded_snapshot(repository, COMMIT, started_s=1000.0) == old


def test_the_only_snapshot_with_weights_was_loaded_whatever_its_name_says_by_now(model: Path, tmp_path: Path) -> None:
    old = hub_snapshot(tmp_path, COMMIT, model)
    hub_snapshot(tmp_path, NEWER)  # of which so far only the configuration was looked at
    repository = moved_ref(tmp_path, NEWER, 2000.0)
    assert hub.loaded_snapshot(repository, "main", started_s=1000.0) == old


def test_a_repository_that_is_not_there_is_not_guessed(tmp_path: Path) -> None:
    assert hub.loaded_snapshot(tmp_path / "models--a--b", None, started_s=0.0) is None
    assert hub.loaded_snapshot(tmp_path / "models--a--b", COMMIT, started_s=0.0) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"/hub/models--Qwen--Odd/snapshots/{COMMIT}", "Qwen/Odd"),
        (f"/hub/models--gpt2/snapshots/{COMMIT}/", "gpt2"),
        ("/models/qwen", ""),
    ],
)
def test_a_snapshots_path_names_its_repository(path: str, name: str) -> None:
    assert hub.repository_of(path) == name


# ---- what was read before --------------------------------------------------------------------------------


def test_a_restart_reads_only_small_files(model: Path, cache: DigestCache, bytes_read: list[int]) -> None:
    before = facts(model, cache)
    assert sum(bytes_read) > 2 << 20
    bytes_read.clear()
    assert facts(model, cache) == before
    assert sum(bytes_read) < 1 << 20


def test_a_change_that_keeps_size_and_mtime_is_read(model: Path, cache: DigestCache) -> None:
    path = model / "model-1.safetensors"
    before, times = facts(model, cache), path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert facts(model, cache) != before


@pytest.mark.parametrize("name", ["inode", "size", "mtime_ns", "ctime_ns"])
def test_each_part_of_the_stamp_counts(cache: DigestCache, name: str) -> None:
    parts = {"inode": 1, "size": 2, "mtime_ns": 3, "ctime_ns": 4}
    cache.put(Stamp(**parts), "digest")
    assert cache.get(Stamp(**parts)) == "digest"
    assert cache.get(Stamp(**(parts | {name: 9}))) is None


def test_a_file_that_had_just_changed_is_read_again(model: Path, tmp_path: Path, bytes_read: list[int]) -> None:
    """It could change once more with the same times on it."""
    cache = DigestCache(tmp_path / "claim" / ".weights")
    files = {"one": model / "model-1.safetensors"}
    ContentReader(cache).read(files)
    bytes_read.clear()
    ContentReader(cache, in_a_while).read(files)
    assert sum(bytes_read) == 2 << 20


@pytest.mark.parametrize(
    ("ctime_ns", "telling"), [(1_000_000_000_001, True), (1_000_000_000_000, False), (1_999_999_999_999, False)]
)
def test_times_that_another_content_could_have_are_not_trusted(ctime_ns: int, telling: bool) -> None:
    """Whole seconds: of an image that was built to be reproducible, as the next one of the same size is."""
    assert Stamp(1, 2, 3, ctime_ns).is_telling(1000.0 + digest_cache.RACY_S + 1) is telling


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'"x"', b"\xff\x00", None])
def test_a_damaged_entry_is_read_over(
    model: Path, tmp_path: Path, cache: DigestCache, damage: bytes | None, bytes_read: list[int]
) -> None:
    before = facts(model, cache)
    (entry,) = (tmp_path / "claim" / ".weights").iterdir()
    content = entry.read_bytes()
    flipped = content.replace(b'"xxh3":"', b'"xxh3":"0')
    entry.write_bytes(flipped if damage is None else damage)
    bytes_read.clear()
    assert facts(model, cache) == before
    assert sum(bytes_read) > 2 << 20
    assert entry.read_bytes() == content, "it was written anew"


def test_a_claim_that_cannot_be_written_costs_the_reading_only(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = DigestCache(tmp_path / "file" / ".weights", in_a_while)
    assert facts(model, cache) == facts(model, DigestCache(tmp_path / "no" / "such" / ".weights", in_a_while))
    assert not (tmp_path / "no").exists(), "without the claim nothing is made in its place"


def test_pods_that_read_at_once_agree(model: Path, tmp_path: Path) -> None:
    caches = [DigestCache(tmp_path / "claim" / ".weights", in_a_while) for _ in range(8)]
    prints = [Fingerprint({"model": Checkpoint((model,))}, cache, in_a_while) for cache in caches]
    for one in prints:
        one.wait(stalled_s=0.0, limit_s=0.0)
    found = [one.facts(CEILING_S) for one in prints]
    assert all(one == found[0] for one in found)
    assert len(list((tmp_path / "claim" / ".weights").iterdir())) == 1


def test_entries_of_files_long_gone_do_not_pile_up(
    tmp_path: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_cache, "MAX_ENTRIES", 20)
    for inode in range(100):
        cache.put(Stamp(inode, 2, 3, 4), "digest")
    assert len(list((tmp_path / "claim" / ".weights").iterdir())) <= 20
    assert cache.get(Stamp(99, 2, 3, 4)) == "digest"


# ---- storage of models that is not well ------------------------------------------------------------------


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Reads of weights wait until the returned function is called."""
    well = threading.Event()
    preadv = os.preadv

    def waiting(*arguments: Any) -> int:
        assert well.wait(CEILING_S)
        return preadv(*arguments)

    monkeypatch.setattr(content.os, "preadv", waiting)
    return well.set


def test_weights_that_cannot_be_read_now_hold_nobody_up(
    model: Path, cache: DigestCache, hang: Callable[[], None]
) -> None:
    one = Fingerprint({"model": Checkpoint((model,))}, cache, in_a_while)
    assert not one.wait(stalled_s=0.01, limit_s=CEILING_S)
    with pytest.raises(Pending, match="weights are being read"):
        one.facts(0.01)
    hang()
    assert one.wait(stalled_s=CEILING_S, limit_s=CEILING_S)
    assert one.facts(0.0)["model"]["kind"] == "content"


def test_a_claim_that_does_not_answer_is_said(model: Path, cache: DigestCache, monkeypatch: pytest.MonkeyPatch) -> None:
    well = threading.Event()

    def waiting(stamp: Stamp) -> None:
        assert well.wait(CEILING_S)

    monkeypatch.setattr(cache, "get", waiting)
    one = Fingerprint({"model": Checkpoint((model,))}, cache, in_a_while)
    with pytest.raises(Pending, match="neither the model's folder nor root_dir has answered yet"):
        one.facts(0.01)
    well.set()
    assert one.facts(CEILING_S)["model"]["kind"] == "content"


def test_an_error_is_tried_again(model: Path, cache: DigestCache) -> None:
    one = Fingerprint({"model": Checkpoint((model / "later",))}, cache, in_a_while)
    with pytest.raises(Unusable, match="the weights cannot be read") as caught:
        one.facts(CEILING_S)
    assert caught.value.transient
    shutil.copytree(model, model / "later")
    assert one.facts(CEILING_S)["model"]["kind"] == "content"


def test_what_is_no_file_is_said_and_not_waited_for(model: Path, cache: DigestCache) -> None:
    os.mkfifo(model / "model-3.safetensors")
    with pytest.raises(Unusable, match="not a regular file"):
        facts(model, cache)


def test_weights_without_files_are_what_is_said_of_them(cache: DigestCache) -> None:
    said = {"kind": "named", "id": "s3://models/odd@7"}
    assert Fingerprint({"model": said}, cache).facts(CEILING_S) == {"model": said}
