"""A client that loses its connection after a number of bytes that the test chooses."""

import asyncio
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final, Self

from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import ZstdFrames

TIMEOUT_SECONDS: Final = 20.0

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_END_OF_HEAD: Final = b"\r\n\r\n"

Condition = Callable[[ReferenceEventSource], bool]


class _EagerDechunker:
    """Gives each byte of a chunked body on as it comes, as browsers do.

    One that waits for whole chunks hides every cut inside of a chunk, and with it all those
    that fall into replay and snapshot.
    """

    def __init__(self) -> None:
        self._framing = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return what they hold of the payload."""
        payload = b""
        while data:
            if self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                payload += piece
                continue
            # Between two chunks stand the end of one and the size of the next.
            self._framing += data[:1]
            data = data[1:]
            size = self._framing.removeprefix(b"\r\n")
            if size.endswith(b"\r\n"):
                self._left = int(size, 16)
                self._framing = b""
        return payload


class StreamReader:
    """What a client makes of the bytes of a response, in whatever pieces they come.

    Attributes:
        size: How many bytes it has taken, head included.
        source: The events in them.
    """

    def __init__(self) -> None:
        self.size = 0
        self.source = ReferenceEventSource()
        self._head: bytes = b""
        self._dechunker = _EagerDechunker()
        self._decoder: Any = None

    def feed(self, data: bytes) -> None:
        """Take bytes of the response, from its first one on."""
        self.size += len(data)
        if not self._head.endswith(_END_OF_HEAD):
            head, end, data = (self._head + data).partition(_END_OF_HEAD)
            self._head = head + end
            if not end:
                return
            self._begin_body()
        payload = self._dechunker.feed(data)
        if self._decoder is not None and payload:
            payload = self._decoder.decompress(payload)
        self.source.feed(payload)

    def _begin_body(self) -> None:
        head = self._head.lower()
        assert head.startswith(b"http/1.1 200 "), self._head
        if b"\r\ncontent-encoding: gzip\r\n" in head:
            self._decoder = zlib.decompressobj(31)
        elif b"\r\ncontent-encoding: zstd\r\n" in head:
            self._decoder = ZstdFrames()


class CuttingClient(asyncio.Protocol):
    """One stream, read up to a byte and not beyond.

    Args:
        request: What is sent.
        max_bytes: Where it stops to read; None reads on.
        cuts_at_once: Break the connection the moment `max_bytes` have come.
        resets: Break it by RST instead of FIN.

    Attributes:
        reader: What has been read.
        is_full: Whether it takes no more.
        lost: Done when the connection has ended on both sides.
    """

    def __init__(
        self,
        request: bytes,
        max_bytes: int | None = None,
        *,
        cuts_at_once: bool = False,
        resets: bool = False,
    ) -> None:
        self._request = request
        self._max_bytes = max_bytes
        self._cuts_at_once = cuts_at_once
        self._resets = resets
        self._is_cut = False
        self._waiters: list[tuple[Condition, asyncio.Future[None]]] = []
        self.reader = StreamReader()
        self.is_full = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def connect(cls, port: int, request: bytes, *arguments: Any, **options: Any) -> Self:
        """Connect and send the request; further arguments are those of the class."""
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: cls(request, *arguments, **options), "127.0.0.1", port
        )
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)
        self._take(b"")

    def data_received(self, data: bytes) -> None:
        if not self.is_full:
            self._take(data)

    def eof_received(self) -> None:
        """Close as well."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        self._wake()

    def cut(self) -> None:
        """Break the connection; what is on its way is lost."""
        if self._is_cut or self.lost.done():
            return
        self._is_cut = True
        self.is_full = True
        if self._resets:
            sock: socket.socket = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()
        else:
            # What lies in the kernel unread would turn the end into a reset: it is read away.
            self._transport.write_eof()
            self._transport.resume_reading()

    async def until(self, condition: Condition) -> None:
        """Wait until `condition` holds of what has been read, or no more can come."""
        if not self._holds(condition):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((condition, waiter))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await waiter

    def _holds(self, condition: Condition) -> bool:
        return self.is_full or self.lost.done() or condition(self.reader.source)

    def _wake(self) -> None:
        for condition, waiter in self._waiters:
            if not waiter.done() and self._holds(condition):
                waiter.set_result(None)

    def _take(self, data: bytes) -> None:
        if self._max_bytes is not None:
            data = data[: self._max_bytes - self.reader.size]
        self.reader.feed(data)
        if self.reader.size == self._max_bytes:
            self.is_full = True
            if self._cuts_at_once:
                self.cut()
            else:
                self._transport.pause_reading()
        self._wake()
