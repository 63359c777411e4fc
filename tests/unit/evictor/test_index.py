# SPDX-License-Identifier: Apache-2.0
"""A user would lose: blocks in use, if the index forgot which are the oldest, or added up wrongly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

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


@given(found=files)
def test_a_checkpoint_gives_back_what_was_known(found: list[tuple[str, int, int]]) -> None:
    folders = index_of(found).folders("a" * 32)
    data = b"".join(bytes(part) for part in checkpoint.encode(folders, "Qwen/Qwen3"))
    assert {name: one.by_id() for name, one in checkpoint.decode(data)[0].items()} == {
        name: one.by_id() for name, one in folders.items()
    }
    for at in {0, len(data) // 2, len(data) - 1}:
        spoilt = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            checkpoint.decode(spoilt)
        except ValueError:
            continue
        raise AssertionError("a damaged checkpoint was believed")
