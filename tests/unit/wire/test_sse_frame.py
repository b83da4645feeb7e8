"""Tests of `sseserver.wire.sse_frame`."""

import json

import pytest

from sseserver.event_id import parse_event_id
from sseserver.events import Event, Quote
from sseserver.wire.sse_frame import KEEPALIVE, LAST_CHUNK, FrameEncoder, chunk, encode_json
from tests.support.reference_eventsource import Dispatched, ReferenceEventSource

ID_TEXT = "1735819800000-abc123def"
ID = parse_event_id(ID_TEXT) or 0
DATA = b'{"alertId":"a-1"}'


def alert() -> Event:
    """Return an event that has not been encoded yet."""
    return Event(ID, "alert:new", DATA, route="alerts")


def dispatched(frame: bytes) -> list[Dispatched]:
    """Return what a browser makes of a frame."""
    source = ReferenceEventSource()
    return source.feed(frame)


def test_a_frame_has_its_fields_in_the_specified_order() -> None:
    """`event:`, `data:`, `id:`, `retry:` and a blank line, byte for byte."""
    assert (
        b'event: alert:new\ndata: {"alertId":"a-1"}\nid: 1735819800000-abc123def\nretry: 5000\n\n'
    ) == FrameEncoder(5000, 0).frame(alert())


def test_a_browser_reads_the_frame() -> None:
    """A parser written from the WHATWG text dispatches type, data, ID and retry."""
    expected = Dispatched("alert:new", DATA.decode(), ID_TEXT, 5000)

    assert [expected] == dispatched(FrameEncoder(5000, 0).frame(alert()))


def test_a_frame_is_made_once() -> None:
    """The second call returns the same bytes object, which all audiences share."""
    encoder = FrameEncoder(5000, 0)
    event = alert()

    assert encoder.frame(event) is encoder.frame(event)


def test_shared_frames_have_no_retry_when_it_is_spread() -> None:
    """With a spread the reconnection time is one connection's own: shared bytes carry none."""
    expected = Dispatched("alert:new", DATA.decode(), ID_TEXT, None)

    assert [expected] == dispatched(FrameEncoder(5000, 2000).frame(alert()))


def test_new_reconnection_times_hold_for_new_frames() -> None:
    """After `configure` frames carry the new time, and those that exist keep theirs."""
    encoder = FrameEncoder(5000, 0)
    old, new = alert(), alert()
    encoder.frame(old)
    encoder.configure(7000, 0)

    assert [5000, 7000] == [
        event.retry_ms for event in dispatched(encoder.frame(old) + encoder.frame(new))
    ]


def test_the_configured_times_can_be_read() -> None:
    """`retry_ms` and `retry_spread_ms` are what was configured last."""
    encoder = FrameEncoder(5000, 0)
    encoder.configure(7000, 2000)

    assert (7000, 2000) == (encoder.retry_ms, encoder.retry_spread_ms)


@pytest.mark.parametrize(("spread_ms", "retry"), [(0, b"\nretry: 5000\n\n"), (9, b"\n\n")])
def test_a_quote_frame_is_a_price_update(spread_ms: int, retry: bytes) -> None:
    """A quote becomes `price:update` with its data encoded and its ID at that time."""
    quote = Quote(ID, "AAPL", 187.5, {"symbol": "AAPL", "price": 187.5})

    assert (
        b'event: price:update\ndata: {"symbol":"AAPL","price":187.5}\n'
        b"id: 1735819800000-abc123def" + retry
    ) == FrameEncoder(5000, spread_ms).quote_frame(quote)


def test_a_quote_is_encoded_once() -> None:
    """The second call returns the same bytes object."""
    encoder = FrameEncoder(5000, 0)
    quote = Quote(ID, "AAPL", 187.5, {"price": 187.5})

    assert encoder.quote_frame(quote) is encoder.quote_frame(quote)


