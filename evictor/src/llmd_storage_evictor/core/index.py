# SPDX-License-Identifier: Apache-2.0
"""The index of the cache, as last scanned: 24 bytes a file. Pure.

Scanner, eviction and checkpoint replace a folder's state as a whole. Totals are kept for each folder, so that
reading them is cheap.

Thread: one (the controller's).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from llmd_storage_connector.blocks import layout
from llmd_storage_evictor.core.policy import Entry, NamespaceUsage, eviction_order

_NEVER = float("-inf")


def _numbers() -> array[int]:
    return array("Q")


@dataclass(slots=True)
class Folder:
    """Blocks of one folder of a namespace: parallel arrays.

    changed_ns: the folder's mtime when it was listed; 0: list it again. listed_at, rescanned_at: when it was last
    listed, and when all its files were last statted (monotonic seconds). bytes, oldest_ns, newest_ns: totals.
    """

    ids: array[int] = field(default_factory=_numbers)
    mtimes: array[int] = field(default_factory=_numbers)
    sizes: array[int] = field(default_factory=_numbers)
    changed_ns: int = 0
    listed_at: float = _NEVER
    rescanned_at: float = _NEVER
    unknown_files: int = 0
    bytes: int = 0
    oldest_ns: int = 0
    newest_ns: int = 0

    def add(self, id_: int, mtime_ns: int, size: int) -> None:
        """Requires: update_totals() afterwards. Times before 1970 count as 1970."""
        self.ids.append(id_)
        self.mtimes.append(max(0, mtime_ns))
        self.sizes.append(size)

    def update_totals(self) -> Folder:
        """Compute the totals from the arrays. Returns: self."""
        self.bytes = sum(self.sizes)
        self.oldest_ns = min(self.mtimes, default=0)
        self.newest_ns = max(self.mtimes, default=0)
        return self

    def by_id(self) -> dict[int, tuple[int, int]]:
        """{id: (mtime_ns, size)}."""
        return dict(zip(self.ids, zip(self.mtimes, self.sizes, strict=True), strict=True))

    def updated(self, gone: Iterable[int], refreshed: Mapping[int, int]) -> Folder:
        """A copy without the ids in `gone` and with the mtimes of `refreshed`. It is due to be listed again."""
        without = set(gone)
        places = [place for place, id_ in enumerate(self.ids) if id_ not in without]
        copy = Folder(listed_at=self.listed_at, rescanned_at=self.rescanned_at, unknown_files=self.unknown_files)
        copy.ids.extend([self.ids[place] for place in places])
        copy.sizes.extend([self.sizes[place] for place in places])
        copy.mtimes.extend([refreshed.get(self.ids[place], self.mtimes[place]) for place in places])
        return copy.update_totals()


class Index:
    """All namespaces' folders. models: what is known of namespaces' models; it stays when a manifest is lost.

    titles: the same in words for people, as far as manifests were read.
    """

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, Folder]] = {}
        self.models: dict[str, str] = {}
        self.titles: dict[str, str] = {}

    def namespaces(self) -> list[str]:
        """Names, sorted."""
        return sorted(self._folders)

    def folder(self, namespace: str, name: str) -> Folder | None:
        """What is known of a folder; None: nothing."""
        return self._folders.get(namespace, {}).get(name)

    def folders(self, namespace: str) -> dict[str, Folder]:
        """All of a namespace's folders, by name."""
        return self._folders.get(namespace, {})

    def add_namespace(self, namespace: str) -> None:
        """Add an empty namespace, if it is new."""
        self._folders.setdefault(namespace, {})

    def put(self, namespace: str, name: str, folder: Folder) -> None:
        """Replace what is known of a folder. Requires: its totals are up to date."""
        self._folders.setdefault(namespace, {})[name] = folder

    def forget(self, namespace: str) -> None:
        """Drop a namespace that is gone."""
        self._folders.pop(namespace, None)
        self.models.pop(namespace, None)
        self.titles.pop(namespace, None)

    def title(self, namespace: str) -> str:
        """Whose blocks a namespace holds; "" when nobody has said it."""
        return self.titles.get(namespace) or self.models.get(namespace, "")

    def forget_folder(self, namespace: str, name: str) -> None:
        """Drop a folder that is gone."""
        self._folders.get(namespace, {}).pop(name, None)

    def held_bytes(self) -> int:
        """Bytes of all files, damaged ones included."""
        return sum(folder.bytes for folders in self._folders.values() for folder in folders.values())

    def bytes_before(self, namespaces: Iterable[str], before_ns: int) -> int:
        """Bytes of these namespaces' blocks that were last used before this."""
        return sum(
            size
            for _, name, folder in self._each(namespaces)
            if name != layout.DAMAGED and folder.oldest_ns < before_ns
            for mtime_ns, size in zip(folder.mtimes, folder.sizes, strict=True)
            if mtime_ns < before_ns
        )

    def held_files(self) -> int:
        """Number of files, damaged ones included."""
        return sum(len(folder.ids) for folders in self._folders.values() for folder in folders.values())

    def usage(self) -> dict[str, NamespaceUsage]:
        """Totals by namespace."""
        return {name: _namespace_usage(folders) for name, folders in self._folders.items()}

    def unknown_files(self) -> int:
        """Number of files in the namespaces' folders that the cache did not create."""
        return sum(folder.unknown_files for folders in self._folders.values() for folder in folders.values())

    def candidates(self, namespaces: Iterable[str], limit: int) -> list[Entry]:
        """The first `limit` entries of these namespaces in eviction order.

        Cost: under a second for a million entries, memory for twice the limit.
        """
        wanted = list(namespaces)
        last = self._order_of_nth(wanted, limit)
        found = []
        for namespace, name, folder in self._each(wanted):
            damaged = name == layout.DAMAGED
            if not damaged and folder.oldest_ns > last:
                continue
            found += [
                Entry(order, namespace, name, id_, mtime_ns, size, damaged)
                for id_, mtime_ns, size in zip(folder.ids, folder.mtimes, folder.sizes, strict=True)
                if (order := eviction_order(mtime_ns, damaged)) <= last
            ]
        found.sort(key=itemgetter(0))
        return found[:limit]

    def _order_of_nth(self, namespaces: Iterable[str], limit: int) -> int:
        """The eviction order of the last of the first `limit` entries. Works on numbers alone, so it is fast."""
        orders: list[int] = []
        bound: int | None = None  # mtimes beyond this are not among the first
        for _, name, folder in self._each(namespaces):
            if name == layout.DAMAGED:
                orders += [eviction_order(mtime_ns, damaged=True) for mtime_ns in folder.mtimes]
            elif bound is None:
                orders += folder.mtimes
            else:
                orders += [mtime_ns for mtime_ns in folder.mtimes if mtime_ns < bound]
            if len(orders) >= 2 * limit:
                orders.sort()
                del orders[limit:]
                bound = orders[-1]
        orders.sort()
        del orders[limit:]
        return orders[-1] if orders else 0

    def _each(self, namespaces: Iterable[str]) -> Iterator[tuple[str, str, Folder]]:
        for namespace in sorted(namespaces):
            for name, folder in sorted(self._folders.get(namespace, {}).items()):
                yield namespace, name, folder


def _namespace_usage(folders: Mapping[str, Folder]) -> NamespaceUsage:
    blocks = [folder for name, folder in folders.items() if name != layout.DAMAGED and folder.ids]
    damaged = folders.get(layout.DAMAGED)
    damaged_bytes = damaged.bytes if damaged else 0
    return NamespaceUsage(
        files=sum(len(folder.ids) for folder in blocks),
        bytes=sum(folder.bytes for folder in blocks) + damaged_bytes,
        damaged_bytes=damaged_bytes,
        oldest_ns=min((folder.oldest_ns for folder in blocks), default=0),
        newest_ns=max((folder.newest_ns for folder in blocks), default=0),
    )
