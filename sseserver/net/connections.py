"""What all client connections share: who is open, the timer wheel, settings that may change."""

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
    """

    def __init__(
        self,
        server: ServerConfig,
        stream: StreamConfig,
        wheel: TimerWheel,
        counters: Counters,
        clock: Clock = MachineClock,
    ) -> None:
        self.server = server
        self.stream = stream
        self.wheel = wheel
        self.counters = counters
        self.clock = clock
        self.http: Roster[HttpConnection] = Roster()
        self.streams: Roster[object] = Roster()

    def register(self, connection: HttpConnection) -> None:
        """Note a new connection; past the room for requests the oldest idle one goes.

        Streams have `max_connections`; beside them there is room for as many connections
        that are only asking, so that a refusal can always be given (contract section 4).
        """
        self.counters.connections_opened += 1
        room = max(_MIN_REQUEST_ROOM, self.server.max_connections)
        if len(self.http) >= room:
            waiting = list(self.http)
            next((one for one in waiting if one.is_idle), waiting[0]).drop()
        self.http.add(connection)
