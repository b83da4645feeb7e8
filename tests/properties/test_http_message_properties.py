"""Properties of what reads a request: no input is an accident, and h11 has the same view."""

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from urllib.parse import parse_qs, quote, urlencode

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from sseserver.errors import RequestError
from sseserver.wire.authority import host_is_local, parse_authority
from sseserver.wire.client_address import attempt_key, client_address
from sseserver.wire.cors import cors_headers, is_foreign_origin
from sseserver.wire.http_message import cookie_value, is_valid_correlation_id, parse_target
from sseserver.wire.negotiation import accepts_event_stream, choose_encoding, is_event_source
from sseserver.wire.request_head import check_head, check_head_so_far

TRUSTED: tuple[IPv4Network | IPv6Network, ...] = (
    ip_network("10.0.0.0/8"),
    ip_network("2001:db8::/32"),
)

# Pieces that matter to the parsers, and the bytes they are confused with.
HEAD_PIECES = (
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.2\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"host:[::1]:80\r\n",
    b"Content-Length: 5\r\n",
    b"content-length:\t0 \r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"TRANSFER-ENCODING:Chunked\r\n",
    b"Cookie: a=\x01\x7f\xff\r\n",
    b"X:\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"\x00",
    b"\x0b",
    b" ",
    b"\t",
    b":",
    b"a",
    b"5, 5",
)

heads = st.lists(st.sampled_from(HEAD_PIECES), max_size=8).map(b"".join) | st.binary(max_size=60)
likely_heads = st.lists(st.sampled_from(HEAD_PIECES), max_size=4).map(
    lambda pieces: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(pieces) + b"\r\n"
)

# What latin-1 decoding of a header value can give.
values = st.text(st.characters(max_codepoint=255), max_size=60)


def lists_of(*pieces: str) -> st.SearchStrategy[str]:
    """Return texts put together from `pieces` and from the separators of header values."""
    separators = (",", ";", "=", ";q=", "0", "1", ".", " ", "\t", '"', "\\", "*", "/", ":", "%", "")
    return st.lists(st.sampled_from(pieces + separators), max_size=16).map("".join)


accepts = values | lists_of("text/event-stream", "text/*", "*/*", "text/html", "q=0.5")
codings = values | lists_of("gzip", "zstd", "identity", "br", "x-gzip", ";q=0.5", "*;q=0")
addresses = values | lists_of("192.0.2.1", "10.0.0.1", "2001:db8::1", "[::1]:80", "unknown", ", ")
authorities = values | lists_of("localhost", "127.0.0.1", "[::1]", ":8080", "@", "app.example")
origins = st.none() | st.sampled_from(["null", "*", "https://app.example"]) | authorities
target_pieces = st.sampled_from(b"/ ? & = + % %2F %ff %41 a # * http:// lastEventId=".split())
targets = st.binary(max_size=60) | st.lists(target_pieces, max_size=12).map(b"".join)


def refusal(call: Callable[[], object]) -> tuple[int, bool] | None:
    """Return status and kind of the request error that a call ends in, None without one."""
    try:
        call()
    except RequestError as error:
        return error.status, error.is_framing
    return None


def is_hopeless(partial: bytes, start: int) -> bool:
    """Return whether bytes are refused that arrive after the first `start` of `partial`."""
    return refusal(lambda: check_head_so_far(partial, start)) is not None


def passes(head: bytes) -> bool:
    """Return whether the check lets a head pass; it refuses by framing errors alone."""
    refused = refusal(lambda: check_head(head))
    assert refused in {None, (400, True)}
    return refused is None


@given(heads | likely_heads)
def test_what_passes_h11_reads_in_the_same_way(head: bytes) -> None:
    """A head that passes is one request for h11, with the same lines and nothing left over."""
    if not passes(head):
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    request = connection.next_event()

    assert isinstance(request, h11.Request)
    assert connection.trailing_data == (b"", False)
    lines = head.split(b"\r\n")[1:-2]
    fields = [line.partition(b":") for line in lines]
    expected = [(name.lower(), value.strip(b" \t")) for name, _, value in fields]
    actual = [(name, value) for name, value in request.headers]
    assert [(name, value.lower()) for name, value in expected] == [
        (name, value.lower()) for name, value in actual
    ]


