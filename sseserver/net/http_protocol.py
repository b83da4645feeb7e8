"""HTTP/1.1 and 1.0 on one connection, up to the moment a stream takes it over.

Each head is checked raw before h11 sees it (`wire.request_head`), and h11 is fed one request at
a time: what follows stays in our buffer, so that a pipelined request is checked like the first.
Endpoints answer at once, so requests are never in flight: a connection is reading a request or
idle.

The work of one loop turn is bounded, reading is paused while answers are not taken, and every
complete request gets an answer (contract sections 4 and 6).
"""

import asyncio
import time
from email.utils import formatdate
from typing import Final, Protocol, cast

import h11

from sseserver.errors import RequestError
from sseserver.net.connections import Connections
from sseserver.net.exchange import Request, Response, StreamOpening
from sseserver.net.socket_options import OptionSocket, set_client_options
from sseserver.wire.http_message import is_valid_correlation_id, parse_target
from sseserver.wire.request_head import check_head, check_head_so_far

MAX_REQUESTS_PER_TURN: Final = 16
"""Pipelined requests answered before other connections get their turn."""

LINGER_SECONDS: Final = 2.0
"""How long a peer may go on sending after an answer that ends the connection."""

_OVERHEAD_BYTES: Final = 16_384
"""Chunk sizes, extensions and trailers of one chunked body, in all."""

_END_OF_HEAD: Final = b"\r\n\r\n"


class Endpoints(Protocol):
    """What the protocol asks of the endpoints."""

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


