"""HTTP/1.1 and 1.0 on one connection, up to the moment a stream takes it over.

Endpoints answer at once, so requests are never in flight: a connection is reading a request or
idle. The work of one loop turn is bounded, reading is paused while answers are not taken, and
every complete request gets an answer (contract sections 4 and 6).

What is a request is `net.request_reader`, how a connection ends `net.closing`.
"""

import asyncio
from typing import Final, Protocol, cast

import h11

from sseserver.errors import RequestError
from sseserver.net.closing import LINGER_SECONDS, Closing
from sseserver.net.connections import Connections
from sseserver.net.exchange import Request, Response, StreamOpening, http_date
from sseserver.net.request_reader import RequestReader
from sseserver.wire.http_message import is_valid_correlation_id, parse_target, reason_phrase

MAX_REQUESTS_PER_TURN: Final = 16
"""Pipelined requests answered before other connections get their turn."""

FIRST_REQUEST_SECONDS: Final = 1.0
"""How long a drain waits for the first request of a connection: a browser whose connection is
closed without a byte repeats its request at once (field notes D3)."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Endpoints(Protocol):
    """What the protocol asks of the endpoints."""

    is_draining: bool
    """No connection is kept: answers end theirs."""

    def answer(self, request: Request) -> Response | StreamOpening:
        """Return the answer to a request; raises nothing."""
        ...

    def refuse(self, error: RequestError, correlation_id: str, origin: str | None) -> Response:
        """Return the answer to what could not be read as a request."""
        ...

    def open_stream(self, transport: asyncio.Transport, opening: StreamOpening) -> None:
        """Hand a connection over to a stream."""
        ...

    def new_correlation_id(self) -> str:
        """Return an ID for a request that brought none."""
        ...


class EndedHandshake(Protocol):
    """The handshake of a TLS connection."""

    def end(self) -> float:
        """Give its place away, and return how long it took, in seconds."""
        ...


class HttpProtocol(asyncio.Protocol):
    """Reads requests, writes answers.

    Args:
        endpoints: Answers requests.
        connections: Registers this connection; limits and timer wheel.
        handshake: Of TLS, which holds the place of this connection and counts for its first
            request (contract section 2); None for a plain one.
    """

    __slots__ = (
        "_closing",
        "_connections",
        "_deadline",
        "_endpoints",
        "_handshake",
        "_handshake_seconds",
        "_has_answered",
        "_is_done",
        "_is_paused",
        "_reader",
        "_started_at",
        "_transport",
        "timer_slot",
    )

    def __init__(
        self,
        endpoints: Endpoints,
        connections: Connections,
        handshake: EndedHandshake | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._connections = connections
        self._handshake = handshake
        self._handshake_seconds = 0.0
        self._reader = RequestReader()
        self._started_at: float | None = None  # of the request under way
        self._deadline = 0.0
        self._has_answered = False
        self._is_paused = False
        self._is_done = False  # nothing is read here any more: ended, lost or handed over
        self._closing: Closing | None = None
        self.timer_slot = -1

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._started_at is None

    # ---- called by the transport ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._handshake is not None:
            self._handshake_seconds = self._handshake.end()
        self._connections.register(self)
        self._connections.counters.connections_opened += 1
        self._wait_until(self._now() + self._first_request_seconds())

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self._is_done:
            return
        self._reader.feed(data)
        if self._started_at is None:
            self._started_at = self._now() - self._handshake_seconds
            self._handshake_seconds = 0.0
        self._read_requests()

    def eof_received(self) -> bool:
        """Let the transport close: nobody reads answers to requests that end half-way."""
        return False

    def pause_writing(self) -> None:
        """Stop to answer while answers are not taken, for as long as one may be idle."""
        self._is_paused = True
        if not self._is_done:
            self._transport.pause_reading()
            self._wait_until(self._now() + self._connections.server.http_idle_seconds)

    def resume_writing(self) -> None:
        """Go on with the requests that have arrived."""
        self._is_paused = False
        if not self._is_done:
            if self._started_at is not None:  # reading was paused: the time was not the peer's
                self._started_at = self._now()
            self._transport.resume_reading()
            self._read_requests()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._forget()

    # ---- called by the timer wheel, the roster and the drain ----

    def on_timer(self, now: float) -> float | None:
        """Answer 408 to a request that takes too long, end what is idle or does not read."""
        if self._closing is not None:
            return self._closing.look(now)
        if now < self._deadline:
            return self._deadline
        if self._is_paused:
            self.drop()
        elif self._started_at is None:
            self._close(now)
        else:
            self._refuse(RequestError(408, "The request did not arrive in time", is_framing=True))
        return None

    def drop(self) -> None:
        """Close at once."""
        self._forget()
        self._transport.abort()

    def close_when_idle(self) -> None:
        """Close a connection with no request; the endpoints end one under way, when draining."""
        if self._is_done or self._started_at is not None:
            return
        now = self._now()
        if self._has_answered:
            self._close(now)
        else:
            self._wait_until(now + self._first_request_seconds())

    # ---- requests ----

    def _read_requests(self) -> None:
        for _ in range(MAX_REQUESTS_PER_TURN):
            if self._is_done or self._is_paused:
                return
            try:
                if not self._reader.read(self._connections.server):
                    self._wait_for_more()
                    return
                request = self._request()
            except RequestError as error:
                self._refuse(error)
                continue
            self._answer(request)
        if self._reader.has_bytes and not self._is_done:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._is_done and not self._is_paused:
            self._transport.resume_reading()
            self._read_requests()

    def _request(self) -> Request:
        head = self._reader.head
        assert head is not None, "a request that is complete has a head"
        peer = self._transport.get_extra_info("peername")
        return Request(
            head.method.decode("ascii"),
            parse_target(head.target),
            self._reader.headers,
            self._reader.body,
            head.http_version != b"1.0",
            self._handshake is not None,
            str(peer[0]) if peer else "",
            self._correlation_id(),
        )

    def _answer(self, request: Request) -> None:
        self._connections.counters.requests += 1
        answer = self._endpoints.answer(request)
        if isinstance(answer, StreamOpening):
            self._forget()
            self._endpoints.open_stream(self._transport, answer)
        else:
            self._send(answer)

    def _refuse(self, error: RequestError) -> None:
        origin = self._reader.field("origin")
        self._send(self._endpoints.refuse(error, self._correlation_id(), origin))

    def _send(self, response: Response) -> None:
        """Write an answer, and be ready for the next request or end the connection."""
        headers = [
            *response.headers,
            ("Date", http_date(self._connections.clock.wall_ms() // 1000)),
        ]
        if response.status != 204:  # RFC 9110 section 8.6
            headers.append(("Content-Length", str(len(response.body))))
        if response.closes:
            headers.append(("Connection", "close"))
        reader = self._reader
        head = h11.Response(
            status_code=response.status, reason=reason_phrase(response.status), headers=headers
        )
        data = reader.h11.send(head) or b""
        if reader.head is None or reader.head.method != b"HEAD":
            data += reader.h11.send(h11.Data(data=response.body)) or b""
        reader.h11.send(h11.EndOfMessage())
        self._transport.write(data)
        self._has_answered = True
        if reader.h11.our_state is h11.MUST_CLOSE:
            self._close(self._now())
        else:
            reader.next()
            self._started_at = self._now() if reader.has_bytes else None

    # ---- the end, and time ----

    def _close(self, now: float) -> None:
        """End the connection, so that the peer receives what was written."""
        self._is_done = True
        self._reader.clear()
        self._transport.resume_reading()
        self._closing = Closing(self._transport, now)
        self._connections.wheel.schedule(self, now + LINGER_SECONDS)

    def _first_request_seconds(self) -> float:
        if self._endpoints.is_draining:
            return FIRST_REQUEST_SECONDS
        return self._connections.server.http_idle_seconds

    def _wait_for_more(self) -> None:
        server = self._connections.server
        if self._reader.take_expectation():
            self._transport.write(_CONTINUE)
        if self._started_at is None:
            self._wait_until(self._now() + server.http_idle_seconds)
        else:
            self._wait_until(self._started_at + server.header_timeout_seconds)

    def _wait_until(self, deadline: float) -> None:
        if self.timer_slot < 0 or deadline < self._deadline:
            self._connections.wheel.schedule(self, deadline)
        self._deadline = deadline

    def _now(self) -> float:
        return self._connections.clock.monotonic()

    def _forget(self) -> None:
        self._is_done = True
        self._connections.http.discard(self)
        self._connections.wheel.cancel(self)

    def _correlation_id(self) -> str:
        named = self._reader.field("x-correlation-id")
        if named is not None and is_valid_correlation_id(named):
            return named
        return self._endpoints.new_correlation_id()
