"""Tests of `sseserver.wire.negotiation`."""

import pytest

from sseserver.errors import RequestError
from sseserver.wire.negotiation import accepts_event_stream, choose_encoding, is_event_source

BOTH = ("zstd", "gzip")
MANY = 300_000


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        pytest.param(None, "identity", id="no field"),
        pytest.param("", "identity", id="empty"),
        pytest.param("gzip", "gzip", id="gzip"),
        pytest.param("zstd", "zstd", id="zstd"),
        pytest.param("x-gzip", "gzip", id="alias"),
        pytest.param("GZip", "gzip", id="other case"),
        pytest.param("gzip, deflate, br, zstd", "gzip", id="browser: preference decides"),
        pytest.param("zstd, gzip", "gzip", id="order of the client does not matter"),
        pytest.param("gzip;q=0.5, zstd;q=0.501", "zstd", id="weight before preference"),
        pytest.param("gzip;q=0.999, zstd;q=1.000", "zstd", id="three decimals"),
        pytest.param("gzip ;\tQ=0.5 , zstd; q=0.4", "gzip", id="white space and case of q"),
        pytest.param("gzip;q=1, zstd", "gzip", id="no weight is 1"),
        pytest.param("gzip;q=1., zstd;q=0.9", "gzip", id="point without decimals"),
        pytest.param("gzip;q=0, zstd", "zstd", id="excluded"),
        pytest.param("gzip;q=0.000", "identity", id="excluded with decimals"),
        pytest.param("gzip;q=0", "identity", id="nothing left"),
        pytest.param("br, deflate", "identity", id="not offered"),
        pytest.param("*", "gzip", id="star"),
        pytest.param("*;q=0.1", "gzip", id="star with a weight"),
        pytest.param("gzip;q=0, *", "zstd", id="star for the others"),
        pytest.param("gzip;q=0.5, *;q=0.9", "zstd", id="star weighs more"),
        pytest.param("gzip;q=0.5, *;q=0.1", "gzip", id="star weighs less"),
        pytest.param("identity", "identity", id="identity"),
        pytest.param("identity, gzip", "gzip", id="identity weighs the same"),
        pytest.param("identity;q=0.9, gzip;q=0.5", "identity", id="identity weighs more"),
        pytest.param("identity;q=0.5, gzip;q=0.9", "gzip", id="identity weighs less"),
        pytest.param("identity;q=0.5, *;q=0", "identity", id="identity alone"),
        pytest.param("identity;q=0, gzip;q=0.1", "gzip", id="identity excluded"),
        pytest.param("identity;q=0, *;q=0.1", "gzip", id="identity excluded, star"),
        pytest.param("*;q=0, gzip;q=0.1", "gzip", id="all but one excluded"),
        pytest.param("gzip;q=0, gzip;q=0.5", "gzip", id="named twice"),
        pytest.param("gzip;q=0.5, gzip;q=0", "gzip", id="named twice, other order"),
        pytest.param(",, gzip ,", "gzip", id="empty elements"),
        pytest.param("gzip;q=2, zstd", "zstd", id="malformed: weight over 1"),
        pytest.param("gzip;q=1.001, zstd", "zstd", id="malformed: weight just over 1"),
        pytest.param("gzip;q=0.1234, zstd;q=0.1", "zstd", id="malformed: four decimals"),
        pytest.param("gzip;q=-1, zstd", "zstd", id="malformed: negative"),
        pytest.param("gzip;q=\u0661, zstd", "zstd", id="malformed: other digits"),
        pytest.param("gzip;level=1, zstd", "zstd", id="malformed: other parameter"),
        pytest.param("gzip zstd", "identity", id="malformed: no comma"),
        pytest.param("gzip;q=", "identity", id="malformed: no weight"),
        pytest.param('"gzip"', "identity", id="malformed: quotes"),
    ],
)
def test_encoding_is_chosen(accept_encoding: str | None, expected: str) -> None:
    """The highest weight wins, then preference; identity is the last resort."""
    assert expected == choose_encoding(accept_encoding, BOTH, ("gzip", "zstd"))


