"""What all client connections share: who is open, the timer wheel, settings that may change."""

import sys
import time
from typing import Final, Protocol

from sseserver.clock import Clock
from sseserver.config import ServerConfig, StreamConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.metrics import Counters
from sseserver.net.roster import Roster

_MIN_REQUEST_ROOM: Final = 64


class MachineClock:
    """The clocks of the machine (`sseserver.clock.Clock`)."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def wall_ms() -> int:
        """Return milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class HttpConnection(Protocol):
    """A connection that carries requests, not a stream."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        ...

    def drop(self) -> None:
        """Close at once, and leave the roster before this returns."""
        ...

    def close_when_idle(self) -> None:
        """Close a connection with no request under way."""
        ...


class Connections:
    """The open connections of the process.

    Attributes:
        http: Connections without a stream.
        streams: Connections that carry a stream, whether live or being closed.
        wheel: Every deadline.
        clock: The time they are measured in.
        server: Limits of HTTP connections.
        stream: Timings of streams.
        capacity: Connections of both kinds that the process has descriptors for.
    """

    def __init__(
        self,
        server: ServerConfig,
        stream: StreamConfig,
        wheel: TimerWheel,
        counters: Counters,
        clock: Clock = MachineClock,
        capacity: int = sys.maxsize,
    ) -> None:
        self.server = server
        self.stream = stream
        self.wheel = wheel
        self.counters = counters
        self.clock = clock
        self.capacity = capacity
        self._dropped = 0
        self.http: Roster[HttpConnection] = Roster()
        self.streams: Roster[object] = Roster()

    def register(self, connection: HttpConnection) -> None:
        """Note a new connection; past the room for requests the oldest idle one goes.

        Streams have `max_connections`; beside them there is room for as many connections
        that are only asking, as far as the descriptors go, so that a refusal can always be
        given (contract section 4; `net.descriptors`).
        """
        room = max(_MIN_REQUEST_ROOM, self.server.max_connections)
        if len(self.http) >= min(room, self.capacity - len(self.streams)):
            oldest = self.http.first(lambda one: one.is_idle) or self.http.first(lambda _: True)
            if oldest is not None:
                self._dropped += 1
                oldest.drop()
        self.http.add(connection)

    def take_dropped(self) -> int:
        """Return how many connections had to make room since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped
