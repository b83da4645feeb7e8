"""However the bytes of requests are cut, the answers are the same."""

from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.net.site import Answer, Site, answers, request


class Sent(NamedTuple):
    """A request, and the status it gets."""

    data: bytes
    status: int
    is_head: bool = False


PATHS = {
    "GET /healthz": 200,
    "HEAD /healthz": 200,
    "GET /readyz": 200,
    "GET /nowhere": 404,
    "HEAD /nowhere": 404,
    "GET /%zz": 400,
    "HEAD /%zz": 400,
    "POST /api/stream/test": 401,
    "POST /api/stream/orders": 405,
    "GET /api/stream/orders": 401,
    "OPTIONS /api/stream/orders": 200,
    "GET /api/stream/trading": 400,
}
FIELDS = ("", "\nX: y", "\nCookie: session=none; a=b", "\nAccept: text/event-stream")


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Return a body in chunks of any size, with extensions and a trailer now and then."""
    encoded = b""
    while body:
        size = draw(st.integers(1, len(body)))
        extension = draw(st.sampled_from((b"", b";a", b';a="b;c"')))
        encoded += b"%x%b\r\n%b\r\n" % (size, extension, body[:size])
        body = body[size:]
    return encoded + b"0\r\n" + draw(st.sampled_from((b"", b"T: u\r\n"))) + b"\r\n"


@st.composite
def sent_requests(draw: st.DrawFn) -> Sent:
    """Return a request with or without a body, which may look like a request itself."""
    line = draw(st.sampled_from(sorted(PATHS)))
    fields = draw(st.sampled_from(FIELDS)) + "\nX-Correlation-ID: c-1"
    body = draw(st.one_of(st.none(), st.binary(max_size=40), st.just(request("GET /healthz"))))
    if body is None:
        data = request(f"{line}{fields}")
    elif draw(st.booleans()):
        data = request(f"{line}{fields}\nContent-Length: {len(body)}") + body
    else:
        data = request(f"{line}{fields}\nTransfer-Encoding: chunked") + draw(chunked(body))
    empty_lines = draw(st.sampled_from((b"", b"", b"\r\n")))
    return Sent(empty_lines + data, PATHS[line], line.startswith("HEAD"))


def answers_to(pieces: list[bytes], methods: str) -> list[Answer]:
    """Return what one connection answers to these bytes."""
    transport = Site().connect()
    for piece in pieces:
        transport.receive(piece)
    return answers(bytes(transport.sent), methods=methods)


@settings(deadline=None)
@given(
    sent=st.lists(sent_requests(), min_size=1, max_size=6),
    cuts=st.lists(st.integers(min_value=1, max_value=1500), max_size=12, unique=True),
)
def test_any_split_of_the_bytes_gives_the_same_answers(sent: list[Sent], cuts: list[int]) -> None:
    """Whole, one by one, byte by byte or cut anywhere: one answer for each, in order."""
    data = b"".join(one.data for one in sent)
    methods = "".join("H" if one.is_head else "G" for one in sent)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    whole = answers_to([data], methods)

    assert [one.status for one in sent] == [answer.status for answer in whole]
    assert whole == answers_to([one.data for one in sent], methods)
    assert whole == answers_to([bytes((byte,)) for byte in data], methods)
    assert whole == answers_to(pieces, methods)


@settings(deadline=None)
@given(data=st.binary(max_size=60), start=st.sampled_from((b"", b"GET / HTTP/1.1\r\nHost: a\r\n")))
def test_no_bytes_do_harm(data: bytes, start: bytes) -> None:
    """Whatever arrives, whole or byte by byte: a valid answer or none, and never an exception."""
    whole, drip = Site().connect(), Site().connect()
    whole.receive(start + data)
    for byte in start + data:
        drip.receive(bytes((byte,)))

    found = [[answer.status for answer in answers(bytes(one.sent))] for one in (whole, drip)]
    assert found[0] == found[1]
    assert all(status in {200, 400, 404, 405, 414, 431} for status in found[0])
