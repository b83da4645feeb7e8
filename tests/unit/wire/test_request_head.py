"""Tests of `sseserver.wire.request_head`: what is refused, what passes, and what h11 does."""

import h11
import pytest

from sseserver.errors import RequestError
from sseserver.wire.request_head import check_head, check_head_so_far, field_so_far

GET = b"GET /api/stream/prices HTTP/1.1\r\nHost: localhost:8080\r\n"
MANY = 300_000
POST = b"POST /api/stream/test HTTP/1.1\r\nHost: localhost:8080\r\n"

BROWSER = (
    GET + b"Connection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
    b"Accept: text/event-stream\r\nCache-Control: no-cache\r\nSec-Fetch-Mode: cors\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    b"Cookie: session=0123456789abcdef; theme=dark\r\n\r\n"
)

VALID = {
    "browser": BROWSER,
    "absolute-form": b"GET http://localhost:8080/a?b HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
    "asterisk-form": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "unknown method": b"M-SEARCH / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "lower-case names": b"GET / HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n",
    "upper-case names": b"GET / HTTP/1.1\r\nHOST: localhost\r\n\r\n",
    "empty value": GET + b"Accept:\r\nX-Empty: \t \r\n\r\n",
    "tabs around values": b"GET / HTTP/1.1\r\nHost:\tlocalhost\t \r\nAccept:\t*/*\t\r\n\r\n",
    "no white space": b"GET / HTTP/1.1\r\nHost:localhost\r\n\r\n",
    "value beyond ASCII": GET + "X-Name: J\u00fcrgen\r\n\r\n".encode(),
    "control character in a value": GET + b"Cookie: legacy=\x01\x7f\r\n\r\n",
    "every character of a name": GET + b"!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n",
    "1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    "1.0 with Host": b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "a later minor version": b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "IPv6 Host": b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n",
    "IPv6 Host with port": b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
    "fully qualified Host": b"GET / HTTP/1.1\r\nHost: Stream.Example.:8080\r\n\r\n",
    "Host with empty port": b"GET / HTTP/1.1\r\nHost: localhost:\r\n\r\n",
    "Content-Length": POST + b"Content-Length: 007\t\r\n\r\n",
    "Content-Length 0": POST + b"content-length: 0\r\n\r\n",
    "chunked": POST + b"Transfer-Encoding: chunked\r\n\r\n",
    "chunked in upper case": POST + b"TRANSFER-ENCODING:\tCHUNKED \r\n\r\n",
    "names that only look like framing": POST + b"X-Host: a b\r\nContent-Length-X: -1\r\n\r\n",
}

# Name: (head, what is named in the answer, what h11 does with it alone).
ACCEPTS, REFUSES = True, False
HOSTILE = {
    # Line ends and white space.
    "lone LF, everywhere": (b"GET / HTTP/1.1\nHost: a\n\n", "an LF without CR", ACCEPTS),
    "lone LF, after a field": (GET + b"A: b\nC: d\r\n\r\n", "an LF without CR", ACCEPTS),
    "lone LF, after the request line": (
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        "an LF without CR",
        ACCEPTS,
    ),
    "lone LF, hides a Content-Length": (
        POST + b"A: b\nContent-Length: 5\r\n\r\n",
        "an LF without CR",
        ACCEPTS,
    ),
    "lone LF, ends the head": (GET + b"\n", "an LF without CR", ACCEPTS),
    "lone CR, in a value": (GET + b"A: b\rC: d\r\n\r\n", "a CR without LF", REFUSES),
    "lone CR, in the target": (
        b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        "a CR without LF",
        REFUSES,
    ),
    "CR CR LF": (GET + b"A: b\r\r\n\r\n", "a CR without LF", REFUSES),
    "folded line": (GET + b"A: b\r\n c\r\n\r\n", "a folded line", ACCEPTS),
    "folded line, tab": (GET + b"A: b\r\n\tc\r\n\r\n", "a folded line", ACCEPTS),
    "folded line, white space alone": (GET + b"A: b\r\n \r\n\r\n", "a folded line", ACCEPTS),
    "folded line, in Host": (
        b"GET / HTTP/1.1\r\nHost:\r\n localhost\r\n\r\n",
        "a folded line",
        ACCEPTS,
    ),
    "folded line, in Transfer-Encoding": (
        POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n",
        "a folded line",
        ACCEPTS,
    ),
    "folded line, hides a Content-Length": (
        POST + b"A: b\r\n Content-Length: 5\r\n\r\n",
        "a folded line",
        ACCEPTS,
    ),
    "folded line, the first": (
        b"GET / HTTP/1.1\r\n A: b\r\nHost: a\r\n\r\n",
        "a folded line",
        REFUSES,
    ),
    "space before the colon": (
        POST + b"Content-Length : 5\r\n\r\n",
        "white space before a colon",
        REFUSES,
    ),
    "tab before the colon": (
        POST + b"Transfer-Encoding\t: chunked\r\n\r\n",
        "white space before a colon",
        REFUSES,
    ),
    "space in a name": (GET + b"Content Length: 5\r\n\r\n", "a header line", REFUSES),
    "empty line first": (b"\r\n" + BROWSER, "the request line", REFUSES),
    # Bytes that some parser takes for an end or for white space.
    "NUL, in a value": (GET + b"A: b\x00c\r\n\r\n", "a NUL", REFUSES),
    "NUL, in a name": (GET + b"A\x00: b\r\n\r\n", "a NUL", REFUSES),
    "NUL, in the target": (b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "a NUL", REFUSES),
    "vertical tab in a value": (GET + b"A: b\x0bc\r\n\r\n", "a header line", REFUSES),
    "form feed before a value": (
        POST + b"Transfer-Encoding:\x0cchunked\r\n\r\n",
        "a header line",
        REFUSES,
    ),
    "no name": (GET + b": b\r\n\r\n", "a header line", REFUSES),
    "no colon": (GET + b"A\r\n\r\n", "a header line", REFUSES),
    "name beyond ASCII": (GET + b"\xc4: b\r\n\r\n", "a header line", REFUSES),
    # The request line.
    "control character in the target": (
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "target beyond ASCII": (
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "the request line", REFUSES),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "the request line", REFUSES),
    "space in the target": (
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "white space after the version": (
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", "the request line", REFUSES),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "the request line", ACCEPTS),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\n", "the request line", ACCEPTS),
    "version of two digits": (
        b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "version in lower case": (
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    "method that is no token": (
        b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "the request line",
        REFUSES,
    ),
    # Host.
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", "no Host", REFUSES),
    "no Host, later minor version": (b"GET / HTTP/1.2\r\n\r\n", "no Host", ACCEPTS),
    "Host twice": (
        GET + b"Host: localhost:8080\r\n\r\n",
        "more than one Host, Content-Length or Transfer-Encoding",
        REFUSES,
    ),
    "Host twice, other case": (
        GET + b"hOST: evil.example\r\n\r\n",
        "more than one Host, Content-Length or Transfer-Encoding",
        REFUSES,
    ),
    **{
        f"Host: {host.decode('latin-1')}": (
            b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
            "Host",
            ACCEPTS,
        )
        for host in (
            b"",
            b".",
            b"a b",
            b"a,b",
            b"a@b",
            b"a/b",
            b"a?b",
            b"a\\b",
            b"a%2eb",
            b"http://a",
            b"a:b",
            b"a:1:2",
            b"a:-1",
            b"a:65536",
            b"a:100000",
            b":80",
            b"::1",
            b"[::1",
            b"[::1]8080",
            b"[fe80::1%25eth0]",
            b"[:::1]",
            b"[]",
            b"\xe4.example",
            b"a\x01b",
        )
    },
    # Where the body ends.
    "Content-Length beside Transfer-Encoding": (
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Length beside Transfer-Encoding",
        ACCEPTS,
    ),
    "Transfer-Encoding beside Content-Length": (
        POST + b"transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n",
        "Content-Length beside Transfer-Encoding",
        ACCEPTS,
    ),
    "Content-Length twice, equal": (
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "more than one Host, Content-Length or Transfer-Encoding",
        ACCEPTS,
    ),
    "Content-Length twice, different": (
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "more than one Host, Content-Length or Transfer-Encoding",
        REFUSES,
    ),
    "Content-Length list, equal": (
        POST + b"Content-Length: 5, 5\r\n\r\n",
        "Content-Length",
        ACCEPTS,
    ),
    "Content-Length list, different": (
        POST + b"Content-Length: 5, 6\r\n\r\n",
        "Content-Length",
        REFUSES,
    ),
    "Content-Length of 19 digits": (
        POST + b"Content-Length: 1000000000000000000\r\n\r\n",
        "Content-Length",
        ACCEPTS,
    ),
    **{
        f"Content-Length: {length.decode('latin-1')}": (
            POST + b"Content-Length: " + length + b"\r\n\r\n",
            "Content-Length",
            REFUSES,
        )
        for length in (b"", b"+5", b"-5", b"0x5", b"5.0", b"5e1", b"1_0", b"5 5", b"\xb2", b"x")
    },
    "Transfer-Encoding twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "more than one Host, Content-Length or Transfer-Encoding",
        REFUSES,
    ),
    "chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding",
        ACCEPTS,
    ),
    **{
        f"Transfer-Encoding: {coding.decode('latin-1')}": (
            POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n",
            "Transfer-Encoding",
            REFUSES,
        )
        for coding in (
            b"",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, identity",
            b"chunked, chunked",
            b"chunked;q=1",
            b'"chunked"',
            b"xchunked",
            b"chunked\x01",
        )
    },
    # Not one head.
    "incomplete": (GET, "a header line", REFUSES),
    "bytes after the head": (BROWSER + b"GET", "a header line", ACCEPTS),
    "nothing": (b"", "the request line", REFUSES),
}


def h11_accepts(head: bytes) -> bool:
    """Return whether h11 alone makes a request of the head."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    try:
        return isinstance(connection.next_event(), h11.Request)
    except h11.RemoteProtocolError:
        return False


@pytest.mark.parametrize("head", VALID.values(), ids=VALID)
def test_valid_head_passes(head: bytes) -> None:
    """What the RFCs allow passes, however unusual, whole and while it arrives."""
    check_head(head)
    check_head_so_far(head, 0)


@pytest.mark.parametrize("head", VALID.values(), ids=VALID)
def test_h11_agrees_on_valid_heads(head: bytes) -> None:
    """h11 makes a request of every head that passes."""
    assert h11_accepts(head)


@pytest.mark.parametrize(("head", "fault", "_h11"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_head_is_refused(head: bytes, fault: str, _h11: bool) -> None:
    """Every hostile form is a framing error that names what is wrong."""
    with pytest.raises(RequestError) as caught:
        check_head(head)

    error = caught.value
    assert (400, f"Malformed request head: {fault}", True) == (
        error.status,
        error.message,
        error.is_framing,
    )


@pytest.mark.parametrize(("head", "_fault", "verdict"), HOSTILE.values(), ids=HOSTILE)
def test_h11_alone(head: bytes, _fault: str, verdict: bool) -> None:
    """The table says which hostile forms h11 accepts: the reason for the check before it."""
    assert verdict == h11_accepts(head)


def test_start_of_a_valid_head_passes() -> None:
    """A valid head passes however it is cut, also between CR and LF."""
    for cut in range(len(BROWSER) + 1):
        check_head_so_far(BROWSER[:cut], 0)
        check_head_so_far(bytearray(BROWSER), cut)


def test_start_of_an_empty_line_passes() -> None:
    """A first CR alone passes: with its LF it is an empty line, which is not part of a head."""
    check_head_so_far(b"\r", 0)


@pytest.mark.parametrize(
    "partial",
    [
        pytest.param(b"\x16\x03\x01\x02\x00", id="TLS hello"),
        pytest.param(b"\r\n", id="empty line"),
        pytest.param(b" GET", id="space"),
        pytest.param(b"GET /\n", id="lone LF"),
        pytest.param(b"GET /\rH", id="lone CR"),
        pytest.param(b"GET /\r\r", id="two CRs"),
        pytest.param(b"GET /\x00", id="NUL"),
        pytest.param(GET + b"A: b\r\n\n", id="lone LF after CRLF"),
    ],
)
def test_hopeless_start_is_refused(partial: bytes) -> None:
    """Bytes that can never become a valid head are refused when they arrive."""
    with pytest.raises(RequestError) as caught:
        check_head_so_far(partial, 0)

    assert (caught.value.status, caught.value.is_framing) == (400, True)


@pytest.mark.parametrize(
    ("partial", "start", "fault"),
    [
        pytest.param(b"GET /\rH", 6, "a CR without LF", id="after a CR at the cut"),
        pytest.param(b"GET /\r\n\n", 7, "an LF without CR", id="after CRLF at the cut"),
        pytest.param(b"GET /\n", 5, "an LF without CR", id="after a letter at the cut"),
    ],
)
def test_fault_across_a_cut_is_found(partial: bytes, start: int, fault: str) -> None:
    """A fault is found from the byte before the new ones on."""
    with pytest.raises(RequestError, match=fault):
        check_head_so_far(partial, start)


def test_bytes_checked_before_are_not_looked_at_again() -> None:
    """What an earlier call let pass costs nothing, so that a dripped head stays linear."""
    check_head_so_far(b"GET /\x00 HTTP/1.1\r\n", 6)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GET + b"A" * MANY, id="name"),
        pytest.param(GET + b"A:" + b" " * MANY, id="white space"),
        pytest.param(GET + b"A" + b" \t" * MANY + b"\r\n\r\n", id="white space before no colon"),
        pytest.param(GET + b"A:\r\n" * MANY, id="lines"),
        pytest.param(GET + b"\r\nhost" * MANY, id="names without colon"),
    ],
)
def test_hostile_head_costs_linear_time(head: bytes) -> None:
    """A head made to be searched again and again is read once: quadratic would take hours."""
    with pytest.raises(RequestError):
        check_head(head)


ORIGIN = b"Origin: https://app.example\r\n"


@pytest.mark.parametrize(
    "partial",
    [
        pytest.param(GET + ORIGIN, id="not yet whole"),
        pytest.param(GET + ORIGIN + b"\r\n", id="whole"),
        pytest.param(GET + b"ORIGIN:https://app.example \t\r\nA", id="another spelling"),
        pytest.param(b"GET /\xe4 a HTTP/9\r\n" + ORIGIN, id="behind a bad request line"),
        pytest.param(GET + b"A : b\r\n: c\r\n d\r\n" + ORIGIN, id="behind bad lines"),
        pytest.param(GET + ORIGIN + b"Origin: https://b.example\r\n", id="the first of two"),
        pytest.param(GET + ORIGIN + b"A: b\nC: d\r\n\r\n", id="before a lone LF"),
        pytest.param(GET + ORIGIN + b"A: \x00\r\n\r\n", id="before a NUL"),
    ],
)
def test_a_field_of_a_refused_head_is_found(partial: bytes) -> None:
    """A whole line of the right form counts, whatever is wrong with others."""
    assert "https://app.example" == field_so_far(bytearray(partial), b"origin")


@pytest.mark.parametrize(
    "partial",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ORIGIN, id="where the request line should be"),
        pytest.param(GET, id="not there"),
        pytest.param(GET + ORIGIN[:-2], id="cut short"),
        pytest.param(GET + ORIGIN[:-1], id="cut before its LF"),
        pytest.param(GET + b"Origin : a\r\n", id="white space before the colon"),
        pytest.param(GET + b" Origin: a\r\n", id="folded"),
        pytest.param(GET + ORIGIN + b" a\r\n", id="continued"),
        pytest.param(GET + ORIGIN + b"\ta", id="being continued"),
        pytest.param(GET + b"X-Origin: a\r\nOrigin-X: a\r\nOriginX: a\r\n", id="other names"),
        pytest.param(GET + b"A: Origin: a\r\n", id="inside a value"),
        pytest.param(POST + b"\r\n" + ORIGIN, id="in a body"),
        pytest.param(POST + b"\r\n" + GET + ORIGIN, id="of another request"),
        pytest.param(POST + b"A: b\n\nPOST / HTTP/1.1\r\n" + ORIGIN, id="behind a lone LF"),
        pytest.param(POST + b"A: b\n" + ORIGIN, id="right behind a lone LF"),
        pytest.param(POST + b"A: b\r\r" + ORIGIN, id="behind a lone CR"),
        pytest.param(POST + b"A: \x00\r\n" + ORIGIN, id="behind a NUL"),
        pytest.param(GET + ORIGIN.replace(b"\r\n", b"\n") + b"A: b\r\n", id="ends in a lone LF"),
        pytest.param(b"GET / HTTP/1.1\nA: b\r\n" + ORIGIN, id="behind a bare request line"),
    ],
)
def test_nothing_uncertain_is_taken_for_a_field(partial: bytes) -> None:
    """What some reader may see as part of something else, or as something else, is nothing."""
    assert field_so_far(partial, b"origin") is None


@pytest.mark.parametrize(
    "piece", [b"\r\nOrigin:", b"\r\nOrigin: a", b"Origin:", b"a\r\n ", b"\r\n"]
)
def test_looking_for_a_field_costs_linear_time(piece: bytes) -> None:
    """Bytes made to be searched again and again are read once: quadratic would take hours."""
    assert field_so_far(b"GET / HTTP/1.1" + piece * MANY, b"x-none") is None
