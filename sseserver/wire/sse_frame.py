r"""SSE frames: an event encoded once, its bytes shared by everyone who is sent it.

`event:`, `data:`, `id:` and `retry:` in this order, ended by a blank line (specification,
"Event Format"). The payload is JSON, in which every control character is escaped, so no raw
CR or LF can end a line early.

Source: WHATWG HTML 9.2.5 (event stream format); contract section 4.
"""

from typing import Final

import msgspec

from sseserver.event_id import format_event_id
from sseserver.events import Event, Quote

KEEPALIVE: Final = b": keepalive\n\n"
"""A comment: keeps proxies and the peer's timers awake, dispatches nothing (specification)."""

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked body (RFC 9112 section 7.1)."""

encode_json: Final = msgspec.json.Encoder().encode
"""Turns structs and JSON objects into UTF-8 JSON; an encoder is made once and reused."""


class FrameEncoder:
    """Makes frames with the `retry:` line that the configuration asks for.

    Args:
        retry_ms: Reconnection time of the browser, in milliseconds.
        retry_spread_ms: Above 0, only `connected` carries a `retry:` line, with a random
            part of this added, and shared frames carry none (contract section 2).
    """

    __slots__ = ("_tail", "retry_ms", "retry_spread_ms")

    def __init__(self, retry_ms: int, retry_spread_ms: int) -> None:
        self.configure(retry_ms, retry_spread_ms)

    def configure(self, retry_ms: int, retry_spread_ms: int) -> None:
        """Take new reconnection times; frames that exist keep theirs."""
        self.retry_ms = retry_ms
        self.retry_spread_ms = retry_spread_ms
        self._tail = b"\n\n" if retry_spread_ms else b"\nretry: %d\n\n" % retry_ms

    def frame(self, event: Event) -> bytes:
        """Return the frame of an event, made at the first call."""
        if event.frame is None:
            event.frame = b"event: %b\ndata: %b\nid: %b%b" % (
                event.type.encode(),
                event.data,
                format_event_id(event.id).encode(),
                self._tail,
            )
        return event.frame

    def quote_frame(self, quote: Quote) -> bytes:
        """Return the `price:update` frame of a quote, made at the first call."""
        if quote.frame is None:
            quote.frame = b"event: price:update\ndata: %b\nid: %b%b" % (
                encode_json(quote.data),
                format_event_id(quote.id).encode(),
                self._tail,
            )
        return quote.frame

    def pieces(self, event_type: str, data: bytes, event_id: int | None) -> tuple[bytes, ...]:
        """Return a frame as pieces around a payload that is shared and may be large."""
        return (
            b"event: %b\ndata: " % event_type.encode(),
            data,
            (b"" if event_id is None else b"\nid: %b" % format_event_id(event_id).encode())
            + self._tail,
        )

    def single(
        self, event_type: str, payload: object, event_id: int | None, retry_ms: int | None = None
    ) -> bytes:
        """Return the frame of an event for one connection.

        Args:
            event_type: Name of the event.
            payload: A JSON object.
            event_id: None leaves the `id:` line out: the browser keeps the ID it has.
            retry_ms: Replaces the configured reconnection time, in milliseconds.
        """
        lines = [b"event: %b\ndata: %b" % (event_type.encode(), encode_json(payload))]
        if event_id is not None:
            lines.append(b"id: %b" % format_event_id(event_id).encode())
        if retry_ms is not None:
            lines.append(b"retry: %d\n\n" % retry_ms)
            return b"\n".join(lines)
        return b"\n".join(lines) + self._tail


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
