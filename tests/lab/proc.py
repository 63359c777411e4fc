"""Programs: run to their end, or started to stay; each with a time limit, a log and a way to be found again."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.lab.errors import Cancelled, LabError
from tests.lab.paths import Lab
from tests.patience import CEILING_S

Word = str | Path
Argv = Sequence[Word]
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def system_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment with the system's programs first: ip, containerd and ceph live in sbin folders."""
    return {**os.environ, "PATH": f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}", **(extra or {})}


@dataclass(slots=True)
class Console:
    """A step's own log file, and the way it runs programs: output to the log, ended when cancelled."""

    path: Path
    cancel: threading.Event = field(default_factory=threading.Event)
    note: str = ""  # what the step is doing now, shown while it runs
    running: Path | None = None  # a folder that knows the programs that run: end_orphans

    def say(self, text: str) -> None:
        self.note = text
        with self.path.open("a") as f:
            f.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def run(
        self,
        argv: Argv,
        *,
        timeout_s: float = CEILING_S,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> None:
        """Runs a program with its output in the log.

        Raises: LabError when it fails or runs past ``timeout_s``, Cancelled when the lab is giving up.
        """
        words = [str(a) for a in argv]
        with self.path.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} $ {' '.join(words)}\n")
            log.flush()
            p = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=system_env(env),
                cwd=cwd,
                start_new_session=True,
                text=True,
            )
            with _known(self.running, p.pid):
                self._feed(p, stdin)
                code = self._wait(p, words, timeout_s)
        if code != 0:
            raise LabError(f"{_short(words)} ended with exit code {code}")

    def _feed(self, p: subprocess.Popen[str], stdin: str | None) -> None:
        if stdin is not None and p.stdin is not None:
            try:
                p.stdin.write(stdin)
                p.stdin.close()
            except BrokenPipeError:
                pass  # its exit code says why it did not read

    def _wait(self, p: subprocess.Popen[str], words: list[str], timeout_s: float) -> int:
        end = time.monotonic() + timeout_s
        while True:
            try:
                return p.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                late = time.monotonic() > end
                if late or self.cancel.is_set():
                    _end_group(p)
                    if late:
                        raise LabError(f"{_short(words)} did not end within {timeout_s:.0f} s") from None
                    raise Cancelled(f"{_short(words)} was stopped") from None

    def until(
        self, what: str, ready: Callable[[], bool], *, timeout_s: float = CEILING_S, every_s: float = 0.2
    ) -> None:
        """Waits until ``ready()`` holds. Raises: LabError that names ``what`` after ``timeout_s``."""
        self.say(f"waiting for {what}")
        end = time.monotonic() + timeout_s
        while not ready():
            if self.cancel.is_set():
                raise Cancelled(f"stopped while waiting for {what}")
            if time.monotonic() > end:
                raise LabError(f"waited {timeout_s:.0f} s in vain for {what}")
            time.sleep(every_s)


@contextmanager
def _known(folder: Path | None, pid: int) -> Iterator[None]:
    """A program runs in a session of its own, so that all of it can be ended: it outlives a lab that is killed."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / str(pid)
    note.write_text(start_time(pid) or "gone")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def end_orphans(folder: Path) -> list[int]:
    """Ends what a killed lab command has left running. Requires: no other one runs. Returns: process groups ended."""
    ended = []
    for note in folder.glob("[0-9]*") if folder.is_dir() else ():
        pid = int(note.name)
        if start_time(pid) == note.read_text():
            for sig in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(pid, sig)
                end = time.monotonic() + 5
                while start_time(pid) is not None and time.monotonic() < end:
                    time.sleep(0.1)
            ended.append(pid)
        note.unlink(missing_ok=True)
    return ended


def _short(words: list[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 160 else text[:157] + "..."


def _end_group(p: subprocess.Popen[str]) -> None:
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(p.pid, sig)
            p.wait(timeout=5)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def output(argv: Argv, *, timeout_s: float = CEILING_S, env: Mapping[str, str] | None = None) -> str:
    """A program's standard output. Raises: LabError with its error output when it fails."""
    words = [str(a) for a in argv]
    try:
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=system_env(env),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{_short(words)} did not end within {timeout_s:.0f} s") from None
    except FileNotFoundError:
        raise LabError(f"{words[0]} is not installed") from None
    if done.returncode != 0:
        raise LabError(f"{_short(words)} ended with exit code {done.returncode}: {done.stderr.strip()[-600:]}")
    return done.stdout


def succeeds(argv: Argv, *, timeout_s: float = 10) -> bool:
    try:
        output(argv, timeout_s=timeout_s)
    except LabError:
        return False
    return True


# --- programs that stay


def start_time(pid: int) -> str | None:
    """When the kernel started process ``pid``, or None when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


ADDON = "addon/"  # begins the names of programs that some tests start and stop: the lab is well without them


@dataclass(frozen=True, slots=True)
class Component:
    """A long-running program of the lab, as its pid file tells: pid and start time, so that a pid which the
    kernel has given to another program is never taken for it."""

    name: str
    pid: int
    started: str

    @property
    def addon(self) -> bool:
        return self.name.startswith(ADDON)

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    @property
    def stopped(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (FileNotFoundError, ProcessLookupError):
            return False


def component_log(lab: Lab, name: str) -> Path:
    return lab.log / "component" / f"{name.replace('/', '-')}.log"


# The lab's etcd tells no progress, so a client's first list may not be a watch: it is mostly refused, but right after
# the API server's start a client may wait for its end for good.
_LISTS = {"KUBE_FEATURE_WatchListClient": "false"}


def start(
    lab: Lab, name: str, argv: Argv, *, pass_fds: Sequence[int] = (), env: Mapping[str, str] | None = None
) -> Component:
    """Starts a program that outlives this one; its output goes to its own log."""
    log = component_log(lab, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    lab.pids.mkdir(parents=True, exist_ok=True)
    with log.open("w") as f:
        p = subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=subprocess.STDOUT,
            env=system_env({**_LISTS, **(env or {})}),
            cwd=lab.run,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    threading.Thread(target=p.wait, daemon=True, name=f"reap-{name}").start()
    c = Component(name, p.pid, start_time(p.pid) or "gone")
    _pid_file(lab, name).write_text(f"{c.name} {c.pid} {c.started}\n")
    return c


def _pid_file(lab: Lab, name: str) -> Path:
    return lab.pids / name.replace("/", "-")


def stop(lab: Lab, c: Component, timeout_s: float = 10) -> None:
    """Asks a program to end, makes it end after ``timeout_s``, and forgets it."""
    end = time.monotonic() + timeout_s
    sig = signal.SIGTERM
    while c.alive:
        os.kill(c.pid, sig)
        time.sleep(0.1)
        sig = signal.SIGKILL if time.monotonic() > end else signal.SIGTERM
    _pid_file(lab, c.name).unlink(missing_ok=True)


def components(lab: Lab) -> list[Component]:
    """All programs that this run started, in the order of their names."""
    found = []
    for f in sorted(lab.pids.glob("*")) if lab.pids.is_dir() else []:
        words = f.read_text().split()
        if len(words) == 3 and words[1].isdigit():
            found.append(Component(words[0], int(words[1]), words[2]))
    return found


def component(lab: Lab, name: str) -> Component:
    known = components(lab)
    for c in known:
        if c.name == name:
            return c
    names = ", ".join(c.name for c in known) or "none: the lab is not up"
    raise LabError(f"no component is named {name!r}; there are: {names}")


def open_log(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")
