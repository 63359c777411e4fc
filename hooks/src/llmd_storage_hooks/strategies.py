# SPDX-License-Identifier: Apache-2.0
"""The ways to publish a file, by the names that the connector's `publish` setting has for them."""

# How a file gets its final name. What another node then pays for its first look differs by seconds on some
# filesystems (CephFS: a plain rename costs up to one MDS tick, 5 s, per file), hence several.
RENAME_FSYNC = "rename_fsync"  # write a temporary, rename it while it is open, fsync the same descriptor
LINK = "link"  # write a temporary, link it to the name, unlink the temporary
EXCLUSIVE = "exclusive"  # O_EXCL create under the final name, write, close
RENAME = "rename"  # write a temporary, close it, rename it
STRATEGIES = (LINK, RENAME_FSYNC, EXCLUSIVE, RENAME)
# What the connector does when nothing is set.
AUTO = "auto"
DEFAULT = RENAME_FSYNC


def chosen(publish: str) -> str:
    """The way that a value of the `publish` setting stands for."""
    return DEFAULT if publish == AUTO else publish
