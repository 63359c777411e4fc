"""A person would lose: kubectl, helm, exec and port-forward from outside the lab's network."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.lab.paths import HERE
from tests.patience import CEILING_S


def listener() -> socket.socket:
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    return s


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with listener() as s:
        s.settimeout(10)
        yield s


@contextlib.contextmanager
def proxied(port: int) -> Iterator[int]:
    with listener() as s:
        argv = [sys.executable, "-I", str(HERE / "apiproxy.py"), str(s.fileno()), "127.0.0.1", str(port)]
        p = subprocess.Popen(argv, pass_fds=[s.fileno()], stdout=subprocess.DEVNULL)
        mine = s.getsockname()[1]
    try:
        yield mine
    finally:
        p.kill()
        p.wait()


def test_bytes_go_both_ways_and_a_half_closed_end_stays_half_open(far: socket.socket) -> None:
    def answer() -> None:
        with far.accept()[0] as s:
            s.settimeout(10)
            got = b""
            while data := s.recv(4096):
                got += data
            s.sendall(got.upper() * 1000)  # after the other side has said that it is done

    t = threading.Thread(target=answer, daemon=True)
    t.start()
    with proxied(far.getsockname()[1]) as port, socket.create_connection(("127.0.0.1", port), timeout=CEILING_S) as s:
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while data := s.recv(65536):
            got += data
    assert got == b"HELLO" * 1000
    t.join(timeout=CEILING_S)


def test_a_server_that_is_away_closes_the_connection_and_nothing_else() -> None:
    with listener() as s:
        away = s.getsockname()[1]
    with proxied(away) as port:
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=CEILING_S) as s:
                assert s.recv(10) == b""
