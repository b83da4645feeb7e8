"""A client of streams behind a small pipe: what it does not read soon weighs on the server."""

import asyncio
import socket
from typing import Final, Self

from tests.support.stream_client import StreamClient

RECEIVE_BUFFER_BYTES: Final = 4096
"""The kernel doubles it; by itself it would take in megabytes for a peer that reads nothing."""


class SlowClient(StreamClient):
    """One open stream whose client reads only when it is told to."""

    @classmethod
    async def open(
        cls, port: int, path: str, *, session: str | None = None, encoding: str | None = None
    ) -> Self:
        """Send a request for a stream and read the response head, and hardly more."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        client = cls(*await asyncio.open_connection(sock=sock, limit=RECEIVE_BUFFER_BYTES))
        lines = ["Host: 127.0.0.1", "Accept: text/event-stream"]
        if session is not None:
            lines.append(f"Cookie: session={session}")
        if encoding is not None:
            lines.append(f"Accept-Encoding: {encoding}")
        head = "".join(f"{line}\r\n" for line in lines)
        client.writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        await client._read_head()
        return client
