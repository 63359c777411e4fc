"""What the Argo CD tests share: Git repositories of this machine, and Applications that are waited for."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.harness import Cluster
from tests.lab import argocd
from tests.patience import CEILING_S, eventually

_REFRESH = "argocd.argoproj.io/refresh"


@dataclass
class Repository:
    """A Git repository on this machine's disk; Argo CD reads it by file://."""

    path: Path
    commits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True)
        self._git("init", "-q", "-b", "main")

    def commit(self, files: Mapping[str, str | None]) -> str:
        """Writes files (None removes one) and commits them. Returns the commit."""
        for name, text in files.items():
            target = self.path / name
            if text is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self._git("add", "-A")
        self.commits += 1
        self._git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", f"{self.commits}")
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        argv = ["git", "-C", str(self.path), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=CEILING_S).stdout


@dataclass(frozen=True)
class Operation:
    """One sync, as the Application's status tells it."""

    phase: str
    message: str
    started: str
    revisions: tuple[str, ...]
    results: tuple[Mapping[str, Any], ...]

    def __str__(self) -> str:
        bad = [r for r in self.results if r.get("hookPhase") == "Failed" or r.get("status") == "SyncFailed"]
        return f"{self.phase}: {self.message}; {[(r['kind'], r['name'], r.get('message')) for r in bad]}"

    def result(self, kind: str, name: str) -> Mapping[str, Any]:
        found = [r for r in self.results if (r["kind"], r["name"]) == (kind, name)]
        assert len(found) == 1, f"{kind}/{name} is {len(found)} times in {self.results}"
        return found[0]

    def phases(self, kind: str) -> dict[str, str]:
        """Name -> phase of everything of a kind that the sync touched."""
        return {r["name"]: r["syncPhase"] for r in self.results if r["kind"] == kind}


@dataclass(frozen=True)
class Application:
    cluster: Cluster
    name: str

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("application", self.name, "-n", argocd.NAMESPACE)
        return found

    def exists(self) -> bool:
        words = ("get", "application", self.name, "-n", argocd.NAMESPACE, "--ignore-not-found", "-o", "name")
        return bool(self.cluster.kubectl(*words).ok().out.strip())

    def state(self) -> tuple[str, str]:
        status = self.get().get("status", {})
        return status.get("sync", {}).get("status", ""), status.get("health", {}).get("status", "")

    def operation(self) -> Operation:
        state = self.get().get("status", {}).get("operationState", {})
        result = state.get("syncResult", {})
        return Operation(
            state.get("phase", ""),
            state.get("message", ""),
            state.get("startedAt", ""),
            tuple(result.get("revisions") or [result.get("revision", "")]),
            tuple(result.get("resources") or ()),
        )

    def refresh(self) -> None:
        """Has it look at its repositories now, as a webhook of theirs would."""
        words = ("annotate", "application", self.name, "-n", argocd.NAMESPACE, f"{_REFRESH}=normal", "--overwrite")
        self.cluster.kubectl(*words).ok()

    def synced_to(self, commit: str) -> Operation:
        """The operation that tried this commit, once it has ended, well or not."""
        self.refresh()

        def ended() -> Operation | None:
            one = self.operation()
            return one if commit in one.revisions and one.phase not in ("", "Running") else None

        done: Operation = eventually(ended, f"{self.name} to sync {commit[:7]}", every_s=1, within_s=3 * CEILING_S)
        return done

    def sync(self) -> Operation:
        """Syncs by hand what is there, as the button does."""
        before = self.operation().started
        operation = '{"operation": {"initiatedBy": {"username": "test"}, "sync": {"prune": true}}}'
        words = ("patch", "application", self.name, "-n", argocd.NAMESPACE, "--type=merge", "-p", operation)
        self.cluster.kubectl(*words).ok()

        def ended() -> Operation | None:
            one = self.operation()
            return one if one.started > before and one.phase != "Running" else None

        done: Operation = eventually(ended, f"{self.name} to sync", every_s=1, within_s=3 * CEILING_S)
        return done

    def settle(self) -> None:
        """Until it is Synced and Healthy."""
        self.refresh()
        eventually(lambda: self.state() == ("Synced", "Healthy"), f"{self.name} to be well", every_s=1)
