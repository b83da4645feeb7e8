"""A request and what is answered: the values that pass between protocol and endpoints."""

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from sseserver.events import JsonObject
from sseserver.hub.subscription import StreamRequest
from sseserver.wire.http_message import Target, error_body

CORRELATION_HEADER: Final = "X-Correlation-ID"

_NOT_STORED: Final = ("Cache-Control", "no-store")


class Request(NamedTuple):
    """One complete HTTP request.

    Attributes:
        method: As sent.
        target: Decoded path and query.
        headers: Values by lower-case name, in order.
        body: The whole body.
        is_http_1_1: False for HTTP/1.0.
        is_tls: Whether the connection is encrypted here.
        peer: Address of the other end of the connection.
        correlation_id: The client's, or one of ours.
    """

    method: str
    target: Target
    headers: Mapping[str, Sequence[str]]
    body: bytes
    is_http_1_1: bool
    is_tls: bool
    peer: str
    correlation_id: str

    def header(self, name: str) -> str | None:
        """Return a header; several of one name are joined as one list (RFC 9110 5.3)."""
        values = self.headers.get(name)
        return ", ".join(values) if values else None

    @property
    def host(self) -> str | None:
        """Return the authority the client meant: the target's before `Host` (RFC 9112 3.2.2)."""
        return self.target.authority or self.header("host")

    def query(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        values = self.target.query.get(name)
        return values[0] if values else None


class Response(NamedTuple):
    """A whole answer; the protocol adds framing and `Date`.

    With `closes` the connection ends after it.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    closes: bool = False


class StreamOpening(NamedTuple):
    """The request is accepted as a stream: its head is written, and HTTP ends."""

    request: StreamRequest
    head: bytes


@lru_cache(maxsize=1)
def http_date(epoch_seconds: int) -> str:
    """Return the value of `Date`, made once a second (RFC 9110 section 5.6.7)."""
    return formatdate(epoch_seconds, usegmt=True)


def json_response(status: int, payload: JsonObject) -> Response:
    """Return a JSON answer."""
    return Response(
        status, (("Content-Type", "application/json"), _NOT_STORED), orjson.dumps(payload)
    )


def error_response(
    status: int, message: str, headers: Sequence[tuple[str, str]] = (), *, closes: bool = False
) -> Response:
    """Return an error in the specification's JSON shape."""
    return Response(
        status,
        (*headers, ("Content-Type", "application/json"), _NOT_STORED),
        error_body(status, message),
        closes,
    )
