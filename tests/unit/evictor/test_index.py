# SPDX-License-Identifier: Apache-2.0
"""A user would lose: blocks in use, if the index forgot which are the oldest, or added up wrongly."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.cache import checkpoint
from llmd_storage_evictor.core.index import Folder, Index
from llmd_storage_evictor.core.policy import eviction_order

files = st.lists(
    st.tuples(st.sampled_from(["00", "7f", "damaged"]), st.integers(0, 5000), st.integers(0, 99)), max_size=80
)


def index_of(found: list[tuple[str, int, int]], namespace: str = "a" * 32) -> Index:
    index = Index()
    folders: dict[str, Folder] = {}
    for id_, (name, mtime_ns, size) in enumerate(found):
        folders.setdefault(name, Folder()).add(id_, mtime_ns, size)
    for name, folder in folders.items():
        index.put(namespace, name, folder.update_totals())
    return index


@given(found=files, limit=st.integers(1, 90))
def test_the_first_are_those_a_full_sort_would_give(found: list[tuple[str, int, int]], limit: int) -> None:
    entries = index_of(found).candidates(["a" * 32], limit)
    wanted = sorted(eviction_order(mtime, name == "damaged") for name, mtime, _ in found)
    assert [entry.order for entry in entries] == wanted[:limit]
    assert all((entry.folder, entry.mtime_ns, entry.size) == found[entry.id] for entry in entries)


@given(found=files)
def test_the_sums_are_those_of_the_files(found: list[tuple[str, int, int]]) -> None:
    index = index_of(found)
    for held in index.usage().values():
        good = [one for one in found if one[0] != "damaged"]
        assert held.files == len(good)
        assert held.bytes == sum(size for _, _, size in found)
        assert held.damaged_bytes == sum(size for name, _, size in found if name == "damaged")
        assert held.oldest_ns == min((mtime for _, mtime, _ in good), default=0)


@given(found=files, gone=st.sets(st.integers(0, 80)), refreshed=st.dictionaries(st.integers(0, 80), st.integers(0, 9)))
def test_what_a_removal_found_out_is_known_afterwards(
    found: list[tuple[str, int, int]], gone: set[int], refreshed: dict[int, int]
) -> None:
    for folder in index_of(found).folders("a" * 32).values():
        after = folder.updated(gone, refreshed).by_id()
        assert after == {
            id_: (refreshed.get(id_, mtime), size) for id_, (mtime, size) in folder.by_id().items() if id_ not in gone
        }


def decoded(data: bytes) -> dict[str, Folder]:
    return checkpoint.decode(io.BytesIO(data), len(data))[0]


@given(found=files)
def test_a_checkpoint_gives_back_what_was_known(found: list[tuple[str, int, int]]) -> None:
    folders = index_of(found).folders("a" * 32)
    for place, folder in enumerate(folders.values()):
        folder.changed_ns = place
    data = b"".join(bytes(part) for part in checkpoint.encode(folders, "Qwen/Qwen3"))
    known = decoded(data)
    assert {name: one.by_id() for name, one in known.items()} == {name: one.by_id() for name, one in folders.items()}
    assert [one.changed_ns for one in known.values()] == [one.changed_ns for one in folders.values()]
    for at in {0, 8, 13, len(data) // 2, len(data) - 1}:
        for spoilt in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            with pytest.raises(ValueError):
                decoded(spoilt)


def test_a_checkpoint_is_written_and_read_a_folder_at_a_time() -> None:
    """A user would lose: the evictor, to its memory limit, each time a leader with millions of files begins or ends."""
    folders = {}
    for name in list(layout.fanout_names())[:64]:
        numbers = array("Q", range(20_000))
        folders[name] = Folder(ids=numbers, mtimes=numbers[:], sizes=numbers[:]).update_totals()
    held = 64 * 3 * 8 * 20_000
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        for part in checkpoint.encode(folders, None):
            file.write(part)
        saving = tracemalloc.get_traced_memory()[1]
        size = file.tell()
        file.seek(0)
        tracemalloc.reset_peak()
        loaded = checkpoint.decode(file, size)[0]
        loading = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(loaded) == 64
    assert saving < held / 8, "a copy of the index to write it"
    assert loading < held * 1.2, "a copy of the file to read it"
