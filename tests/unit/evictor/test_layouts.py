# SPDX-License-Identifier: Apache-2.0
"""A user would lose: files that no connector wrote, or the disk to a connector that removes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmd_storage_evictor.layouts import LAYOUTS, space_name, space_parts
from tests.unit.evictor.support import config, evictor, stamp

SIZE = 1000
BF16 = "meta-llama/Llama-3.1-8B/block_size_16_blocks_per_file_16/tp_2_pp_size_1_pcp_size_1/rank_0/torch.bfloat16"


def hashed(number: int) -> str:
    return f"{number % 4096:03x}{number % 256:02x}{number:059x}"


def path_of(layout: str, number: int) -> str:
    """As each connector writes it."""
    one = hashed(number)
    if layout == "vllm-fs":
        return f"Qwen_Qwen3-32B_0123456789ab_r0/{one[:3]}/{one[3:5]}_g0/{one}.bin"
    if layout == "llmd-fs-backend":
        return f"{BF16}/{one[:3]}/{one[3:5]}/{one}.bin"
    return f"Qwen-Qwen3-32B@2@0@{number:016x}@bfloat16.data"


def others(layout: str) -> list[str]:
    """What lies there too, or nearly looks like a block."""
    block = path_of(layout, 7)
    folder, name = os.path.split(block)
    near = [f"{folder}/{name}.bak", f"{folder}/{name}x", f"{folder}/notes.txt", f"{folder}/deeper/{name}", "README.md"]
    if layout == "vllm-fs":
        near += [
            "Qwen_Qwen3-32B_0123456789ab/config.json",
            f"Qwen_Qwen3-32B_0123456789ab_r0/000/00_g0/{name}",  # in the wrong folder
            f"Qwen_Qwen3-32B/{block.partition('/')[2]}",  # no digest
            f"Qwen_Qwen3-32B_0123456789ab_r0/{block.split('/')[1]}/00/{name}",
        ]
    if layout == "llmd-fs-backend":
        near += [f"{BF16}/000/00/{name}", f"a/b/{BF16}/{block.split('/', 6)[6]}", f"models/weights/{name}"]
    if layout == "lmcache":
        near += ["Qwen@2@0.data", "dump.data", f"sub/{name}", "Qwen@two@0@ab@half.data"]
    return [one.removeprefix("/") for one in near]


def put(root: Path, where: str, age_s: float) -> Path:
    path = root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(SIZE))
    stamp(path, age_s)
    return path


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_oldest_blocks_go_and_nothing_else(tmp_path: Path, layout: str) -> None:
    root = tmp_path / "theirs"
    blocks = [put(root, path_of(layout, number * 37), 5000 - number) for number in range(20)]
    kept = [put(root, one, 9_000_000) for one in others(layout)]
    outside = put(tmp_path, f"outside/{hashed(1)}.bin", 9_000_000)
    os.symlink(outside.parent, blocks[0].parent / "link")
    (root / "models_0123456789ab_r0").symlink_to(outside.parent)
    settings = config(root, layout=layout, budget_bytes=10 * SIZE, namespace_unused_s=0)
    with evictor(settings) as bench:
        bench.round()
        assert [path.exists() for path in blocks] == [False] * 12 + [True] * 8, "nine to eight of ten, as ever"
        bench.ticks[0] += 100
        late = put(root, path_of(layout, 9999), 1)
        stamp(blocks[12], 0)
        bench.round()
        assert bench.controller.index.held_files() == 8
        bench.controller.close()
    assert late.exists() and all(path.exists() for path in (*kept, outside))
    assert blocks[12].exists() and not blocks[13].exists(), "by their last use"


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_adopting_a_full_directory_is_announced_and_never_empties_it(tmp_path: Path, layout: str) -> None:
    """A user would lose: another connector's cache, to a budget with a zero too few."""
    blocks = [put(tmp_path / "theirs", path_of(layout, number), 100) for number in range(20)]
    settings = config(
        tmp_path / "theirs", layout=layout, budget_bytes=2 * SIZE, allow_large_removal=False, grace_s=300
    )  # fmt: skip
    with evictor(settings) as bench:
        for _ in range(3):
            bench.round()
            bench.ticks[0] += 400
            bench.now[0] += 400
    assert all(path.exists() for path in blocks)


def test_what_may_be_read_every_day_is_never_unused(tmp_path: Path) -> None:
    """Without times of access nobody knows; budget, floors and times to live decide."""
    block = put(tmp_path / "theirs", path_of("vllm-fs", 1), 9_000_000)
    for folder in block.parents[:3]:
        stamp(folder, 9_000_000)
    with evictor(config(tmp_path / "theirs", layout="vllm-fs", namespace_unused_s=86400)) as bench:
        bench.round()
    assert block.exists()


def test_a_directory_is_none_of_ours_unless_it_is_said(tmp_path: Path) -> None:
    blocks = [put(tmp_path / "theirs", path_of("vllm-fs", number), 9_000_000) for number in range(20)]
    with evictor(config(tmp_path / "theirs", budget_bytes=2 * SIZE)) as bench:
        bench.round()
    assert all(path.exists() for path in blocks)


def test_whose_blocks_they_are_is_told(tmp_path: Path) -> None:
    for layout, model in (("vllm-fs", "Qwen_Qwen3-32B"), ("llmd-fs-backend", "meta-llama/Llama-3.1-8B")):
        root = tmp_path / layout
        put(root, path_of(layout, 1), 10)
        with evictor(config(root, layout=layout, namespaces=[{"model": f"{model[:4]}*", "pinned": True}])) as bench:
            bench.round()
            (name,) = bench.controller.index.namespaces()
            assert bench.controller.index.title(name) == model
            assert bench.metric("unmatched_rules") == 0


def test_a_namespaces_name_says_its_folders() -> None:
    for parts in ((), ("a",), ("org", "model.v1", "block_size_16_blocks_per_file_1"), ("a%2Fb", "c")):
        assert space_parts(space_name(parts)) == parts


@pytest.mark.parametrize(
    "name",
    [
        "Qwen-Qwen3-32B@1@0@-3f2a@half.data",  # a negative hash
        "vllm@meta-llama-Llama@8@3@00ff@bfloat16.data",
        "Qwen@8@3@00ff@bfloat16@12.data",  # of one layer
        "Qwen@8@3@00ff@bfloat16@tenant%a-b.data",
    ],
)
def test_what_lmcache_has_called_its_chunks(name: str) -> None:
    assert LAYOUTS["lmcache"].is_block([""], name)
