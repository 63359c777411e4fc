"""Why a target is missed, as far as it is known: what the page of a run begins with. Pure."""

from __future__ import annotations

# What the name of a row begins with.
_WHY = {
    "load 512 MiB, 2 MiB blocks, local disk": (
        "plain threads that read the same files past the page cache got 1.1 GiB/s (16 of them) to 1.5 (32), "
        "and this nine tenths of each. fio's best reads one large file in order; our blocks lie in 256 "
        "folders, perhaps far apart"
    ),
    "load 512 MiB, 32 MiB blocks, local disk": ("as with blocks of 2 MiB"),
    "load 512 MiB, 2 MiB blocks, 2 ms a call": (
        "the file server takes most of two processors, and hashing and copying what it leaves (24, 32, 48 and 64 "
        "threads gave the same, to 4 %). With a link of 800 MiB/s, where storage is what is waited for, it is met"
    ),
    "load 512 MiB, 32 MiB blocks, 2 ms a call": ("as with blocks of 2 MiB"),
    "CPU of load": (
        "the stock tier has the kernel put blocks into its rows, and looks at no byte. Here they are hashed, "
        "and copied out of a buffer, since a late read must never land in a row that was given away: 0.11 s a "
        "GiB for both in native code, without any system call"
    ),
    "CPU of store": (
        "every byte is hashed, which is 0.06 to 0.12 s a GiB where the stock tier, which hashes none, needs less than "
        "that for all of a large block; blocks below 1 MiB go through the page cache, which is a copy"
    ),
    "store 256 MiB, 64 KiB blocks, local disk": (
        "fio makes a file under its final name; here one is looked for, made under another name, and renamed"
    ),
    "store 512 MiB, 2 MiB blocks, local disk": ("this disk gives 0.7 to 2.9 GiB/s from one second to the next"),
    "store 256 MiB, 2 MiB blocks, 2 ms a call": (
        "the header makes the file 4 KiB longer than four of the largest requests: a fifth write, at 2 ms. 0.85 to 1.1 "
        "in other runs"
    ),
    "load 512 MiB, 2 MiB blocks, from tmpfs": (
        "the kernel's copy out of tmpfs comes on top of copying and hashing; 0.82 on the same machine an hour earlier"
    ),
    "interpreter taken": (
        "the 16 jobs of a store, of which each is submitted, handed out, judged and reported: 70 us of Python each "
        "while its code is in the processor's caches, 200 after the blocks have gone through them; a block is 9 us more"
    ),
    "a scheduler's step": (
        "in part the machine's: with the same blocks loaded by another process the 99th percentile is 1.17 and 1.03, "
        "the median 0.98 and 1.02. In part that threads that have moved what they took ask for the interpreter; the "
        "stock tier's ask less often, for a third of the speed in blocks of 2 MiB"
    ),
    "time to first token, storage at 1 MiB/s, first request": (
        "one request on a machine whose computing itself went from 3.6 to 4.0 s meanwhile; 1.09 minutes later, 1.08 on "
        "another machine"
    ),
    "time between tokens": (
        "as a scheduler's step; and copying takes of the two processors on which tokens are computed"
    ),
}


def why(name: str) -> str:
    """Of the row; "" when nobody knows."""
    begins = [begin for begin in _WHY if name.startswith(begin)]
    return _WHY[max(begins, key=len)] if begins else ""
