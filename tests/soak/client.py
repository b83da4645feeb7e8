"""A client that comes, stalls, leaves and resumes, and counts every fact exactly once."""

import asyncio
import contextlib
import re
import socket
import struct
import time
import zlib
from collections.abc import Callable
from typing import Final

_EVENT: Final = re.compile(
    rb"event: (?P<type>[^\n]*)\ndata: (?P<data>[^\n]*)\n"
    rb"(?:id: (?P<id>[^\n]*)\n)?(?:retry: \d+\n)?\n"
)
_FACT: Final = re.compile(rb'"n":(\d+),"t":(\d+)')
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: a close is a reset."""

_READ_BYTES: Final = 65_536
_RECEIVE_BUFFER_BYTES: Final = 8192
_RETRY_SECONDS: Final = 0.05
_SETTLED_SECONDS: Final = 1.0
"""After a fault a client is behind for a moment, which is no latency of the server."""


class Tally:
    """What all clients saw; times in nanoseconds."""

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self.duplicated = 0
        self.gaps: list[str] = []
        self.max_latency_ns = 0


class Client:
    """One client of a user's alerts; `newest` is the number of the last fact it has.

    Args:
        port: Where the server is, also after a restart.
        session: Its session.
        coding: `identity` or `gzip`.
        tally: Where it counts.
    """

    def __init__(self, port: Callable[[], int], session: str, coding: str, tally: Tally) -> None:
        self._port = port
        self._session = session
        self._coding = coding
        self._tally = tally
        self._last_id = ""
        self._writer: asyncio.StreamWriter | None = None
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        self._is_done = False
        self._settled_at = 0.0
        self.newest = 0

    async def run(self) -> None:
        """Stay on the stream, whatever happens, until told to end."""
        while not self._is_done:
            await self._goes_on.wait()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._follow()
            self._note_fault()
            await asyncio.sleep(_RETRY_SECONDS)

    def end(self) -> None:
        """Leave for good."""
        self._is_done = True
        self._goes_on.set()
        self._close()

    def reset(self) -> None:
        """Break the connection without a word."""
        if self._writer is not None:
            sock = self._writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it has just ended by itself
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._writer.transport.abort()

    async def stall(self, seconds: float) -> None:
        """Read nothing for a while, and go on."""
        self._goes_on.clear()
        await asyncio.sleep(seconds)
        self._note_fault()
        self._goes_on.set()

    async def leave(self, seconds: float) -> None:
        """Close the connection, and come back after a while."""
        self._goes_on.clear()
        self._close()
        await asyncio.sleep(seconds)
        self._goes_on.set()

    async def _follow(self) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self._port()))
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=_RECEIVE_BUFFER_BYTES)
        self._writer = writer
        resume = f"Last-Event-ID: {self._last_id}\r\n" if self._last_id else ""
        writer.write(
            f"GET /api/stream/alerts HTTP/1.0\r\nCookie: session={self._session}\r\n"
            f"Accept-Encoding: {self._coding}\r\n{resume}\r\n".encode()
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " in head:
                await self._read(reader)
        finally:
            self._writer = None
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = zlib.decompressobj(31) if self._coding == "gzip" else None
        pending = b""
        while not self._is_done:
            await self._goes_on.wait()
            data = await reader.read(_READ_BYTES)
            if not data:
                return
            pending += data if decoder is None else decoder.decompress(data)
            end = 0
            for event in _EVENT.finditer(pending):
                end = event.end()
                self._take(event["type"], event["data"], event["id"])
            pending = pending[end:]

    def _take(self, event_type: bytes, data: bytes, event_id: bytes | None) -> None:
        if event_type == b"alert:new":
            self._count(data)
        elif event_type == b"stream:gap":
            self._tally.gaps.append(data.decode())
        if event_id is not None:
            self._last_id = event_id.decode()

    def _count(self, data: bytes) -> None:
        fact = _FACT.search(data)
        assert fact is not None, data
        number = int(fact[1])
        if number <= self.newest:
            self._tally.duplicated += 1
            return
        self._tally.lost += number - self.newest - 1
        self._tally.received += 1
        self.newest = number
        now = time.monotonic_ns()
        if now > self._settled_at:
            self._tally.max_latency_ns = max(self._tally.max_latency_ns, now - int(fact[2]))

    def _note_fault(self) -> None:
        self._settled_at = time.monotonic_ns() + _SETTLED_SECONDS * 1e9

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
