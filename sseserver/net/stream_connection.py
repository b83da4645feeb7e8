"""One open stream on a transport.

After the response head no HTTP parser is needed: what the peer still sends is counted and
discarded. Writes go from the audience straight to the transport; this protocol only
translates the transport's callbacks.
"""

import asyncio
from typing import Final, cast

import structlog

from sseserver.errors import CloseReason
from sseserver.hub.connection_limit import LEAVE_SECONDS
from sseserver.hub.streams import Streams
from sseserver.hub.subscription import StreamRequest, Subscription
from sseserver.net.closing import LINGER_SECONDS, USUAL_PATIENCE, Closing, Patience
from sseserver.net.connections import Connections
from sseserver.net.socket_options import OptionSocket, progress_of
from sseserver.state.sessions import Sessions

MAX_DISCARDED_BYTES: Final = 65_536
"""Request bytes on an open stream past this end it (contract section 4)."""

_CHECKS_PER_IDLE: Final = 4
_MAX_CHECK_SECONDS: Final = 30.0
"""Peer and session are looked at this often at least: an expiry is wall-clock time, which may
jump."""

_FAILURES: Final = frozenset(
    {CloseReason.WRITE_FAILED, CloseReason.SLOW_CONSUMER, CloseReason.IDLE}
)
"""Ends at which the peer may lack events that it was owed."""

_log = structlog.get_logger()


