"""Proves a peer: every event of the feed reaches every client, complete and in order."""

import asyncio
import time
import zlib
from typing import Final

import h11

from bench.peers.peer import Peer
from tests.support.reference_eventsource import Dispatched, ReferenceEventSource

CLIENTS: Final = 50
EVENTS: Final = 20
_DEADLINE_SECONDS: Final = 10.0


class PeerWrongError(Exception):
    """A peer lost, repeated or changed an event; the text says which."""


class _Client:
    """One stream, read to the letter: HTTP by h11, gzip by zlib, events by our own parser."""

    def __init__(self, reader: asyncio.StreamReader, coding: str) -> None:
        self._reader = reader
        self._http = h11.Connection(h11.CLIENT)
        self._http.send(h11.Request(method="GET", target="/events", headers=[("Host", "-")]))
        self._http.send(h11.EndOfMessage())
        self._gunzip = zlib.decompressobj(31) if coding == "gzip" else None
        self._source = ReferenceEventSource()

    async def read_head(self) -> None:
        """Return once the peer has agreed to stream."""
        head = await self._next()
        assert isinstance(head, h11.Response)
        headers = dict(head.headers)
        coding = headers.get(b"content-encoding", b"identity")
        wanted = b"identity" if self._gunzip is None else b"gzip"
        if not headers[b"content-type"].startswith(b"text/event-stream") or coding != wanted:
            raise PeerWrongError(f"answered {headers}")

    async def read_events(self, count: int) -> list[Dispatched]:
        """Return all events once there are `count`."""
        while len(self._source.events) < count:
            event = await self._next()
            if not isinstance(event, h11.Data):
                raise PeerWrongError(f"the stream ended with {event}")
            data = bytes(event.data)
            self._source.feed(self._gunzip.decompress(data) if self._gunzip else data)
        return self._source.events

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(65536))
        return event


async def check(peer: Peer) -> float:
    """Broadcast `EVENTS` events to `CLIENTS` clients.

    Returns:
        The seconds from the first event sent to the last one received.

    Raises:
        PeerWrongError: A client got other events than were sent, or not in their order.
        TimeoutError: Some had not arrived after `_DEADLINE_SECONDS`.
    """
    sent = [f'{{"symbol":"AAPL","n":"{n:012}","text":"ünï"}}' for n in range(EVENTS)]
    async with asyncio.timeout(_DEADLINE_SECONDS):
        connections = [await asyncio.open_connection(peer.host, peer.port) for _ in range(CLIENTS)]
        try:
            clients = [_Client(reader, peer.coding) for reader, _ in connections]
            for _, writer in connections:
                writer.write(peer.request)
            await asyncio.gather(*(client.read_head() for client in clients))

            began = time.monotonic()
            feed = await _publish(peer, sent)
            received = await asyncio.gather(*(client.read_events(EVENTS) for client in clients))
            seconds = time.monotonic() - began
            feed.close()
        finally:
            for _, writer in connections:
                writer.close()
    for events in received:
        if [(event.type, event.data) for event in events] != [("price:update", d) for d in sent]:
            raise PeerWrongError(f"sent {sent}, received {events}")
        if len({event.last_event_id for event in events}) != EVENTS:
            raise PeerWrongError(f"event IDs are not all different: {events}")
    return seconds


async def _publish(peer: Peer, sent: list[str]) -> asyncio.StreamWriter:
    """Send all events at once: at an HTTP feed the requests are pipelined."""
    kind, _, address = peer.feed.partition(":")
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(peer.message(data.encode()) for data in sent))
    if kind == "http":
        answered = 0
        while answered < len(sent):
            answers = await reader.read(65536)
            if not answers:
                raise PeerWrongError(f"the feed was cut off after {answered} events")
            answered += answers.count(b"HTTP/1.1 20")
    return writer
