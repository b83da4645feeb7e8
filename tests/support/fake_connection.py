"""A connection without a socket: what the peer takes, and when, is up to the test."""

import json
import re
import zlib
from typing import Any, Final

from sseserver.errors import CloseReason
from sseserver.event_id import parse_event_id
from sseserver.hub.hub import Hub
from sseserver.hub.subscription import StreamRequest, Subscription
from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import Dechunker, ZstdFrames

HEAD = b"HEAD\r\n\r\n"

_ID_LINE: Final = re.compile(r"^id: (.*)$", re.MULTILINE)


class FakeConnection:
    """Transport and peer of one stream (`sseserver.hub.subscription.Sink`).

    Attributes:
        sent: Bytes that the peer has taken, without the head.
        reason: Why the server ended the stream; None while it has not.
        is_aborted: Whether it was cut off.
    """

    def __init__(self, hub: Hub, high_water: int = 1 << 30) -> None:
        self._hub = hub
        self._high_water = high_water
        self._unsent = bytearray()
        self._body = bytearray()
        self.is_paused = False
        self.reason: CloseReason | None = None
        self.is_aborted = False
        self.rearmed = 0
        self.subscription: Subscription | None = None
        self.takes_all = True

    @property
    def unsent_bytes(self) -> int:
        """How much waits in the transport."""
        return len(self._unsent)

    def open(self, request: StreamRequest) -> Subscription:
        """Open a stream on this connection."""
        self.subscription = self._hub.streams.open(request, self, self.write, HEAD)
        return self.subscription

    def write(self, data: bytes) -> None:
        """Take bytes from the server."""
        assert self.reason is None, "nothing is written after the end"
        self._unsent += data
        if self.takes_all:
            self._move(len(self._unsent))
        elif len(self._unsent) > self._high_water and not self.is_paused:
            self.is_paused = True
            if self.subscription is not None:
                self._hub.streams.note_paused(self.subscription)

    def take(self, size: int) -> None:
        """Let the peer take `size` bytes; the transport resumes when it is empty."""
        self._move(size)
        if self.is_paused and not self._unsent:
            self.is_paused = False
            assert self.subscription is not None
            if self.reason is None:
                self._hub.streams.resume(self.subscription)

    def take_until_drained(self) -> None:
        """Let the peer take everything, as long as the server goes on giving."""
        while self._unsent:
            self.take(len(self._unsent))

    def _move(self, size: int) -> None:
        self._body += self._unsent[:size]
        del self._unsent[:size]

    def finish(self, tail: bytes, reason: CloseReason) -> None:
        """End properly."""
        self.write(tail)
        self.reason = reason

    def abort(self, reason: CloseReason) -> None:
        """Cut off."""
        self.reason = reason
        self.is_aborted = True
        self._unsent.clear()
        if self.subscription is not None:
            self._hub.streams.leave(self.subscription)

    def rearm(self) -> None:
        """Count how often the session's expiry changed."""
        self.rearmed += 1

    def cut(self) -> None:
        """Lose the connection, as the server sees it."""
        if self.subscription is not None:
            self._hub.streams.leave(self.subscription)
        self.reason = self.reason or CloseReason.CLIENT_LEFT

    @property
    def body(self) -> bytes:
        """What the peer has taken after the head."""
        assert self._body.startswith(HEAD[: len(self._body)])
        return bytes(self._body[len(HEAD) :])

    def plain(self, size: int | None = None) -> bytes:
        """Return what the body says, as far as it has arrived, or its first `size` bytes."""
        assert self.subscription is not None
        request = self.subscription.request
        return decode(self.body[:size], request.encoding, is_chunked=request.is_chunked)

    def source(self, size: int | None = None) -> ReferenceEventSource:
        """Return what a browser made of it."""
        source = ReferenceEventSource()
        source.feed(self.plain(size))
        return source

    def events(self) -> list[tuple[str, Any]]:
        """Return type and payload of every event that the peer has."""
        return [(event.type, json.loads(event.data)) for event in self.source().events]

    def types(self) -> list[str]:
        """Return the types of the events that the peer has."""
        return [event.type for event in self.source().events]

    def numbers(self) -> list[int]:
        """Return the numbers of those events that have one (`Core.fact`, `Core.status`)."""
        return [payload["n"] for _, payload in self.events() if "n" in payload]

    def ids(self) -> list[int]:
        """Return the IDs in the stream, of complete events only, as integers."""
        complete = self.plain().rpartition(b"\n\n")[0].decode()
        found = [parse_event_id(text) for text in _ID_LINE.findall(complete)]
        return [value for value in found if value is not None]


def decode(body: bytes, encoding: str, *, is_chunked: bool) -> bytes:
    """Return what a (cut) body says."""
    data = Dechunker().feed(body) if is_chunked else body
    decoder: Any
    match encoding:
        case "gzip":
            decoder = zlib.decompressobj(31)
        case "zstd":
            decoder = ZstdFrames()
        case _:
            return data
    plain: bytes = decoder.decompress(data)
    return plain
