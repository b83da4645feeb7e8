"""Newline-delimited JSON, both ways: bytes to lines, answers to bytes.

A line ends with LF, or with CR LF. What a line says is the affair of `ingest.messages`; here it
only has to end within the limit.

Source: contract section 3.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from sseserver.errors import FeedError

_encode: Final = msgspec.json.Encoder().encode


class LineSplitter:
    """Cuts the bytes of one feed into lines, however they arrive.

    A line past the limit is skipped up to its newline and never held. Each byte is looked at
    once, so a line that arrives in a thousand pieces costs no more than one that comes whole.

    Attributes:
        max_line_bytes: The limit, without the LF.
    """

    __slots__ = ("_is_skipping", "_pending", "max_line_bytes")

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self._pending = bytearray()
        self._is_skipping = False

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished line are held; at most the limit."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes | None]:
        """Take bytes and return the lines that are complete now, in order.

        Blank lines are left out. A line that was too long is None, in its place.
        """
        pieces = data.split(b"\n")
        rest = pieces.pop()
        lines: list[bytes | None] = []
        limit = self.max_line_bytes
        if pieces and (self._pending or self._is_skipping):
            self._hold(pieces[0])
            if self._is_skipping:
                lines.append(None)
                del pieces[0]
            else:
                pieces[0] = bytes(self._pending)
            self._pending.clear()
            self._is_skipping = False
        for piece in pieces:
            if len(piece) > limit:
                lines.append(None)
            elif piece and piece != b"\r":
                lines.append(piece.removesuffix(b"\r"))
        self._hold(rest)
        return lines

    def _hold(self, piece: bytes) -> None:
        """Add to the unfinished line, or give it up when it gets too long."""
        if self._is_skipping:
            return
        if len(self._pending) + len(piece) > self.max_line_bytes:
            self._pending.clear()
            self._is_skipping = True
        else:
            self._pending += piece


class _Fault(Struct, gc=False):
    code: str
    message: str
    path: str | UnsetType = UNSET


class _Answer(Struct, kw_only=True, gc=False):
    ref: str | int | UnsetType = UNSET
    ok: bool
    id: str | UnsetType = UNSET
    error: _Fault | UnsetType = UNSET


def encode_ok(ref: str | int | None, event_id_text: str | None) -> bytes:
    """Return the answer to a line that was accepted.

    Args:
        ref: The line's own reference; left out when None.
        event_id_text: The event's ID on the wire; None where nothing was published.
    """
    answer = _Answer(
        ref=UNSET if ref is None else ref,
        ok=True,
        id=UNSET if event_id_text is None else event_id_text,
    )
    return _encode(answer) + b"\n"


def encode_error(error: FeedError) -> bytes:
    """Return the answer to a line that was refused, without `ref` or `path` where unknown."""
    fault = _Fault(error.code, error.message, UNSET if error.path is None else error.path)
    answer = _Answer(ref=UNSET if error.ref is None else error.ref, ok=False, error=fault)
    return _encode(answer) + b"\n"
