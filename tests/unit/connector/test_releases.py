# SPDX-License-Identifier: Apache-2.0
"""What earlier versions have stored, and two versions on one claim. A user would lose: a whole cache, by an upgrade.

golden/cache-v<n> is the cache directory of the first version that wrote format n, with one block. It is never written
anew: a test that fails here says that an upgrade would compute everything again. Where that is meant, the CHANGELOG and
docs/upgrade.md say so, and a new folder is put beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llmd_storage_connector.blocks import layout
from llmd_storage_connector.blocks.format import FORMAT_VERSION
from llmd_storage_connector.blocks.store import BlockStore
from llmd_storage_connector.identity.facts import digest_of, from_facts
from tests.unit.connector.conftest import content, get, key, make_facts, make_spec, put

GOLDEN = Path(__file__).parent / "golden"
RELEASED = sorted(GOLDEN.glob("cache-v*"))


def opened(root: Path, facts: dict[str, Any]) -> BlockStore:
    store = BlockStore(root, facts, make_spec(facts), "link")
    store.open()
    return store


def test_every_format_has_its_cache() -> None:
    assert [path.name for path in RELEASED] == [f"cache-v{version + 1}" for version in range(FORMAT_VERSION)]


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
def test_a_cache_of_an_earlier_version_is_used_as_it_is(released: Path, tmp_path: Path) -> None:
    root = tmp_path / "blocks"
    shutil.copytree(released, root)
    (manifest,) = root.glob(f"*/{layout.MANIFEST}")
    # The folders that it made and Git does not keep.
    for name in ("damaged", *(f"{number:02x}" for number in range(256))):
        (manifest.parent / name).mkdir(exist_ok=True)
    before = manifest.read_bytes()
    facts = json.loads(before)["fields"]
    assert from_facts(facts).digest().hex() == json.loads(before)["identity"], "it would be another identity now"
    # Stores what is not there; the manifest itself stays as the earlier version wrote it.
    store = opened(root, facts)
    result, payload = get(store, key(1))
    assert result.ok and payload == content(7)
    assert put(store, key(1), content(7)).already_stored
    assert put(store, key(2), content(9)).ok
    assert manifest.read_bytes() == before
    assert [path.name for path in root.iterdir()] == [manifest.parent.name]


def test_a_later_connector_of_the_same_identity_shares(tmp_path: Path) -> None:
    """What it adds to the manifest is nobody's business: the facts are equal."""
    facts = make_facts()
    put(opened(tmp_path, facts), key(1), content(7))
    (manifest,) = tmp_path.glob(f"*/{layout.MANIFEST}")
    later = json.loads(manifest.read_text()) | {"manifestVersion": 2, "createdBy": "a later version", "tomorrow": 1}
    manifest.write_text(json.dumps(later))
    assert get(opened(tmp_path, facts), key(1))[0].ok
    assert json.loads(manifest.read_text()) == later


@pytest.mark.parametrize(
    "later",
    [{"format_version": FORMAT_VERSION + 1}, {"runner": "vllm 0.33"}, {"tomorrow": {"a": 1}}],
    ids=["format", "vllm", "a new field"],
)
def test_versions_of_other_identities_leave_each_other_alone(tmp_path: Path, later: dict[str, Any]) -> None:
    """While pods roll, both store the same prefix: each reads its own bytes, and none moves the other's away."""
    old, new = make_facts(), make_facts() | later
    one, other = opened(tmp_path, old), opened(tmp_path, new)
    assert put(one, key(1), content(7)).ok
    assert not other.contains(key(1)).ok
    assert put(other, key(1), content(9)).ok
    assert (get(one, key(1))[1], get(other, key(1))[1]) == (content(7), content(9))
    assert {path.name for path in tmp_path.iterdir()} == {layout.namespace_name(digest_of(f)) for f in (old, new)}
    assert not list(tmp_path.glob(f"*/{layout.DAMAGED}/*"))
