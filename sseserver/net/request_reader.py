"""Bytes of a connection to requests, one at a time; no I/O here.

Each head is checked raw before h11 sees it (`wire.request_head`), and what follows a request
stays in our buffer, so that a pipelined one is checked like the first. h11 reads heads only;
bodies are `wire.request_body`.
"""

import re
from typing import Final

import h11

from sseserver.config import ServerConfig
from sseserver.errors import RequestError
from sseserver.wire.request_body import ChunkedBody, RequestBody, SizedBody
from sseserver.wire.request_head import check_head, check_head_so_far, field_so_far

_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)++")
_END_OF_HEAD: Final = b"\r\n\r\n"


class RequestReader:
    """Reads the requests of one connection.

    Attributes:
        h11: The connection's state for the request under way, with which it is answered.
        head: Of the request under way, once it is there.
        headers: Its fields: values by lower-case name, in their order.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_passed_over",
        "_scanned",
        "_wants_continue",
        "h11",
        "head",
        "headers",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._passed_over = 0  # bytes of empty lines before the head
        self._scanned = 0
        self._body: RequestBody | None = None
        self._wants_continue = False
        self.h11 = h11.Connection(h11.SERVER)
        self.head: h11.Request | None = None
        self.headers: dict[str, list[str]] = {}

    @property
    def has_bytes(self) -> bool:
        """Whether something follows the request that was read last."""
        return bool(self._buffer)

    @property
    def body(self) -> bytes:
        """What the body of the request holds."""
        return b"" if self._body is None else bytes(self._body.data)

    def field(self, name: str) -> str | None:
        """Return the first field of that name, of a head that is refused as far as it is sure.

        Args:
            name: In lower case.
        """
        if self.head is None:
            return field_so_far(self._buffer, name.encode("ascii"))
        values = self.headers.get(name)
        return None if values is None else values[0]

    def feed(self, data: bytes) -> None:
        """Take bytes in."""
        self._buffer += data

    def read(self, limits: ServerConfig) -> bool:
        """Go on with the request under way; whether it is complete.

        Raises:
            RequestError: It can never become one that is answered.
        """
        if self.head is None and not self._read_head(limits):
            return False
        if self._body is None:
            return True
        is_complete = self._body.take(self._buffer)
        if is_complete or self._body.data:
            self._wants_continue = False
        return is_complete

    def take_expectation(self) -> bool:
        """Return, once, whether the client waits for 100 before it sends the body."""
        wants_continue, self._wants_continue = self._wants_continue, False
        return wants_continue

    def next(self) -> None:
        """Be ready for the next request."""
        self.h11 = h11.Connection(h11.SERVER)
        self.head = None
        self._body = None
        self._wants_continue = False

    def clear(self) -> None:
        """Drop what has arrived: nothing of it will be answered."""
        self._buffer.clear()

    def _read_head(self, limits: ServerConfig) -> bool:
        buffer = self._buffer
        empty = _EMPTY_LINES.match(buffer)  # RFC 9112 section 2.2
        if empty is not None:
            del buffer[: empty.end()]
            self._passed_over += empty.end()
            self._scanned = 0
        end = buffer.find(_END_OF_HEAD, max(0, self._scanned - 3))
        size = len(buffer) if end < 0 else end + len(_END_OF_HEAD)
        room = limits.max_header_bytes - self._passed_over
        if size > room:  # judged by the first byte too many, however many came with it
            check_head_so_far(buffer[: max(0, room + 1)], self._scanned)
            raise _too_large(buffer, limits.max_header_bytes)
        if end < 0:
            check_head_so_far(buffer, self._scanned)
            self._scanned = size
            return False
        head = bytes(buffer[:size])
        check_head(head)
        self._parse(head, limits.max_body_bytes)
        del buffer[:size]
        self._passed_over = self._scanned = 0
        return True

    def _parse(self, head: bytes, max_body_bytes: int) -> None:
        try:
            self.h11.receive_data(head)
            event = self.h11.next_event()
        except h11.RemoteProtocolError as error:
            raise RequestError(error.error_status_hint, str(error), is_framing=True) from error
        assert isinstance(event, h11.Request), "a complete head is a request"
        self.head = event
        headers: dict[str, list[str]] = {}
        for name, value in event.headers.raw_items():
            headers.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))
        self.headers = headers
        if "content-length" in headers:
            self._body = SizedBody(int(headers["content-length"][0]), max_body_bytes)
        elif "transfer-encoding" in headers:
            self._body = ChunkedBody(max_body_bytes)
        self._wants_continue = self._body is not None and self.h11.they_are_waiting_for_100_continue


def _too_large(buffer: bytearray, max_bytes: int) -> RequestError:
    # The CR is enough: its LF may still be on its way.
    is_line_too_long = len(buffer) > max_bytes and buffer.find(b"\r", 0, max_bytes + 1) < 0
    if is_line_too_long:
        return RequestError(414, "The request line is too long", is_framing=True)
    return RequestError(431, "The request head is too large", is_framing=True)
