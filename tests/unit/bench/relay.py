"""A server for the load client to measure: passes each line of its feed on to every stream.

How the events are framed, cut and encoded is up to the test, and so is what it does wrong.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

Framing = Callable[[bytes], Iterable[bytes]]
"""Turns the events of one message into what is written, piece by piece."""


class Relay:
    """A running relay.

    Attributes:
        port: Where streams are opened.
        feed: Where lines go, as the load client wants it named.
        head: Response head of every stream, without its last empty line.
        events: Renders a message's number and data as events; b"" leaves it out.
        framing: Makes the framing of one stream, which may have a state.
        first: What every stream begins with, before framing.
        is_closing: Whether streams end after the first event.
    """

    def __init__(self, feed_path: Path) -> None:
        self.feed_path = feed_path
        self.feed = f"unix:{feed_path}"
        self.port = 0
        self.head = HEAD
        self.events: Callable[[int, bytes], bytes] = event
        self.framing: Callable[[], Framing] = lambda: whole
        self.first = b""
        self.is_closing = False
        self._streams: list[tuple[asyncio.StreamWriter, Framing]] = []

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Open a stream, and keep it."""
        await reader.readuntil(b"\r\n\r\n")
        framing = self.framing()
        writer.write(self.head + b"\r\n")
        if self.first:
            writer.writelines(framing(self.first))
        self._streams.append((writer, framing))

    async def take_feed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass lines on until the feed leaves."""
        while line := await reader.readline():
            events = self.events(int(json.loads(line)["n"]), line.strip())
            for stream, framing in self._streams:
                if events:
                    stream.writelines(framing(events))
                if self.is_closing:
                    stream.close()
            writer.write(b'{"ok":true}\n')
        writer.close()

    def close(self) -> None:
        """Drop every stream."""
        for stream, _ in self._streams:
            stream.transport.abort()


def event(number: int, data: bytes) -> bytes:
    """Render an event as sseserver does."""
    return b"event: price:update\ndata: %b\nid: %d-a\nretry: 5000\n\n" % (data, 1000 + number)


def whole(data: bytes) -> Iterable[bytes]:
    """Write everything as it is: a body that ends with its connection."""
    return (data,)


def chunked(data: bytes, size: int) -> Iterable[bytes]:
    """Write chunks of so many bytes, which is how a client is made to see any cut."""
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


@asynccontextmanager
async def relaying(folder: Path) -> AsyncIterator[Relay]:
    """Run a relay."""
    relay = Relay(folder / "feed.sock")
    streams = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
    feeds = await asyncio.start_unix_server(relay.take_feed, relay.feed_path)
    relay.port = streams.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        relay.close()
        streams.close()
        feeds.close()