class HttpProtocol(asyncio.Protocol):
    """Reads requests, writes answers.

    Args:
        endpoints: Answers requests.
        connections: Registers this connection; limits and timer wheel.
        is_tls: Whether the transport is encrypted.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_connections",
        "_deadline",
        "_endpoints",
        "_expected_bytes",
        "_h11",
        "_head",
        "_is_closing",
        "_is_paused",
        "_is_tls",
        "_raw_body_bytes",
        "_scanned",
        "_started_at",
        "_transport",
        "timer_slot",
    )

    def __init__(self, endpoints: Endpoints, connections: Connections, *, is_tls: bool) -> None:
        self._endpoints = endpoints
        self._connections = connections
        self._is_tls = is_tls
        self._buffer = bytearray()
        self._scanned = 0
        self._h11 = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._raw_body_bytes = 0
        self._expected_bytes: int | None = None
        self._started_at: float | None = None
        self._deadline = 0.0
        self._is_closing = False
        self._is_paused = False
        self.timer_slot = -1

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        return self._started_at is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        sock = cast("OptionSocket | None", transport.get_extra_info("socket"))
        if sock is not None:
            set_client_options(sock)
        self._connections.register(self)
        self._wait_until(time.monotonic() + self._connections.server.http_idle_seconds)

    def data_received(self, data: bytes) -> None:
        """Take bytes of requests."""
        if self._is_closing:
            return
        self._buffer += data
        if self._started_at is None:
            self._started_at = time.monotonic()
        self._read_requests()

    def eof_received(self) -> bool:
        """Let the transport close: nobody reads answers to requests that end half-way."""
        return False

    def pause_writing(self) -> None:
        """Stop to answer while answers are not taken."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with the requests that have arrived."""
        self._is_paused = False
        if not self._is_closing:
            self._transport.resume_reading()
            self._read_requests()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._is_closing = True
        self._forget()

    def on_timer(self, now: float) -> float | None:
        """Answer 408 to a request that takes too long, close what is idle or lingers."""
        if now < self._deadline:
            return self._deadline
        if self._is_closing or self._started_at is None:
            self._transport.abort() if self._is_closing else self._transport.close()
            return None
        self._refuse(RequestError(408, "The request did not arrive in time", is_framing=True))
        return None

    def drop(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._transport.abort()

    def close_when_idle(self) -> None:
        """Close a connection with no request; one under way is answered and then closed."""
        if self._started_at is None:
            self._is_closing = True
            self._transport.close()

    def _read_requests(self) -> None:
        for _ in range(MAX_REQUESTS_PER_TURN):
            if self._is_closing or self._is_paused:
                return
            try:
                request = self._next_request()
            except RequestError as error:
                self._refuse(error)
                continue
            if request is None:
                self._wait_for_more()
                return
            self._answer(request)
        if self._buffer and not self._is_closing:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._is_closing and not self._is_paused:
            self._transport.resume_reading()
            self._read_requests()

    def _next_request(self) -> Request | None:
        """Return the next complete request, or None when bytes are missing.

        Raises:
            RequestError: It can never become one that is answered.
        """
        if self._head is None:
            self._read_head()
            if self._head is None:
                return None
        try:
            if not self._read_body():
                return None
        except h11.RemoteProtocolError as error:
            raise _framing_error(error) from error
        return self._complete()

    def _read_head(self) -> None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        max_bytes = self._connections.server.max_header_bytes
        end = buffer.find(_END_OF_HEAD, max(0, self._scanned - 3))
        if end < 0:
            check_head_so_far(buffer, self._scanned)
            self._scanned = len(buffer)
        size = len(buffer) if end < 0 else end + len(_END_OF_HEAD)
        if size > max_bytes:
            line_end = buffer.find(b"\r\n")
            if not 0 <= line_end <= max_bytes:
                raise RequestError(414, "The request line is too long", is_framing=True)
            raise RequestError(431, "The request head is too large", is_framing=True)
        if end < 0:
            return
        head = bytes(buffer[:size])
        check_head(head)
        del buffer[:size]
        self._scanned = 0
        try:
            self._h11.receive_data(head)
            event = self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise _framing_error(error) from error
        assert isinstance(event, h11.Request), "a complete head is a request"
        self._head = event
        self._begin_body(event)

    def _begin_body(self, head: h11.Request) -> None:
        length = next((value for name, value in head.headers if name == b"content-length"), None)
        self._expected_bytes = None if length is None else int(length)
        if self._expected_bytes is not None:
            self._check_body_size(self._expected_bytes)
        if self._h11.they_are_waiting_for_100_continue:
            informational = h11.InformationalResponse(status_code=100, headers=[])
            self._transport.write(self._h11.send(informational) or b"")

    def _read_body(self) -> bool:
        """Feed h11 what belongs to this request; True when it is complete."""
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Data):
                self._body += event.data
                self._check_body_size(len(self._body))
            elif isinstance(event, h11.EndOfMessage):
                self._buffer[:0] = self._h11.trailing_data[0]
                return True
            elif not self._feed_body():
                return False

    def _feed_body(self) -> bool:
        buffer = self._buffer
        size = len(buffer)
        if self._expected_bytes is not None:
            size = min(size, self._expected_bytes - self._raw_body_bytes)
        if not size:
            return False
        if self._raw_body_bytes > self._connections.server.max_body_bytes + _OVERHEAD_BYTES:
            raise RequestError(413, "The request body is too large", is_framing=True)
        self._raw_body_bytes += size
        self._h11.receive_data(bytes(buffer[:size]))
        del buffer[:size]
        return True

    def _check_body_size(self, size: int) -> None:
        if size > self._connections.server.max_body_bytes:
            raise RequestError(413, "The request body is too large", is_framing=True)

    def _complete(self) -> Request:
        head = self._head
        assert head is not None, "the head comes before the body"
        headers: dict[str, list[str]] = {}
        for name, value in head.headers:
            headers.setdefault(name.decode("ascii"), []).append(value.decode("latin-1"))
        peer = self._transport.get_extra_info("peername")
        return Request(
            head.method.decode("ascii"),
            parse_target(head.target),
            headers,
            bytes(self._body),
            head.http_version != b"1.0",
            self._is_tls,
            str(peer[0]) if peer else "",
            self._correlation_id(),
        )

    def _answer(self, request: Request) -> None:
        self._connections.counters.requests += 1
        answer = self._endpoints.answer(request)
        if isinstance(answer, StreamOpening):
            self._is_closing = True
            self._forget()
            self._endpoints.open_stream(self._transport, answer)
            return
        self._send(answer, is_head_request=request.method == "HEAD")
        if not self._is_closing:
            self._next_cycle()

    def _refuse(self, error: RequestError) -> None:
        origin = self._header(b"origin")
        response = self._endpoints.refuse(error, self._correlation_id(), origin)
        self._send(response)
        if not self._is_closing:
            self._next_cycle()

    def _send(self, response: Response, *, is_head_request: bool = False) -> None:
        headers = [
            *response.headers,
            ("Content-Length", str(len(response.body))),
            ("Date", formatdate(usegmt=True)),
        ]
        if response.closes:
            headers.append(("Connection", "close"))
        event = h11.Response(status_code=response.status, headers=headers)
        parts = [self._h11.send(event)]
        if response.body and not is_head_request:
            parts.append(self._h11.send(h11.Data(data=response.body)))
        parts.append(self._h11.send(h11.EndOfMessage()))
        self._transport.write(b"".join(part for part in parts if part))
        if response.closes or self._h11.our_state is h11.MUST_CLOSE:
            self._linger()

    def _linger(self) -> None:
        """Half-close and read on for a moment, so that no reset overtakes the answer."""
        self._is_closing = True
        self._buffer.clear()
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._wait_until(time.monotonic() + LINGER_SECONDS)
        else:
            self._transport.close()

    def _next_cycle(self) -> None:
        self._h11 = h11.Connection(h11.SERVER)
        self._head = None
        self._body.clear()
        self._raw_body_bytes = 0
        self._started_at = time.monotonic() if self._buffer else None

    def _wait_for_more(self) -> None:
        server = self._connections.server
        if self._started_at is None:
            self._wait_until(time.monotonic() + server.http_idle_seconds)
        else:
            self._wait_until(self._started_at + server.header_timeout_seconds)

    def _wait_until(self, deadline: float) -> None:
        if self.timer_slot < 0 or deadline < self._deadline:
            self._connections.wheel.schedule(self, deadline)
        self._deadline = deadline

    def _forget(self) -> None:
        self._connections.http.discard(self)
        self._connections.wheel.cancel(self)

    def _header(self, name: bytes) -> str | None:
        if self._head is None:
            return None
        return next(
            (value.decode("latin-1") for key, value in self._head.headers if key == name), None
        )

    def _correlation_id(self) -> str:
        named = self._header(b"x-correlation-id")
        if named is not None and is_valid_correlation_id(named):
            return named
        return self._endpoints.new_correlation_id()


def _framing_error(error: h11.RemoteProtocolError) -> RequestError:
    return RequestError(error.error_status_hint, str(error), is_framing=True)