@pytest.mark.parametrize(
    ("offered", "preference", "expected"),
    [
        (("zstd", "gzip"), ("zstd", "gzip"), "zstd"),
        (("gzip",), ("zstd", "gzip"), "gzip"),
        (("zstd", "gzip"), (), "zstd"),
        (("zstd", "gzip"), ("gzip",), "gzip"),
        ((), ("zstd", "gzip"), "identity"),
    ],
)
def test_preference(offered: tuple[str, ...], preference: tuple[str, ...], expected: str) -> None:
    """Only what is offered is chosen; what has no preference comes last."""
    assert expected == choose_encoding("gzip, zstd", offered, preference)


@pytest.mark.parametrize(
    "accept_encoding", ["identity;q=0", "*;q=0", "br, *;q=0", "gzip;q=0, zstd;q=0, identity;q=0"]
)
def test_nothing_acceptable(accept_encoding: str) -> None:
    """A client that excludes everything, identity too, is answered 406."""
    with pytest.raises(RequestError) as caught:
        choose_encoding(accept_encoding, BOTH, BOTH)

    assert (caught.value.status, caught.value.is_framing) == (406, False)


def test_identity_excluded_with_compression_off() -> None:
    """With nothing offered, a client that takes only gzip is answered 406."""
    with pytest.raises(RequestError, match="406"):
        choose_encoding("gzip, identity;q=0", (), ())


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "text/event-stream",
        "Text/Event-Stream",
        "text/*",
        "*/*",
        "*/*;q=0.001",
        "text/html, */*;q=0.8",
        "application/json,\ttext/event-stream ; q=0.5",
        "text/event-stream;charset=utf-8",
        'text/event-stream;charset="a,b;q=0"',
        'text/html;x="a\\",b", text/event-stream',
        "text/event-stream;;q=1",
        "text/event-stream, */*;q=0",
        "text/*;q=0.1, */*;q=0",
        "text/event-stream;q=0, text/event-stream;level=1",
        "text/event-stream;q=1;q=0",
        "garbage",
        "text",
        "text/event-stream;q=7",
        'text/html;x="open, text/plain',
    ],
)
def test_event_stream_is_accepted(accept: str | None) -> None:
    """No `Accept`, none that can be read, and every range that holds our type let it pass."""
    assert accepts_event_stream(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "application/json, text/html",
        "text/event-streams",
        "text/event-stream;q=0",
        "text/event-stream;charset=utf-8;Q=0.000",
        "text/event-stream;q=0, */*",
        "text/event-stream;q=0, text/*;q=1, */*;q=1",
        "text/*;q=0, */*",
        "*/*, text/*;q=0",
        "*/*;q=0",
        "*/event-stream",
        "text/html, garbage",
        'text/html;x="text/event-stream, text/event-stream"',
    ],
)
def test_event_stream_is_excluded(accept: str) -> None:
    """The most specific range that holds our type decides, and none means no."""
    assert not accepts_event_stream(accept)


@pytest.mark.parametrize("accept", ["text/event-stream", " Text/Event-Stream\t"])
def test_event_source(accept: str) -> None:
    """A client that accepts exactly an event stream is taken for a browser's EventSource."""
    assert is_event_source(accept)


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", "text/*", "text/event-stream, */*", "text/event-stream;q=1"]
)
def test_no_event_source(accept: str | None) -> None:
    """Everything else is an ordinary client."""
    assert not is_event_source(accept)


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param('"' + '\\"' * MANY + "\\", id="quotes that never close"),
        pytest.param("a/b" + ';x="' * MANY, id="parameters that never close"),
        pytest.param("a/b" + " " * MANY + "x", id="white space"),
        pytest.param("a/b;" * MANY, id="parameters"),
        pytest.param("gzip" + " " * MANY + ";" + " " * MANY + "q", id="white space before q"),
    ],
)
def test_hostile_value_costs_linear_time(accept: str) -> None:
    """A value made to be searched again and again is read once: quadratic would take hours."""
    accepts_event_stream(accept)

    assert choose_encoding(accept, BOTH, BOTH) == "identity"
