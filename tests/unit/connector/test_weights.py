# SPDX-License-Identifier: Apache-2.0
"""A user would lose: right answers after retraining in place, or sharing between copies of one model."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from llmd_storage_connector.errors import Misconfigured
from llmd_storage_connector.identity.weights import fingerprint

TENSOR_BYTES = 200_000


def write_safetensors(path: Path, tensors: dict[str, bytes]) -> None:
    entries, at = {}, 0
    for name, data in tensors.items():
        entries[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"".join(tensors.values()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {f"layer.{index}": os.urandom(TENSOR_BYTES) for index in range(5)}
    write_safetensors(folder / "model-1.safetensors", tensors)
    write_safetensors(folder / "model-2.safetensors", {"norm": os.urandom(64)})
    return folder


def test_a_copy_elsewhere_under_other_names_is_the_same(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    (copy / "model-1.safetensors").rename(copy / "weights-a.safetensors")
    assert fingerprint(copy) == fingerprint(model)
    assert fingerprint(model)["kind"] == "sampled"


@pytest.mark.parametrize("tensor", range(5))
def test_one_retrained_tensor_of_equal_size_and_time_shows(model: Path, tensor: int) -> None:
    before = fingerprint(model)
    path = model / "model-1.safetensors"
    times = path.stat()
    data = bytearray(path.read_bytes())
    start = len(data) - (5 - tensor) * TENSOR_BYTES
    data[start : start + TENSOR_BYTES] = os.urandom(TENSOR_BYTES)
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(model) != before


def test_a_small_tensor_is_read_whole(model: Path) -> None:
    before = fingerprint(model)
    path = model / "model-2.safetensors"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert fingerprint(model) != before


def test_a_hub_snapshot_is_its_commit(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen3-32B" / "snapshots" / ("0123456789" * 4)
    snapshot.mkdir(parents=True)
    assert fingerprint(snapshot) == {
        "kind": "hub",
        "repository": "Qwen/Qwen3-32B",
        "commit": "0123456789" * 4,
    }


def test_other_weight_files_are_sampled(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(os.urandom(3_000_000))
    before = fingerprint(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert fingerprint(path) != before


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, (4).to_bytes(8, "little") + b"[] x"])
def test_what_is_not_safetensors_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(Misconfigured, match="is not a safetensors file"):
        fingerprint(tmp_path)


def test_no_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no weight files"):
        fingerprint(tmp_path)
