"""Tests of `sseserver.wire.request_body`."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sseserver.errors import RequestError
from sseserver.wire.request_body import MAX_EXTRA_BYTES, ChunkedBody, RequestBody, SizedBody

MAX_BYTES = 100


def read(body: RequestBody, data: bytes) -> tuple[bool, bytes, bytes]:
    """Feed a body; return whether it is complete, what it holds and what is left."""
    buffer = bytearray(data)
    return body.take(buffer), bytes(body.data), bytes(buffer)


def refusal_of(data: bytes) -> tuple[int, bool]:
    """Return status and whether the connection ends, for a chunked body that is refused."""
    with pytest.raises(RequestError) as caught:
        ChunkedBody(MAX_BYTES).take(bytearray(data))
    return caught.value.status, caught.value.is_framing


def drip_refusal_of(data: bytes) -> tuple[int, bool]:
    """Return the same for a body that comes byte by byte."""
    body = ChunkedBody(MAX_BYTES)
    buffer = bytearray()
    try:
        for byte in data:
            buffer.append(byte)
            body.take(buffer)
    except RequestError as error:
        return error.status, error.is_framing
    return 0, False


def test_a_sized_body_ends_at_its_length() -> None:
    """What follows it stays in the buffer."""
    assert (True, b"12345", b"67") == read(SizedBody(5, MAX_BYTES), b"1234567")
    assert (True, b"", b"1") == read(SizedBody(0, MAX_BYTES), b"1")


def test_a_sized_body_may_come_in_pieces() -> None:
    """It is complete with its last byte, and not before."""
    body = SizedBody(3, MAX_BYTES)

    assert [
        (False, b"", b""),
        (False, b"12", b""),
        (True, b"123", b"4"),
    ] == [read(body, piece) for piece in (b"", b"12", b"34")]


def test_a_sized_body_past_the_limit_is_refused() -> None:
    """413 by the announced length alone; the limit itself is allowed."""
    SizedBody(MAX_BYTES, MAX_BYTES)

    with pytest.raises(RequestError) as caught:
        SizedBody(MAX_BYTES + 1, MAX_BYTES)

    assert (413, True) == (caught.value.status, caught.value.is_framing)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\n12345\r\n0\r\n\r\n", b"12345"),
        (b"2\r\n\r\n\r\n1\r\n3\r\n0\r\n\r\n", b"\r\n3"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"0000000000000001\r\n1\r\n0\r\n\r\n", b"1"),
        (b"1;a\r\n1\r\n0;b=c\r\n\r\n", b"1"),
        (b'1;a="b;\t\xe4"\r\n1\r\n0\r\n\r\n', b"1"),
        (b"1 ; a = b\r\n1\r\n0\r\n\r\n", b"1"),
        (b"0\r\nA: b\r\nC:\r\n\r\n", b""),
        (b"0\r\nContent-Length: 5\r\n\r\n", b""),
    ],
)
def test_a_chunked_body_is_taken_apart(data: bytes, expected: bytes) -> None:
    """Sizes in either case, extensions and trailers are read, whole and byte by byte."""
    drip = ChunkedBody(MAX_BYTES)
    buffer = bytearray()
    complete = []
    for byte in data:
        buffer.append(byte)
        complete.append(drip.take(buffer))

    assert (True, expected, b"GET") == read(ChunkedBody(MAX_BYTES), data + b"GET")
    assert expected == drip.data
    assert [*[False] * (len(data) - 1), True] == complete


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1,a\r\n",
        b"\xef\xbc\x91\r\n",
        b"00000000000000001\r\n",
        b"1\n",
        b"1\r1",
        b"1;a\nb\r\n",
        b"1;a\rb\r\n",
        b"1;a\x00b\r\n",
        b"1;a\x7fb\r\n",
        b"1\r\n1\n",
        b"1\r\n12",
        b"1\r\n1\r1",
        b"1\r\n10\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nA: b\n\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: \x0b\r\n\r\n",
    ],
)
def test_what_another_program_may_read_otherwise_is_refused(data: bytes) -> None:
    """Lone CR and LF, NUL, padding and everything else outside the grammar: 400."""
    assert (400, True) == refusal_of(data)
    assert (400, True) == drip_refusal_of(data)


def test_a_chunked_body_past_the_limit_is_refused() -> None:
    """413 by the announced size, over all chunks; the limit itself is allowed."""
    assert read(ChunkedBody(MAX_BYTES), b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n")[0]
    assert (413, True) == refusal_of(b"65\r\n")
    assert (413, True) == refusal_of(b"ffffffffffffffff\r\n")
    assert (413, True) == refusal_of(b"63\r\n" + b"x" * 99 + b"\r\n2\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"a" * 2 * MAX_EXTRA_BYTES,
        (b"1;" + b"a" * (MAX_EXTRA_BYTES // 8) + b"\r\n1\r\n") * 9,
        b"0\r\nA:" + b"a" * 2 * MAX_EXTRA_BYTES,
        b"0\r\n" + b"A: b\r\n" * MAX_EXTRA_BYTES,
        b"0" * 2 * MAX_EXTRA_BYTES,
    ],
)
def test_extensions_and_trailers_without_end_are_refused(data: bytes) -> None:
    """They are bounded in all, whether in one line or in many."""
    assert (413, True) == refusal_of(data)


@pytest.mark.parametrize(
    ("line_end", "expected"),
    [
        (b"\nx", (400, True)),
        (b"\x00", (400, True)),
        (b"\rx", (400, True)),
        (b"a\n", (413, True)),
        (b"a\x00", (413, True)),
        (b"a\r\n", (413, True)),
        (b"\r\nx\r\n0\r\n\r\n", (0, False)),
    ],
)
def test_the_end_of_a_line_of_the_limit_may_be_cut_anywhere(
    line_end: bytes, expected: tuple[int, bool]
) -> None:
    """The limit is inclusive, and what stands behind it in the same bytes makes no difference."""
    data = b"1".zfill(16) + b";" + b"a" * (MAX_EXTRA_BYTES - 1) + line_end

    assert expected == drip_refusal_of(data)
    if expected[0]:
        assert expected == refusal_of(data + b"a" * MAX_EXTRA_BYTES)
    else:
        assert (True, b"x", b"") == read(ChunkedBody(MAX_BYTES), data)


def test_a_line_that_drips_in_costs_linear_time() -> None:
    """Every byte of a line is looked at once, however it comes."""
    body = ChunkedBody(MAX_BYTES)
    buffer = bytearray(b"1;")
    began = time.process_time()
    for _ in range(MAX_EXTRA_BYTES - 1):
        buffer += b"a"
        assert not body.take(buffer)
    spent = time.process_time() - began

    assert spent < 2  # some 10 ms; looked at again for each byte it is minutes


def test_nothing_is_taken_after_the_end() -> None:
    """A complete body leaves everything that follows alone."""
    body = ChunkedBody(MAX_BYTES)
    read(body, b"0\r\n\r\n")

    assert (True, b"", b"5\r\n") == read(body, b"5\r\n")


@settings(deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=20), max_size=5),
    cuts=st.lists(st.integers(min_value=0, max_value=200), max_size=10),
)
def test_any_split_gives_the_same_body(chunks: list[bytes], cuts: list[int]) -> None:
    """However the bytes are cut, the body is what was sent and the rest is left."""
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    data = encoded + b"0\r\n\r\nGET"
    body = ChunkedBody(MAX_BYTES)
    buffer = bytearray()
    at = 0
    is_complete = False
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        buffer += data[at:cut]
        at = cut
        is_complete = body.take(buffer)

    assert (True, b"".join(chunks), b"GET") == (is_complete, bytes(body.data), bytes(buffer))
