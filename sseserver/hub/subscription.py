"""One open stream as the core sees it: what it wants, how far it is, how to write to it."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sseserver.errors import CloseReason
from sseserver.events import Event, JsonObject
from sseserver.wire.compression import GzipTrailer

if TYPE_CHECKING:
    from sseserver.delivery.audience import Audience


_NO_END: Final = 1 << 128
"""Later than any ID that is ever given out."""


class Sink(Protocol):
    """The connection under a subscription: a transport, or a fake in tests."""

    is_paused: bool
    """Whether the transport holds more than its high-water mark."""

    def finish(self, tail: bytes, reason: CloseReason) -> None:
        """Write the last bytes, then close so that the peer receives them."""
        ...

    def rearm(self) -> None:
        """Look at the session's expiry again: it has changed."""
        ...

    def abort(self, reason: CloseReason) -> None:
        """Close at once, and leave the streams before this returns; what was not sent is lost."""
        ...


class StreamRequest(NamedTuple):
    """What a client asked for, after all checks.

    Attributes:
        stream: Name of the stream: `orders`, `strategies/s-1`.
        routes: What the stream carries, as in `Event.route`.
        user_id: Whose private events; None on the price stream.
        symbols: Narrows the price stream; None for all.
        encoding: `identity`, `gzip` or `zstd`.
        is_chunked: HTTP/1.1 framing.
        is_counted: Whether it counts against the user's connection limit (authenticated).
        session_key: Digest of the session that vouches for it.
        last_event_id: Where the client wants to resume.
        wants_replay: False for `?replay=0`.
        correlation_id: Of the HTTP request.
    """

    stream: str
    routes: frozenset[str]
    user_id: str | None
    symbols: frozenset[str] | None
    encoding: str
    is_chunked: bool
    is_counted: bool
    session_key: bytes | None
    last_event_id: int | None
    wants_replay: bool
    correlation_id: str


class Farewell(NamedTuple):
    """How a stream ends: why, and with which event, if any."""

    reason: CloseReason
    event_type: str | None = None
    payload: JsonObject | None = None
    retry_ms: int | None = None


class Subscription:
    """A stream that is open; a member of its audience, or parked.

    `last_id` is the ID up to which everything was handed to the transport, `held` the facts
    that left the replay buffer while this connection still lacked them. Once it is to end, it
    is owed what came before `end_id`, and then its `farewell`. `head` is what stands before
    its first bytes, empty once they are written.
    """

    __slots__ = (
        "audience",
        "client_id",
        "end_id",
        "farewell",
        "first_id",
        "has_unsent_event",
        "head",
        "held",
        "is_open",
        "is_parked",
        "last_id",
        "needs_snapshot",
        "owed_bytes",
        "request",
        "sink",
        "trailer",
        "write",
    )

    def __init__(
        self,
        request: StreamRequest,
        client_id: str,
        sink: Sink,
        write: Callable[[bytes], None],
        head: bytes = b"",
    ) -> None:
        self.request = request
        self.client_id = client_id
        self.sink = sink
        self.write = write
        self.head = head
        self.trailer = GzipTrailer() if request.encoding == "gzip" else None
        self.audience: Audience | None = None
        self.farewell: Farewell | None = None
        self.end_id = _NO_END
        self.first_id = 0
        self.last_id = 0
        self.held: deque[Event] | None = None
        self.owed_bytes = 0
        self.has_unsent_event = False
        self.is_open = True
        self.is_parked = False
        self.needs_snapshot = True

    def write_alone(self, data: bytes) -> None:
        """Write what no other stream is sent; the first of it in one piece with the head."""
        if self.head:
            data, self.head = self.head + data, b""
        self.write(data)

    def lacks(self, event: Event) -> bool:
        """Return whether an event of its user is owed to it and has not been handed over."""
        return self.last_id < event.id < self.end_id and event.route in self.request.routes

    def hold(self, event: Event) -> None:
        """Keep a fact that leaves the replay buffer before this connection has it."""
        if self.held is None:
            self.held = deque()
        self.held.append(event)

    def owe(self, size_bytes: int) -> int:
        """Count a fact that cannot be written yet, and return what is owed in bytes.

        One event may always be in flight, whatever its size, so the first is not counted.
        """
        if self.has_unsent_event:
            self.owed_bytes += size_bytes
        self.has_unsent_event = True
        return self.owed_bytes

    def forgive(self) -> None:
        """Owe nothing any more."""
        self.owed_bytes = 0
        self.has_unsent_event = False
