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
        "the file server takes most of two processors, and hashing and copying what it leaves. With a link of "
        "800 MiB/s, where storage is what is waited for, it is met"
    ),
    "load 512 MiB, 32 MiB blocks, 2 ms a call": ("as with blocks of 2 MiB"),
    "CPU of load": (
        "the stock tier has the kernel put blocks into its rows, and looks at no byte. Here they are hashed, "
        "and copied out of a buffer, since a late read must never land in a row that was given away: 0.11 s a "
        "GiB for both in native code, without any system call"
    ),
    "CPU of store": (
        "the stock tier writes past the page cache; here the filesystem may gather what is written, which is "
        "a copy, and every byte is hashed"
    ),
    "store 256 MiB, 64 KiB blocks, local disk": (
        "fio makes a file under its final name; here one is looked for, made under another name, and renamed"
    ),
    "store 512 MiB, 2 MiB blocks, local disk": (
        "fio only filled the page cache, as fast as memory is, which it did in this run and not in others "
        "(1.2 to 4.3 GiB/s, of which this was 0.8 to 2.8 times); here every byte is hashed before"
    ),
    "load 512 MiB, 2 MiB blocks, from tmpfs": (
        "the kernel's copy out of tmpfs comes on top of copying and hashing; 0.85 on the same machine an hour earlier"
    ),
    "load 512 MiB, 2 MiB blocks, local disk, with checksums": (
        "Python's reference, of which native code took the place"
    ),
    "interpreter taken": (
        "what is left is a thread's way from one run of blocks to the next, with the waking up of threads, "
        "and the results"
    ),
    "a scheduler's step": (
        "threads that have moved what they took ask for the interpreter, and several may at once. The stock "
        "tier's ask less often, for a third of the speed in blocks of 2 MiB"
    ),
    "time between tokens": (
        "as a scheduler's step; and copying takes of the two processors on which tokens are computed"
    ),
}


def why(name: str) -> str:
    """Of the row; "" when nobody knows."""
    begins = [begin for begin in _WHY if name.startswith(begin)]
    return _WHY[max(begins, key=len)] if begins else ""
