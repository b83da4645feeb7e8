"""Tests of `sseserver.net.request_reader`."""

import h11
import pytest

from sseserver.config import ServerConfig
from sseserver.errors import RequestError
from sseserver.net.request_reader import RequestReader
from tests.unit.net.site import request

LIMITS = ServerConfig(max_header_bytes=256, max_body_bytes=10)
GET = request("GET /a")


def reader_of(data: bytes) -> RequestReader:
    """Return a reader that was fed."""
    reader = RequestReader()
    reader.feed(data)
    return reader


def refusal_of(data: bytes) -> tuple[int, str, bool]:
    """Return status, message and whether the connection ends, for what is refused."""
    with pytest.raises(RequestError) as caught:
        reader_of(data).read(LIMITS)
    return caught.value.status, caught.value.message, caught.value.is_framing


def filled(size: int) -> bytes:
    """Return a request head of exactly this size."""
    empty = request("GET /a\nX: ")
    return empty[:-4] + b"x" * (size - len(empty)) + empty[-4:]


def test_nothing_is_no_request() -> None:
    """Without bytes there is no head, no body and nothing that follows."""
    reader = RequestReader()

    assert not reader.read(LIMITS)
    assert (None, b"", False) == (reader.head, reader.body, reader.has_bytes)


def test_requests_are_read_one_by_one() -> None:
    """What follows a request stays until it is asked for."""
    reader = reader_of(GET + request("GET /b"))

    found: list[tuple[bytes, bool]] = []
    while reader.read(LIMITS):
        assert reader.head is not None
        found.append((reader.head.target, reader.has_bytes))
        reader.next()

    assert [(b"/a", True), (b"/b", False)] == found
    assert reader.head is None


@pytest.mark.parametrize("empty_lines", [b"\r\n", b"\r\n\r\n\r\n"])
def test_empty_lines_before_a_request_are_passed_over(empty_lines: bytes) -> None:
    """Old clients send one after a body (RFC 9112 section 2.2); byte by byte too."""
    reader = RequestReader()
    for byte in empty_lines + GET:
        assert not reader.read(LIMITS)
        reader.feed(bytes((byte,)))

    assert reader.read(LIMITS)


@pytest.mark.parametrize("size", [2, 254, 256])
def test_empty_lines_count_towards_the_limit(size: int) -> None:
    """As many as fill the limit are passed over; with the first byte more it is 431."""
    whole, drip = reader_of(b"\r\n" * (size // 2) + b"G" * (256 - size)), RequestReader()
    for _ in range(size // 2):
        drip.feed(b"\r\n")
        assert not drip.read(LIMITS)
    drip.feed(b"G" * (256 - size))

    for reader in (whole, drip):
        assert not reader.read(LIMITS)
        reader.feed(b"E")
        with pytest.raises(RequestError) as caught:
            reader.read(LIMITS)
        assert (431, True) == (caught.value.status, caught.value.is_framing)


def test_empty_lines_and_a_whole_head_share_the_limit() -> None:
    """A head that alone would fit is refused when the lines before it take its room."""
    assert reader_of(b"\r\n" + filled(254)).read(LIMITS)
    assert 431 == refusal_of(b"\r\n" + filled(255))[0]


def test_a_request_line_past_the_limit_is_414_behind_empty_lines_too() -> None:
    """Its own length decides."""
    assert 414 == refusal_of(b"\r\n" + b"GET /" + b"a" * 252)[0]
    assert 431 == refusal_of(b"\r\n" + b"GET /" + b"a" * 251)[0]


def test_every_request_has_the_whole_limit() -> None:
    """Empty lines before one request take nothing from the next."""
    reader = reader_of((b"\r\n" + filled(254)) * 2)

    assert reader.read(LIMITS)
    reader.next()
    assert reader.read(LIMITS)


def test_a_tls_hello_after_an_empty_line_is_refused() -> None:
    """The first byte of a request is looked at also when empty lines came before it."""
    reader = reader_of(b"\r")
    reader.read(LIMITS)
    reader.feed(b"\n\x16\x03")

    with pytest.raises(RequestError):
        reader.read(LIMITS)


def test_a_head_may_have_the_size_of_the_limit() -> None:
    """The limit is inclusive, whether the head comes whole or in pieces."""
    head = filled(256)
    drip = RequestReader()
    for byte in head:
        assert not drip.read(LIMITS)
        drip.feed(bytes((byte,)))

    assert reader_of(head).read(LIMITS)
    assert drip.read(LIMITS)


@pytest.mark.parametrize("data", [filled(257), filled(300)[:257], filled(10_000)])
def test_a_head_past_the_limit_is_refused(data: bytes) -> None:
    """431, whether it came whole or its end is still to come."""
    assert (431, "The request head is too large", True) == refusal_of(data)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 252,
        request("GET /" + "a" * 300),
    ],
)
def test_a_request_line_past_the_limit_is_refused(data: bytes) -> None:
    """414 when the request line alone passes the limit."""
    assert (414, "The request line is too long", True) == refusal_of(data)


def test_a_request_line_of_the_limit_is_not_what_is_too_long() -> None:
    """A request line that ends at the limit leaves no room for the head: 431."""
    line = b"GET /" + b"a" * 242 + b" HTTP/1.1\r\n"

    assert 431 == refusal_of(line)[0]
    assert 414 == refusal_of(line.replace(b"/", b"/a"))[0]


def dripped_status(data: bytes) -> int | None:
    """Return the status of a refusal when the bytes come one by one, None without one."""
    reader = RequestReader()
    try:
        for byte in data:
            reader.feed(bytes((byte,)))
            reader.read(LIMITS)
    except RequestError as error:
        return error.status
    return None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 242 + b" HTTP/1.1\r\n", 431),
        (b"GET /" + b"a" * 243 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\n" + filled(300), 400),
        (filled(254)[:-4] + b"\n" + b"a" * 100, 400),
        (filled(262)[:-4] + b"\n" + b"a" * 100, 431),
        (filled(300)[:-4] + b"\x00\r\n\r\n", 431),
        (b"\r\n" * 128 + b"\n", 400),
        (b"\r\n" * 129 + b"\n", 431),
    ],
)
def test_what_is_too_large_is_judged_alike_whole_and_in_pieces(data: bytes, status: int) -> None:
    """By the limit's bytes and one more: a fault among them is 400, whatever follows."""
    assert [status, status] == [refusal_of(data)[0], dripped_status(data)]


