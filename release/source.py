"""The commit that a release is made from: it says the version, and the time that is in everything made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from image.wheels import ROOT
from release.programs import ReleaseError, output


@dataclass(frozen=True, slots=True)
class Source:
    version: str
    commit: str
    epoch: int  # seconds: when it was committed

    @property
    def created(self) -> str:
        """RFC 3339."""
        return datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(root: Path = ROOT, *, allow_changes: bool = False) -> Source:
    """Raises: ReleaseError where the checkout has changes."""
    git = ["git", "-C", str(root)]
    changed = output([*git, "status", "--porcelain"]).splitlines()
    if changed and not allow_changes:
        raise ReleaseError(
            f"a release is made from a commit, and {len(changed)} files are not committed, among them "
            f"{changed[0][3:]}: commit them, or say --allow-changes for a trial"
        )
    commit, epoch = output([*git, "log", "-1", "--format=%H %ct"]).split()
    chart = yaml.safe_load((root / "charts/llm-d-storage/Chart.yaml").read_text())
    return Source(str(chart["version"]), commit, int(epoch))