class StreamConnection(asyncio.Protocol):
    """The sink of one subscription, and an entry of the timer wheel.

    Args:
        transport: Where the stream is written.
        connections: Registers open connections, and holds what they share.
        streams: Opens and ends streams.
        sessions: Says until when the stream's session is valid.
    """

    __slots__ = (
        "_acknowledged",
        "_closing",
        "_connections",
        "_discarded_bytes",
        "_opened_at",
        "_reason",
        "_sessions",
        "_streams",
        "_taken_at",
        "_transport",
        "is_paused",
        "subscription",
        "timer_slot",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: Connections,
        streams: Streams,
        sessions: Sessions,
    ) -> None:
        self._transport = transport
        self._connections = connections
        self._streams = streams
        self._sessions = sessions
        self._opened_at = self._taken_at = connections.clock.monotonic()
        self._acknowledged = 0
        self._discarded_bytes = 0
        self._reason: CloseReason | None = None
        self._closing: Closing | None = None
        self.subscription: Subscription | None = None
        self.is_paused = False
        self.timer_slot = -1

    def open(self, request: StreamRequest, head: bytes) -> None:
        """Take the transport over and open the stream on it."""
        limits = self._streams.limits
        self._transport.set_write_buffer_limits(
            high=limits.max_backlog_bytes // 2, low=limits.max_backlog_bytes // 8
        )
        self._transport.set_protocol(self)
        self._connections.streams.add(self)
        self.subscription = self._streams.open(request, self, self._transport.write, head)
        self.rearm()
        _log.info(
            "client_connected",
            client_id=self.subscription.client_id,
            correlation_id=request.correlation_id,
            stream=request.stream,
            user_id=request.user_id,
            encoding=request.encoding,
            peer=self._peer(),
        )

    def rearm(self) -> None:
        """Schedule the next look at the peer and at the session."""
        self._connections.wheel.schedule(self, self._next_look(self._connections.clock.monotonic()))

    def data_received(self, data: bytes) -> None:
        """Discard what the peer sends on an open stream, within a bound."""
        self._discarded_bytes += len(data)
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.abort(CloseReason.INPUT_FLOOD)

    def pause_writing(self) -> None:
        """Note that the peer does not take what it is sent."""
        self.is_paused = True
        if self.subscription is not None:
            self._streams.note_paused(self.subscription)

    def resume_writing(self) -> None:
        """Go on: the transport has drained."""
        self.is_paused = False
        if self.subscription is not None and self._reason is None:
            self._streams.resume(self.subscription)

    def finish(self, tail: bytes, reason: CloseReason) -> None:
        """Write the last bytes and end the connection, so that the peer receives them."""
        now = self._connections.clock.monotonic()
        self._reason = reason
        self._discarded_bytes = 0
        self._transport.write(tail)
        self._closing = Closing(self._transport, now, self._patience(reason))
        self._connections.wheel.schedule(self, now + LINGER_SECONDS)

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what was not sent is lost."""
        if self._reason is None:
            self._reason = reason
        if self.subscription is not None:
            self._streams.leave(self.subscription)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the stream."""
        connections = self._connections
        connections.streams.discard(self)
        connections.wheel.cancel(self)
        subscription = self.subscription
        assert subscription is not None, "a stream is opened when its protocol is set"
        self._streams.leave(subscription)
        if self._reason is None:
            # A reset is how a browser leaves that had not read everything: no fault of delivery.
            has_left = exc is None or isinstance(exc, ConnectionResetError)
            self._reason = CloseReason.CLIENT_LEFT if has_left else CloseReason.WRITE_FAILED
        if self._reason in _FAILURES:
            connections.counters.failed_deliveries += 1
            _log.error(
                "delivery_failed",
                client_id=subscription.client_id,
                correlation_id=subscription.request.correlation_id,
                reason=self._reason,
                error=None if exc is None else str(exc),
            )
        closed = connections.counters.streams_closed
        closed[self._reason] = closed.get(self._reason, 0) + 1
        _log.info(
            "client_disconnected",
            client_id=subscription.client_id,
            correlation_id=subscription.request.correlation_id,
            reason=self._reason,
            seconds=round(connections.clock.monotonic() - self._opened_at, 3),
        )

    def on_timer(self, now: float) -> float | None:
        """End the stream when its session or its peer has expired."""
        if self._closing is not None:
            return self._closing.look(now)
        subscription = self.subscription
        assert subscription is not None, "a stream is opened when its protocol is set"
        key = subscription.request.session_key
        if key is not None and self._sessions.get(key, self._connections.clock.wall_ms()) is None:
            self._streams.expire(subscription)
            return None
        if self._is_stale(now):
            self.abort(CloseReason.IDLE)
            return None
        return self._next_look(now)

    def _next_look(self, now: float) -> float:
        idle_seconds = self._connections.stream.idle_timeout_seconds
        look = now + min(_MAX_CHECK_SECONDS, idle_seconds / _CHECKS_PER_IDLE)
        subscription = self.subscription
        key = None if subscription is None else subscription.request.session_key
        if key is not None:
            wall_ms = self._connections.clock.wall_ms()
            session = self._sessions.get(key, wall_ms)
            if session is None:
                return now
            if session.expires_at_ms is not None:
                left = (session.expires_at_ms - wall_ms) / 1000
                look = min(look, now + left)
        return look

    def _patience(self, reason: CloseReason) -> Patience:
        match reason:
            case CloseReason.SHUTDOWN:  # a drain has a time of its own
                seconds = max(LINGER_SECONDS, self._connections.server.drain_seconds)
                return Patience(seconds, seconds)
            case CloseReason.CONNECTION_LIMIT:  # its place is needed
                return Patience(seconds=LEAVE_SECONDS)
            case _:
                return USUAL_PATIENCE

    def _is_stale(self, now: float) -> bool:
        """Tell whether the peer took nothing for the idle timeout while something waited.

        Source: contract section 5, "Activity on a stream is bytes taken by the peer".
        """
        sock = cast("OptionSocket | None", self._transport.get_extra_info("socket"))
        progress = None if sock is None else progress_of(sock)
        if progress is None:
            return False
        is_waiting = progress.waiting_bytes or self._transport.get_write_buffer_size()
        if progress.acknowledged_bytes != self._acknowledged or not is_waiting:
            self._acknowledged = progress.acknowledged_bytes
            self._taken_at = now
        return now - self._taken_at >= self._connections.stream.idle_timeout_seconds

    def _peer(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else ""
