"""The body of a request, taken out of the bytes of its connection, checked and bounded.

h11 forgives in a chunked body what old peers get wrong: a NUL or a lone CR in an extension,
lines of a trailer that end in a lone LF, extensions and trailers without end. Each is a way
for two programs on the path to find different ends of one body (request smuggling), so bodies
are read here.

Source: contract section 6, "Hostile framing"; RFC 9112 sections 6 and 7.1.
"""

import re
from enum import Enum, auto
from typing import Final, Protocol

from sseserver.errors import RequestError

MAX_EXTRA_BYTES: Final = 16_384
"""Extensions and trailers of one chunked body, in all; Go's net/http allows as much."""

_MAX_SIZE_DIGITS: Final = 16

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16}+)((?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*+)?)")
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\x00\n\v\f\r]*+")
_LINE_CONTENT: Final = re.compile(rb"[^\x00\n\r]*+")


class RequestBody(Protocol):
    """A body that is arriving.

    `data` is what it holds so far, without its framing.
    """

    data: bytearray

    def take(self, buffer: bytearray) -> bool:
        """Take this body's bytes from the front of `buffer`; whether it is complete.

        What follows the body stays in the buffer.

        Raises:
            RequestError: 400 or 413, and the connection cannot go on.
        """
        ...


class SizedBody:
    """A body of `Content-Length` bytes.

    Raises:
        RequestError: 413, before a byte of it was taken.
    """

    __slots__ = ("_length", "data")

    def __init__(self, length: int, max_bytes: int) -> None:
        _check_size(length, max_bytes)
        self._length = length
        self.data = bytearray()

    def take(self, buffer: bytearray) -> bool:
        """Take this body's bytes from the front of `buffer`; whether it is complete."""
        size = min(len(buffer), self._length - len(self.data))
        self.data += buffer[:size]
        del buffer[:size]
        return len(self.data) == self._length


class _State(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    COMPLETE = auto()


class ChunkedBody:
    """A body of `Transfer-Encoding: chunked`; extensions and trailers are passed over."""

    __slots__ = ("_extra_left", "_max_bytes", "_missing", "_scanned", "_state", "data")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._extra_left = MAX_EXTRA_BYTES
        self._missing = 0
        self._scanned = 0
        self._state = _State.SIZE
        self.data = bytearray()

    def take(self, buffer: bytearray) -> bool:
        """Take this body's bytes from the front of `buffer`; whether it is complete.

        Raises:
            RequestError: 400 or 413, and the connection cannot go on.
        """
        while self._state is not _State.COMPLETE:
            if not self._step(buffer):
                return False
        return True

    def _step(self, buffer: bytearray) -> bool:
        """Go on by one part of the grammar; False when its bytes have not all arrived."""
        if self._state is _State.SIZE:
            return self._take_size(buffer)
        if self._state is _State.DATA:
            return self._take_data(buffer)
        if self._state is _State.DATA_END:
            return self._take_data_end(buffer)
        return self._take_trailer_line(buffer)

    def _take_size(self, buffer: bytearray) -> bool:
        line = self._take_line(buffer)
        if line is None:
            return False
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise _malformed("a chunk size")
        self._missing = int(match[1], 16)
        self._extra_left -= len(match[2])
        _check_size(len(self.data) + self._missing, self._max_bytes)
        self._state = _State.DATA if self._missing else _State.TRAILER
        return True

    def _take_data(self, buffer: bytearray) -> bool:
        size = min(len(buffer), self._missing)
        self.data += buffer[:size]
        del buffer[:size]
        self._missing -= size
        if self._missing:
            return False
        self._state = _State.DATA_END
        return True

    def _take_data_end(self, buffer: bytearray) -> bool:
        if not b"\r\n".startswith(buffer[:2]):
            raise _malformed("the end of a chunk")
        if len(buffer) < 2:
            return False
        del buffer[:2]
        self._state = _State.SIZE
        return True

    def _take_trailer_line(self, buffer: bytearray) -> bool:
        line = self._take_line(buffer)
        if line is None:
            return False
        if not line:
            self._state = _State.COMPLETE
        elif _TRAILER_LINE.fullmatch(line) is None:
            raise _malformed("a trailer")
        self._extra_left -= len(line)
        return True

    def _take_line(self, buffer: bytearray) -> bytes | None:
        """Take one line without its CRLF, every byte looked at once; None while it goes on."""
        content = _LINE_CONTENT.match(buffer, self._scanned)
        assert content is not None, "it may be empty"
        size = content.end()
        if size > self._extra_left + _MAX_SIZE_DIGITS:
            raise RequestError(413, "Chunk extensions or trailers are too long", is_framing=True)
        line_end = bytes(buffer[size : size + 2])
        if line_end != b"\r\n":
            if line_end not in (b"", b"\r"):  # a CR at the end is judged by what follows it
                raise _malformed("a line")
            self._scanned = size
            return None
        line = bytes(buffer[:size])
        del buffer[: size + 2]
        self._scanned = 0
        return line


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise RequestError(413, "The request body is too large", is_framing=True)


def _malformed(fault: str) -> RequestError:
    return RequestError(400, f"Malformed chunked body: {fault}", is_framing=True)
