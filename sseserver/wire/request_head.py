"""The check of a raw request head, before anything parses it.

h11 forgives what old peers get wrong: lines that end in a lone LF, folded lines, repeated or
contradictory lengths, any `Host`. Each of these is a way for two programs on the path to read
one byte stream as different requests (request smuggling). So a head is compared with the
grammar whole, in one pass over its bytes; what passes here, h11 parses without complaint.

Not here: limits on size, chunk extensions and trailers, which need the state of a connection.

Source: contract section 6, "Hostile framing"; RFC 9112; RFC 9110 sections 5 and 7.2.
"""

import re
from typing import Final

from sseserver.errors import RequestError
from sseserver.wire.authority import parse_authority

# Possessive quantifiers throughout: a match never backs up, so its cost is linear.
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_REQUEST_LINE: Final = _TOKEN + rb" [\x21-\x7e]++ HTTP/1\.([0-9])\r\n"

# Other control characters in a value pass, as RFC 9110 section 5.5 permits: old cookies have
# them, and no `Last-Event-ID` may be answered with an error (contract section 4). VT and FF do
# not: some parsers take them for white space.
_FIELD_LINE: Final = _TOKEN + rb":[^\x00\n\v\f\r]*+\r\n"

_HEAD: Final = re.compile(_REQUEST_LINE + rb"(?:" + _FIELD_LINE + rb")*+\r\n")

# Finds the fields that say where a request ends and whom it is for, in a head that has passed
# `_HEAD` and is in lower case.
_FRAMING_FIELD: Final = re.compile(rb"\r\n(host|content-length|transfer-encoding):([^\r]*+)")

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
"""18 digits fit the 64-bit integers of whatever stands in front of us."""

# A CR may become an empty line, which the caller passes over before a head.
_FIRST_BYTE: Final = re.compile(_TOKEN + rb"|\r?\Z")

_FAULTS: Final = (
    (re.compile(rb"\x00"), "a NUL"),
    (re.compile(rb"\r(?=[^\n])"), "a CR without LF"),  # one at the very end may still get it
    (re.compile(rb"(?<!\r)\n"), "an LF without CR"),
    (re.compile(rb"\r\n[ \t]"), "a folded line"),
    (re.compile(rb"\r\n" + _TOKEN + rb"[ \t]++:"), "white space before a colon"),
    (re.compile(rb"\A(?!" + _REQUEST_LINE + rb")"), "the request line"),
)
"""What to name when a head does not match: the first that is found."""

_LINES: Final = re.compile(rb"(?:[^\x00\r\n]++|\r\n)*+\r?")
"""Lines that more bytes may still make a head: every one ends in CRLF, none has a NUL."""

_CERTAIN_LINES: Final = re.compile(rb"[^\x00\r\n]*+\r\n(?:[^\x00\r\n]++\r\n)*+[^\x00\r\n]*+")
"""What every reader takes for one head: up to its end, or to a NUL, lone CR or lone LF."""


def check_head(head: bytes) -> None:
    """Let pass a complete request head that every parser reads in the same way.

    Args:
        head: All bytes up to and with the empty line. Empty lines before the request line are
            not part of a head and refused.

    Raises:
        RequestError: 400, and the connection cannot go on.

    Source: contract section 6; RFC 9112 sections 2 to 6; RFC 9110 section 7.2.
    """
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _framing_error(_fault(head))
    found = _FRAMING_FIELD.findall(head.lower())
    fields = dict(found)
    if len(fields) < len(found):
        raise _framing_error("more than one Host, Content-Length or Transfer-Encoding")
    is_http_1_0 = match[1] == b"0"
    host = fields.pop(b"host", None)
    if host is None:
        if not is_http_1_0:
            raise _framing_error("no Host")
    elif parse_authority(host.strip(b" \t").decode("latin-1")) is None:
        raise _framing_error("Host")
    if fields:
        _check_body_fields(fields, is_http_1_0=is_http_1_0)


def check_head_so_far(partial: bytes | bytearray, start: int) -> None:
    """Refuse the first bytes of a head when no further bytes can make it valid.

    Such bytes would otherwise hold a connection until its time is over: a TLS hello, say, or
    lines that end in a lone LF, which have no end that we would recognise. Every byte is
    looked at once, however the head is cut.

    Args:
        partial: All bytes of the head received so far.
        start: How many of them an earlier call has let pass.

    Raises:
        RequestError: 400, and the connection cannot go on.
    """
    if start == 0 and _FIRST_BYTE.match(partial) is None:
        raise _framing_error("the request line")
    # A CR that was the last byte then is judged by what follows it now.
    begin = start - 1 if partial[start - 1 : start] == b"\r" else start
    if _LINES.fullmatch(partial, begin) is None:
        raise _framing_error(_fault(partial))


def field_so_far(partial: bytes | bytearray, name: bytes) -> str | None:
    """Return the first field of that name in a head that is refused, None where there is none.

    For the answer alone, which the page that asked can only read when its `Origin` is known.
    A field counts when its line is whole and not folded, whatever is wrong with other lines;
    but nothing that some reader may take for a body or for another request is looked at.

    Args:
        partial: All bytes of the head received so far, and what may follow it.
        name: In any case.
    """
    lines = _CERTAIN_LINES.match(partial)
    if lines is None:
        return None
    field = rb"\n(?i:%b):([^\r]*+)\r\n(?![ \t])" % re.escape(name)
    found = re.search(field, lines[0])
    return None if found is None else found[1].strip(b" \t").decode("latin-1")


def _check_body_fields(fields: dict[bytes, bytes], *, is_http_1_0: bool) -> None:
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        if length is not None and _CONTENT_LENGTH.fullmatch(length.strip(b" \t")) is None:
            raise _framing_error("Content-Length")
    elif length is not None:
        raise _framing_error("Content-Length beside Transfer-Encoding")
    # RFC 9112 section 6.1: faulty framing in HTTP/1.0, which has no chunks.
    elif is_http_1_0 or coding.strip(b" \t") != b"chunked":
        raise _framing_error("Transfer-Encoding")


def _fault(head: bytes | bytearray) -> str:
    for pattern, name in _FAULTS:
        if pattern.search(head) is not None:
            return name
    return "a header line"


def _framing_error(fault: str) -> RequestError:
    return RequestError(400, f"Malformed request head: {fault}", is_framing=True)
