"""Forwards connections from this machine's loopback to the API server inside the control plane's network.

Started by the lab with a listening socket that was made outside, and then put into the network namespace: a socket
belongs to the namespace that it was made in, so one end is out here and the other in there.

usage: python apiproxy.py LISTENING_FD HOST PORT          (the standard library only)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

CHUNK = 1 << 16
CONNECT_S = 10.0


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copies until the source ends, and passes that end on: a half-closed connection stays half open."""
    with contextlib.suppress(ConnectionError, OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        async with asyncio.timeout(CONNECT_S):
            far_reader, far_writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as e:
        print(f"cannot reach {host}:{port}: {e}", flush=True)
        writer.close()
        return
    try:
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
    finally:
        for w in (writer, far_writer):
            w.close()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        await forward(r, w, host, port)

    server = await asyncio.start_server(connected, sock=listener)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
