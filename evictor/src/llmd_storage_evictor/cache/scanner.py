# SPDX-License-Identifier: Apache-2.0
"""Finds what has changed in the cache directory, and updates the index; core.scan_plan has the rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from llmd_storage_evictor.cache.directory import NOT_THERE, CacheDirectory
from llmd_storage_evictor.cache.listing import FolderListing, folder_times, read_folder
from llmd_storage_evictor.cache.names import BLOCK_FOLDERS
from llmd_storage_evictor.core.index import Index
from llmd_storage_evictor.core.scan_plan import UNLIMITED, Place, ScanPlan

# Folders listed at once: what they hold is twice in memory until the index has it.
_BATCH_FOLDERS = 64


@dataclass(slots=True)
class ScanResult:
    """What one scan did. listed, rescanned: folders. ops: metadata operations; 0: no scan could be paid.

    scratch: (namespace, folder, names) of unfinished files, as last listed. failed: folders that could not be read;
    the index keeps what it knew of them. began, whole: whether a sweep began, and whether it is at its end.
    """

    scratch: list[tuple[str, str, list[str]]] = field(default_factory=list)
    listed: int = 0
    rescanned: int = 0
    ops: float = 0.0
    failed: list[tuple[str, OSError]] = field(default_factory=list)
    began: bool = False
    whole: bool = False


class Scanner:
    """Thread: one; the pool's threads only do system calls.

    ops_s: metadata operations a second. on_progress: called whenever storage has answered.
    """

    def __init__(
        self,
        directory: CacheDirectory,
        index: Index,
        pool: Executor,
        *,
        relist_s: float,
        rescan_s: float,
        ops_s: float = UNLIMITED,
        on_progress: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._index, self._pool = directory, index, pool
        self._on_progress = on_progress
        self._clock, self._wall_clock = clock, wall_clock
        self.plan = ScanPlan(ops_s, relist_s, rescan_s, clock())
        self._scratch: dict[tuple[str, str], list[str]] = {}
        self._failed: list[tuple[str, OSError]] = []

    def scan(self, *, urgent: bool = False) -> ScanResult:
        """Bring the index up to date, as far as operations may be spent. urgent: list all that has changed.

        Raises: OSError when storage answered for no namespace; what was found before that is in the index.
        """
        if not self.plan.begin(self._clock(), urgent=urgent):
            return ScanResult(scratch=self._all_scratch(), failed=self._failed)
        result = ScanResult(began=not self.plan.sweeping)
        found = self._look(result)
        listed, rescanned = self.plan.choose(found, urgent=urgent)
        self._list(listed, result)
        self._list(rescanned, result, every_file=True)
        self.plan.done((*listed, *rescanned))
        result.whole, result.scratch, self._failed = not self.plan.sweeping, self._all_scratch(), result.failed
        return result

    def rescan(self, namespace: str) -> None:
        """Stat every file of a namespace, for what hangs on when it was last used. Raises: OSError."""
        result = ScanResult()
        self._list(self._places(namespace, result), result, every_file=True)
        if result.failed:
            raise result.failed[0][1]

    def _look(self, result: ScanResult) -> list[Place]:
        found: list[Place] = []
        namespaces = self._directory.namespaces()
        for gone in set(self._index.namespaces()) - set(namespaces):
            self._index.forget(gone)
        for namespace in namespaces:
            self._index.add_namespace(namespace)
            try:
                found += self._places(namespace, result)
            except OSError as error:
                result.failed.append((namespace, error))
        # A namespace that cannot be read must not keep the others from being kept.
        if namespaces and len(result.failed) == len(namespaces):
            raise result.failed[0][1]
        self._scratch = {name: files for name, files in self._scratch.items() if name in {one.name for one in found}}
        return found

    def _places(self, namespace: str, result: ScanResult) -> list[Place]:
        """The namespace's folders that hold blocks. Raises: OSError."""
        try:
            times = self._pool.submit(folder_times, self._directory, namespace).result()
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            self._index.forget(namespace)
            return []
        self._on_progress()
        result.ops += 1 + (len(BLOCK_FOLDERS) if self._directory.layout is None else 3 * len(times))
        for gone in set(self._index.folders(namespace)) - {name for name, _ in times}:
            self._index.forget_folder(namespace, gone)
        return [Place(namespace, name, changed, self._index.folder(namespace, name)) for name, changed in times]

    def _list(self, places: Sequence[Place], result: ScanResult, *, every_file: bool = False) -> None:
        for start in range(0, len(places), _BATCH_FOLDERS):
            self._list_batch(places[start : start + _BATCH_FOLDERS], result, every_file)

    def _list_batch(self, places: Iterable[Place], result: ScanResult, every_file: bool) -> None:
        def one(place: Place) -> FolderListing | OSError | None:
            known = None if every_file else place.known
            try:
                return read_folder(self._directory, place.namespace, place.folder, known, now=self._wall_clock)
            except OSError as error:
                return error

        places = list(places)
        for place, listing in zip(places, self._pool.map(one, places), strict=True):
            self._on_progress()
            if isinstance(listing, OSError):
                result.failed.append((f"{place.namespace}/{place.folder}", listing))
                if place.known is not None:  # others have their turn before it is tried again
                    place.known.listed_at = self._clock()
                    place.known.rescanned_at = place.known.listed_at if every_file else place.known.rescanned_at
                continue
            result.listed += 1
            result.rescanned += every_file
            if listing is None:
                self._index.forget_folder(place.namespace, place.folder)
                continue
            result.ops += listing.ops
            listing.folder.listed_at = self._clock()
            listing.folder.rescanned_at = (
                listing.folder.listed_at if every_file or place.known is None else place.known.rescanned_at
            )
            self._index.put(place.namespace, place.folder, listing.folder)
            self._scratch[place.name] = listing.scratch

    def _all_scratch(self) -> list[tuple[str, str, list[str]]]:
        return [(*name, files) for name, files in self._scratch.items() if files]