@pytest.mark.parametrize("event_id", [ID, None])
@pytest.mark.parametrize("spread_ms", [0, 2000])
def test_pieces_join_to_the_frame_of_one_connection(event_id: int | None, spread_ms: int) -> None:
    """The pieces around a shared payload say the same as the frame made whole."""
    encoder = FrameEncoder(5000, spread_ms)

    assert encoder.single("alert:new", {"alertId": "a-1"}, event_id) == b"".join(
        encoder.pieces("alert:new", DATA, event_id)
    )


def test_pieces_share_the_payload() -> None:
    """The payload among the pieces is the object that was passed: nothing is copied."""
    assert FrameEncoder(5000, 0).pieces("price:update", DATA, ID)[1] is DATA


@pytest.mark.parametrize(
    ("event_id", "retry_ms", "spread_ms", "expected"),
    [
        (ID, None, 0, b"\nid: 1735819800000-abc123def\nretry: 5000\n\n"),
        (ID, 6500, 0, b"\nid: 1735819800000-abc123def\nretry: 6500\n\n"),
        (ID, None, 2000, b"\nid: 1735819800000-abc123def\n\n"),
        (ID, 6500, 2000, b"\nid: 1735819800000-abc123def\nretry: 6500\n\n"),
        (None, None, 0, b"\nretry: 5000\n\n"),
        (None, 6500, 0, b"\nretry: 6500\n\n"),
        (None, None, 2000, b"\n\n"),
    ],
)
def test_a_frame_for_one_connection(
    event_id: int | None, retry_ms: int | None, spread_ms: int, expected: bytes
) -> None:
    """The ID may be left out, and a reconnection time of its own replaces the configured one."""
    frame = FrameEncoder(5000, spread_ms).single("connected", {"n": 1}, event_id, retry_ms)

    assert b'event: connected\ndata: {"n":1}' + expected == frame


def test_without_an_id_the_browser_keeps_the_one_it_has() -> None:
    """An event without `id:` line leaves the last event ID as it was."""
    encoder = FrameEncoder(5000, 0)
    source = ReferenceEventSource()
    source.feed(encoder.frame(alert()) + encoder.single("connection:refused", {}, None))

    assert ID_TEXT == source.last_event_id


@pytest.mark.parametrize(
    "text", ["a\rb", "a\nb", "a\r\nb", "a\n\nid: 1\n\n", "a\0b", "\x85\u2028", "ü€😀", "\ufeff"]
)
def test_no_text_can_end_a_line(text: str) -> None:
    """Whatever a payload holds, a browser reads one event with exactly that payload."""
    events = dispatched(FrameEncoder(5000, 0).single("alert:new", {"message": text}, ID))

    assert [{"message": text}] == [json.loads(event.data) for event in events]


def test_no_control_character_is_put_out_raw() -> None:
    """JSON escapes every control character, so the encoded payload is one line of text."""
    encoded = encode_json({"message": "".join(map(chr, range(32)))})

    assert [] == [byte for byte in encoded if byte < 32]


def test_a_keepalive_dispatches_nothing() -> None:
    """A keepalive is a comment: a browser sees it and tells its page nothing."""
    source = ReferenceEventSource()

    assert ([], ["keepalive"]) == (source.feed(KEEPALIVE), source.comments)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x", b"1\r\nx\r\n"),
        (b"0123456789", b"a\r\n0123456789\r\n"),
        (b"y" * 4096, b"1000\r\n" + b"y" * 4096 + b"\r\n"),
    ],
)
def test_a_chunk_says_its_size_in_hexadecimal(data: bytes, expected: bytes) -> None:
    """Size, CRLF, data, CRLF (RFC 9112 section 7.1)."""
    assert expected == chunk(data)


def test_the_last_chunk_is_the_empty_one() -> None:
    """What ends a body is a chunk of size 0 and an empty trailer section."""
    assert chunk(b"") == LAST_CHUNK