def test_a_head_is_checked_before_it_is_parsed() -> None:
    """What h11 would forgive is refused; and as soon as it cannot become valid."""
    assert 400 == refusal_of(b"GET / HTTP/1.1\nHost: x\r\n\r\n")[0]
    assert 400 == refusal_of(b"GET / HTTP/1.1\n")[0]
    assert 400 == refusal_of(b"GET / HTTP/1.1\r\n\r\n")[0]


def test_what_h11_refuses_is_refused() -> None:
    """An error of h11 is translated where it enters; here it waits for a response."""
    reader = reader_of(GET)
    reader.h11 = h11.Connection(h11.CLIENT)

    with pytest.raises(RequestError) as caught:
        reader.read(LIMITS)

    assert (400, True) == (caught.value.status, caught.value.is_framing)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("POST /a\nContent-Length: 5", b"12345"),
        ("POST /a\nTransfer-Encoding: chunked", b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n"),
        ("GET /a\nContent-Length: 5", b"12345"),
        ("POST /a HTTP/1.0\nContent-Length: 5", b"12345"),
    ],
)
def test_a_request_is_complete_with_its_body(head: str, body: bytes) -> None:
    """The body is read to its last byte, and no further."""
    reader = reader_of(request(head) + body[:-1])

    assert not reader.read(LIMITS)
    reader.feed(body[-1:] + GET)
    assert reader.read(LIMITS)
    assert b"12345" == reader.body
    reader.next()
    assert b"" == reader.body
    assert reader.read(LIMITS)


def test_a_request_of_http_1_0_without_length_has_no_body() -> None:
    """Only responses are delimited by the end of the connection."""
    assert reader_of(request("POST /a HTTP/1.0")).read(LIMITS)


def test_a_body_past_the_limit_is_refused_before_it_comes() -> None:
    """The announced length is enough for 413."""
    assert 413 == refusal_of(request("POST /a\nContent-Length: 11"))[0]
    assert 413 == refusal_of(request("POST /a\nTransfer-Encoding: chunked") + b"b\r\n")[0]


def test_an_expectation_is_taken_once() -> None:
    """A client that waits for 100 is told so once, and not when its body has begun."""
    expecting = request("POST /a\nContent-Length: 2\nExpect: 100-continue")
    waiting, sending = reader_of(expecting), reader_of(expecting + b"1")

    assert not waiting.read(LIMITS)
    assert not sending.read(LIMITS)
    assert [True, False] == [waiting.take_expectation(), waiting.take_expectation()]
    assert not sending.take_expectation()


def test_an_expectation_ends_with_its_request() -> None:
    """A request that has failed leaves nothing to the next one."""
    reader = reader_of(request("POST /a\nContent-Length: 2\nExpect: 100-continue"))
    reader.read(LIMITS)
    reader.next()

    assert not reader.take_expectation()


def test_a_field_is_found_in_a_head_that_was_read_and_in_one_that_was_not() -> None:
    """The first of its name; of a refused head as far as it is sure, and never of what follows."""
    fields = "\nX: a\nx: b"
    read, cut, refused = (
        reader_of(b"\r\n" + request(f"GET /a{fields}")),
        reader_of(b"\r\n" + request(f"GET /a{fields}")[:-2]),
        reader_of(b"\r\n" + request("GET /a\nA : b") + request(f"GET /a{fields}")),
    )
    assert read.read(LIMITS)
    assert not cut.read(LIMITS)
    with pytest.raises(RequestError):
        refused.read(LIMITS)

    assert ["a", "a", None] == [reader.field("x") for reader in (read, cut, refused)]
    assert [None] * 3 == [reader.field("y") for reader in (read, cut, refused)]


def test_what_h11_refuses_takes_no_field_of_what_follows() -> None:
    """A head that was whole is still the one that is looked at when parsing it fails."""
    reader = reader_of(request("GET /a\nX: a") + b"GET / HTTP/1.1\r\nY: b\r\n")
    reader.h11 = h11.Connection(h11.CLIENT)
    with pytest.raises(RequestError):
        reader.read(LIMITS)

    assert ("a", None) == (reader.field("x"), reader.field("y"))


def test_what_has_arrived_can_be_dropped() -> None:
    """After an error nothing that follows is read."""
    reader = reader_of(GET + GET)
    reader.clear()

    assert not reader.has_bytes
    assert not reader.read(LIMITS)
