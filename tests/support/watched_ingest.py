"""The ingest port with everything behind it, and streams of user-1 that are open all the time.

From a transport's callback to the bytes of streams, without sockets: what a feed's bytes come to.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sseserver.checkpoint import Stores, records_of
from sseserver.config import IngestConfig
from sseserver.event_id import parse_event_id
from sseserver.net.ingest_port import IngestPort
from tests.support.core import request_for
from tests.support.fake_transport import FakeTransport
from tests.support.ingest_corpus import MAX_LINE_BYTES, PREPARATION, Delivery
from tests.support.reference_eventsource import ReferenceEventSource
from tests.unit.ingest.ingest_core import IngestCore

if TYPE_CHECKING:
    from tests.support.fake_connection import FakeConnection

STREAMS: Final = (
    "orders", "positions", "trading", "prices", "ai-decisions", "strategies/s-1", "alerts",
)  # fmt: skip

_FRAME: Final = re.compile(
    rb"event: ([a-z:-]+)\ndata: (\{[^\r\n]*\})\n(?:id: ([0-9]+-[0-9a-z]{9})\n)?(?:retry: [0-9]+\n)?"
)


class WatchedIngest:
    """A prepared ingest port.

    Attributes:
        core: What is behind it.
        feed: The transport of one feed.
    """

    def __init__(self) -> None:
        self.core = IngestCore()
        port = IngestPort(
            self.core.pipeline,
            IngestConfig(max_line_bytes=MAX_LINE_BYTES),
            self.core.clock.monotonic,
        )
        self.feed = FakeTransport(port.make_feed(), None)
        for line in PREPARATION:
            assert self.core.answers(line) == []
        self.connections: dict[str, FakeConnection] = {}
        for stream in STREAMS:
            self._open(stream)
        self._opened = {name: len(one.plain()) for name, one in self.connections.items()}

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Deliver pieces of bytes, let every line be applied and every event go out."""
        for piece in pieces:
            self.feed.receive(piece)
            while not self.feed.is_reading_now:
                await asyncio.sleep(0)
        self.core.hub.flush()
        self.core.hub.end_window()
        self.core.hub.flush()

    def take_answers(self) -> list[dict[str, Any]]:
        """Return the answers since the last call."""
        return [json.loads(answer) for answer in self.feed.take_sent().splitlines()]

    def state(self) -> list[bytes]:
        """Return all that is known and survives a restart: what may not change.

        The newest ID is left out, for one that is taken and given to nobody says nothing.
        """
        core = self.core
        stores = Stores(
            core.hub, core.projection, core.sessions, core.strategies, core.keys, core.clock
        )
        agents = [event.data for event in core.projection.agent_statuses_after(0)]
        *records, _ = records_of(stores)
        return [*records, *agents]

    def plain(self) -> bytes:
        """Return all that streams were sent since they were opened."""
        return b"".join(self._news(name) for name in STREAMS)

    def news(self) -> list[Delivery]:
        """Return what streams were sent since they were opened, in order for each of them.

        Re-valuations, which are nobody's events, are left out.
        """
        known = self._buffered_ids()
        return [
            Delivery(name, event_type, data)
            for name in STREAMS
            for event_type, data, event_id in events_of(self._news(name))
            if event_type != "position:update" or "snapshot" in data or event_id in known
        ]

    def check_streams(self) -> None:
        """Check that every byte of every stream is a frame, with IDs that rise."""
        for connection in self.connections.values():
            ids = [event_id for *_, event_id in events_of(connection.plain()) if event_id]
            assert ids == sorted(set(ids))

    def reopen(self) -> bytes:
        """Open every stream anew, with its replay and snapshots, check it, and return its bytes."""
        for stream in STREAMS:
            self._open(stream)
        self.core.hub.flush()
        self.check_streams()
        return b"".join(connection.plain() for connection in self.connections.values())

    def _open(self, stream: str) -> None:
        self.connections[stream] = self.core.connect(request_for(stream, is_counted=False))
        self.core.hub.flush()

    def _news(self, stream: str) -> bytes:
        return self.connections[stream].plain()[self._opened[stream] :]

    def _buffered_ids(self) -> set[int]:
        user = self.core.hub.users.get("user-1")
        return set() if user is None else {event.id for event in user.buffer.events}


def events_of(plain: bytes) -> list[tuple[str, dict[str, Any], int | None]]:
    """Return type, payload and ID of the events of a stream, frame by frame.

    Every frame is what we write and nothing else, and a browser makes one event of it.
    """
    events: list[tuple[str, dict[str, Any], int | None]] = []
    *frames, rest = plain.split(b"\n\n")
    assert rest == b"", "a frame is complete"
    for frame in frames:
        if frame.startswith(b":"):
            assert frame == b": keepalive"
            continue
        match = _FRAME.fullmatch(frame + b"\n")
        assert match is not None, frame
        source = ReferenceEventSource()
        (event,) = source.feed(frame + b"\n\n")
        assert event.type == match[1].decode()
        assert "\n" not in event.data
        data = json.loads(event.data, parse_constant=_refuse_constant)
        assert isinstance(data, dict)
        event_id = None if match[3] is None else parse_event_id(match[3].decode())
        events.append((event.type, data, event_id))
    return events


def _refuse_constant(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")
