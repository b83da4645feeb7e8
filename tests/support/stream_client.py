"""A client of streams, down to the bytes: head, chunks, coding, events."""

import asyncio
import json
import zlib
from dataclasses import dataclass
from typing import Any, Self

import zstandard

from tests.support.reference_eventsource import ReferenceEventSource

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Received:
    """One event as a client read it."""

    type: str
    data: Any
    id: str
    retry_ms: int | None


class Dechunker:
    """Takes a chunked body apart (RFC 9112 7.1), at any split of its bytes."""

    def __init__(self) -> None:
        self._rest = b""
        self.is_ended = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes and return the payload of what is complete."""
        self._rest += data
        payload = b""
        while not self.is_ended:
            line, separator, rest = self._rest.partition(b"\r\n")
            if not separator:
                break
            size = int(line, 16)
            if len(rest) < size + 2:
                break
            assert rest[size : size + 2] == b"\r\n"
            payload += rest[:size]
            self._rest = rest[size + 2 :]
            self.is_ended = size == 0
        return payload


class ZstdFrames:
    """Decodes zstd frames that follow one another.

    Attributes:
        eof: Whether the last frame that began has ended.
    """

    def __init__(self) -> None:
        self._current = zstandard.ZstdDecompressor().decompressobj()
        self.eof = True

    def decompress(self, data: bytes) -> bytes:
        """Take bytes and return what they say."""
        plain = b""
        while data:
            plain += self._current.decompress(data)
            data = self._current.unused_data
            self.eof = self._current.eof
            if self.eof:
                self._current = zstandard.ZstdDecompressor().decompressobj()
        return plain


class StreamClient:
    """One open stream.

    Attributes:
        status: Of the response.
        headers: By lower-case name.
        body_bytes: How many bytes of body came over the wire, without chunk framing.
        plain_bytes: How many bytes they said.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.source = ReferenceEventSource()
        self.body_bytes = 0
        self.plain_bytes = 0
        self.plain = b""
        self._taken = 0
        self._dechunker: Dechunker | None = None
        self._decoder: Any = None

    @classmethod
    async def connect(  # noqa: PLR0913 - what a request may say
        cls,
        port: int,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        session: str | None = None,
        last_event_id: str | None = None,
        version: str = "HTTP/1.1",
        limit: int = 1 << 20,
    ) -> Self:
        """Send a request for a stream and read the response head."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))
        lines = {"Host": f"127.0.0.1:{port}", "Accept": "text/event-stream", **(headers or {})}
        if session is not None:
            lines["Cookie"] = f"session={session}"
        if last_event_id is not None:
            lines["Last-Event-ID"] = last_event_id
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        client.writer.write(f"GET {path} {version}\r\n{head}\r\n".encode())
        await client._read_head()
        return client

    async def _read_head(self) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.strip().split("\r\n")
        self.status = int(status_line.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        if self.headers.get("transfer-encoding") == "chunked":
            self._dechunker = Dechunker()
        match self.headers.get("content-encoding"):
            case "gzip":
                self._decoder = zlib.decompressobj(31)
            case "zstd":
                self._decoder = ZstdFrames()
            case _:
                self._decoder = None

    @property
    def is_ended_properly(self) -> bool:
        """Whether the last chunk has arrived, and the end of the coding with it."""
        chunks = self._dechunker is None or self._dechunker.is_ended
        coding = getattr(self._decoder, "eof", True)
        return bool(chunks and coding)

    async def read(self) -> bool:
        """Take what has arrived; False at the end of the connection."""
        data = await self.reader.read(1 << 16)
        if not data:
            return False
        if self._dechunker is not None:
            data = self._dechunker.feed(data)
        self.body_bytes += len(data)
        if self._decoder is not None and data:
            data = self._decoder.decompress(data)
        self.plain_bytes += len(data)
        self.plain += data
        self.source.feed(data)
        return True

    async def next(self) -> Received:
        """Return the next event."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self.source.events) <= self._taken:
                assert await self.read(), "the stream ended"
        event = self.source.events[self._taken]
        self._taken += 1
        return Received(event.type, json.loads(event.data), event.last_event_id, event.retry_ms)

    async def expect(self, event_type: str) -> Received:
        """Return the next event, which must be of this type."""
        event = await self.next()
        assert event.type == event_type, event
        return event

    async def until(self, event_type: str) -> Received:
        """Return the next event of this type, passing over others."""
        while True:
            event = await self.next()
            if event.type == event_type:
                return event

    async def until_comment(self, count: int = 1) -> None:
        """Wait until this many comments have arrived in all."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(self.source.comments) < count:
                assert await self.read(), "the stream ended"

    async def until_end(self) -> list[Received]:
        """Return all that comes until the server ends the connection."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await self.read():
                pass
        rest = []
        while len(self.source.events) > self._taken:
            rest.append(await self.next())
        return rest

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()


async def http_request(
    port: int,
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    host: str | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Make one request on a connection of its own: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = {"Host": host or f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if body:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await reader.read()
    finally:
        writer.close()
    raw_head, _, rest = answer.partition(b"\r\n\r\n")
    status_line, *header_lines = raw_head.decode("latin-1").split("\r\n")
    fields = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in header_lines)
    }
    return int(status_line.split(" ")[1]), fields, rest
