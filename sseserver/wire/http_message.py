"""Parts of a request as values (target, cookies, correlation ID), and the body of an error.

The raw head is checked in `request_head`, addresses are in `client_address`, `Host` is in
`authority`, `Origin` in `cors`, `Accept` and `Accept-Encoding` in `negotiation`.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from sseserver.errors import RequestError
from sseserver.wire.authority import parse_authority

# Absolute-form is for proxies, but a server must take it too (RFC 9112 section 3.2.2).
_TARGET: Final = re.compile(
    rb"(?:(?i:https?)://(?P<authority>[^/?#]++))?+"
    rb"(?P<path>/[^?#]*+)?+"
    rb"(?:\?(?P<query>[^#]*+))?+"
)
_PRINTABLE: Final = re.compile(rb"[\x21-\x7e]++")
_BROKEN_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_NEVER_AN_ERROR: Final = "lastEventId"
"""A browser gives up for good on an error status, so nothing this parameter holds may be a
reason for one (contract section 4)."""

_CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

_RENAMED: Final = {413: "Content Too Large", 414: "URI Too Long"}
"""Phrases of RFC 9110 where the standard library still has older ones."""


class Target(NamedTuple):
    """What a request asks for.

    `segments` are those of the path, what is between its slashes, each percent-decoded by
    itself: a slash in one was sent as `%2F` and is a character of a name like any other. For
    `OPTIONS *` there are none. `query` is decoded too and has all values of each parameter in
    their order. `authority` is the `host[:port]` of an absolute-form target: where it is not
    None it stands in place of `Host`, which must then be ignored (RFC 9112 section 3.2.2).
    """

    segments: tuple[str, ...]
    query: Mapping[str, tuple[str, ...]]
    authority: str | None = None

    @property
    def path(self) -> str:
        """Return the decoded path as people read it; it does not tell `%2F` from a slash."""
        return "/" + "/".join(self.segments) if self.segments else "*"


def parse_target(raw: bytes) -> Target:
    """Return the parts of a request target in origin-form, absolute-form or asterisk-form.

    Dot segments are not resolved: `..` is a name like any other. In the query `+` is a space,
    as forms and `URLSearchParams` write it.

    Raises:
        RequestError: 400 for anything else, for a broken percent escape and for text that is
            not UTF-8, the value of `lastEventId` excepted.

    Source: RFC 9112 section 3.2; RFC 3986 section 2.1; WHATWG URL 5.1 for the query.
    """
    if raw == b"*":
        return Target((), {})
    match = _TARGET.fullmatch(raw)
    if match is None or _PRINTABLE.fullmatch(raw) is None:
        raise RequestError(400, "Malformed request target")
    authority, path, query = match.groups()
    if authority is None:
        if path is None:
            raise RequestError(400, "Malformed request target")
        host = None
    else:
        host = authority.decode("ascii")
        if parse_authority(host) is None:
            raise RequestError(400, "Malformed host in the request target")
    segments = (path or b"/")[1:].split(b"/")
    return Target(tuple(map(_percent_decoded, segments)), _parse_query(query or b""), host)


def cookie_value(cookie_headers: Sequence[str], name: str) -> str | None:
    """Return the value of the first cookie of that name, without its quotes.

    Browsers send the cookie with the longest path first, so the first is the one meant
    (RFC 6265 section 5.4). What is not `name=value` is passed over. Names are case-sensitive.

    Args:
        cookie_headers: Values of all `Cookie` fields, in their order.
        name: `auth.cookie_name`.
    """
    for header in cookie_headers:
        for pair in header.split(";"):
            found, separator, value = pair.partition("=")
            if separator and found.strip(" \t") == name:
                value = value.strip(" \t")
                is_quoted = len(value) >= 2 and value[0] == value[-1] == '"'
                return value[1:-1] if is_quoted else value
    return None


def is_valid_correlation_id(text: str) -> bool:
    """Return whether a client's `X-Correlation-ID` is kept (contract section 4)."""
    return _CORRELATION_ID.fullmatch(text) is not None


def reason_phrase(status: int) -> str:
    """Return the phrase of an HTTP status (RFC 9110 section 15).

    Raises:
        ValueError: There is no such status.
    """
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def error_body(status: int, message: str) -> bytes:
    """Return the JSON body of an error (specification, "Error Handling")."""
    return orjson.dumps({"error": reason_phrase(status), "message": message, "statusCode": status})


def _parse_query(raw: bytes) -> dict[str, tuple[str, ...]]:
    query: dict[str, list[str]] = {}
    for pair in raw.replace(b"+", b" ").split(b"&"):
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition(b"=")
        name = _percent_decoded(raw_name)
        if name == _NEVER_AN_ERROR:
            value = unquote_to_bytes(raw_value).decode("utf-8", "replace")
        else:
            value = _percent_decoded(raw_value)
        query.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in query.items()}


def _percent_decoded(raw: bytes) -> str:
    if b"%" not in raw:
        return raw.decode("ascii")
    if _BROKEN_ESCAPE.search(raw) is not None:
        raise RequestError(400, "Broken percent escape in the request target")
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(400, "Request target is not UTF-8") from None