@given(heads | likely_heads, st.lists(st.integers(0, 200), max_size=6))
def test_cuts_do_not_change_the_verdict(head: bytes, cuts: list[int]) -> None:
    """A head that passes whole passes however it is cut; bytes that cannot, never become one."""
    ends = sorted({*(cut for cut in cuts if cut < len(head)), len(head)})
    refused = any(is_hopeless(head[:end], start) for start, end in pairwise([0, *ends]))

    assert not (refused and passes(head))


@given(heads | likely_heads, st.integers(0, 200))
def test_early_refusal_does_not_depend_on_cuts(head: bytes, cut: int) -> None:
    """Lone CR or LF and NUL are found in two parts exactly when they are found in one."""
    head = b"G" + head
    cut = min(cut + 1, len(head))

    assert is_hopeless(head, 0) == (is_hopeless(head[:cut], 0) or is_hopeless(head, cut))


@given(targets)
@example(b"/?lastEventId=%ff%")
def test_any_target(raw: bytes) -> None:
    """A target is parsed or a request error, and a path has the segments that were sent."""
    refused = refusal(lambda: parse_target(raw))
    if refused is not None:
        assert refused == (400, False)
        return
    target = parse_target(raw)

    sent = raw.partition(b"?")[0]
    if target.authority is not None:
        sent = sent.partition(b"://")[2].removeprefix(target.authority.encode()) or b"/"
    assert sent.count(b"/") == len(target.segments)
    assert target.path.startswith(("/", "*"))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1),
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        )
    ),
)
def test_what_was_encoded_comes_back(segments: list[str], pairs: list[tuple[str, str]]) -> None:
    """A path and a query that the standard library encodes are the ones that are parsed."""
    path = "".join(f"/{quote(segment, safe='')}" for segment in segments)
    query = urlencode(pairs)

    target = parse_target(f"{path}?{query}".encode())

    assert tuple(segments) == target.segments
    assert {name: tuple(found) for name, found in parse_qs(query).items()} == target.query


@given(st.lists(values | lists_of("session", "session=a", "; "), max_size=4))
def test_any_cookies(headers: list[str]) -> None:
    """Cookies are never an accident, and a value is a part of some header."""
    value = cookie_value(headers, "session")

    assert value is None or any(value in header for header in headers)


@given(addresses, st.lists(addresses, max_size=4))
def test_any_forwarded_for(peer: str, forwarded_for: list[str]) -> None:
    """An address comes out whatever is forwarded, and one of an untrusted peer is its own."""
    alone = client_address(peer, [], TRUSTED)
    address = client_address(peer, forwarded_for, TRUSTED)

    assert attempt_key(address)
    assert address == alone or any(alone in network for network in TRUSTED)


@given(st.none() | authorities, values, st.lists(values, max_size=2))
def test_any_host(host: str | None, bound_host: str, allowed: list[str]) -> None:
    """Any text is a host or none; what is local has the form of a host."""
    is_local = host_is_local(host, bound_host, allowed)

    assert not is_local or (host is not None and parse_authority(host.strip(" \t")) is not None)


@given(origins, st.none() | authorities, st.booleans(), st.lists(values, max_size=2))
def test_any_origin(origin: str | None, host: str | None, is_tls: bool, allowed: list[str]) -> None:
    """Credentials are allowed only to an origin that may also post, never to `*`."""
    headers = dict(cors_headers(origin, [*allowed, "*"]))
    is_foreign = is_foreign_origin(origin, host, is_tls, allowed)

    has_credentials = "Access-Control-Allow-Credentials" in headers
    assert not has_credentials or (headers["Access-Control-Allow-Origin"] == origin != "*")
    assert not has_credentials or not is_foreign


@given(accepts)
def test_any_accept(accept: str) -> None:
    """Any text is judged, and an EventSource always accepts an event stream."""
    assert accepts_event_stream(accept) or not is_event_source(accept)


@given(codings, st.lists(st.sampled_from(["gzip", "zstd"]), unique=True))
def test_any_accept_encoding(accept_encoding: str, offered: list[str]) -> None:
    """What is chosen is offered or identity, or it is a 406."""
    refused = refusal(lambda: choose_encoding(accept_encoding, offered, ["gzip"]))
    if refused is not None:
        assert refused == (406, False)
        return

    assert choose_encoding(accept_encoding, offered, ["gzip"]) in {*offered, "identity"}


@given(values)
def test_any_correlation_id(text: str) -> None:
    """What is kept as a correlation ID can be put in a header and in a log line as it is."""
    assert not is_valid_correlation_id(text) or (text.isascii() and text.isprintable())
