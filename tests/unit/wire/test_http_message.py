"""Tests of `sseserver.wire.http_message`."""

import pytest

from sseserver.errors import RequestError
from sseserver.wire.http_message import (
    Target,
    cookie_value,
    error_body,
    is_valid_correlation_id,
    parse_target,
    reason_phrase,
)

MANY = 300_000


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/", Target(("",), {})),
        (b"/api/stream/orders", Target(("api", "stream", "orders"), {})),
        (b"/?", Target(("",), {})),
        (b"*", Target((), {})),
        (b"/*", Target(("*",), {})),
        (b"/a?b=c", Target(("a",), {"b": ("c",)})),
        (b"http://localhost", Target(("",), {}, "localhost")),
        (b"http://localhost:8080/a?b", Target(("a",), {"b": ("",)}, "localhost:8080")),
        (b"HTTPS://[::1]:8080?b=c", Target(("",), {"b": ("c",)}, "[::1]:8080")),
        (b"//evil.example/a", Target(("", "evil.example", "a"), {})),
        (b"/a//b/", Target(("a", "", "b", ""), {})),
        (b"/a/../b/./%2e%2e/c", Target(("a", "..", "b", ".", "..", "c"), {})),
        (b"/strategies/a%20b%C3%A4+c", Target(("strategies", "a b\u00e4+c"), {})),
        (b"/a%3Fb%23c", Target(("a?b#c",), {})),
        (b"/a%2Fb/c%2f", Target(("a/b", "c/"), {})),
        (b"/a%252Fb", Target(("a%2Fb",), {})),
        (b"/a\\b|c", Target(("a\\b|c",), {})),
    ],
)
def test_target_is_parsed(raw: bytes, expected: Target) -> None:
    """All three forms are taken; segments are split before escapes are decoded, once."""
    assert expected == parse_target(raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [(b"/", "/"), (b"*", "*"), (b"/a//b/?c", "/a//b/"), (b"/a%2Fb/%C3%A4", "/a/b/\u00e4")],
)
def test_a_path_is_shown_decoded(raw: bytes, path: str) -> None:
    """For a log, where masking must see what a request says."""
    assert path == parse_target(raw).path


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"&&", {}),
        (b"symbols=AAPL,GOOGL", {"symbols": ("AAPL,GOOGL",)}),
        (b"symbols=AAPL%2CGOOGL", {"symbols": ("AAPL,GOOGL",)}),
        (b"a=1&b=2&a=3", {"a": ("1", "3"), "b": ("2",)}),
        (b"a", {"a": ("",)}),
        (b"a=", {"a": ("",)}),
        (b"=a", {"": ("a",)}),
        (b"a=b=c", {"a": ("b=c",)}),
        (b"a=b;c=d", {"a": ("b;c=d",)}),
        (b"a=b/c?d", {"a": ("b/c?d",)}),
        (b"a+b=c+d%2Be", {"a b": ("c d+e",)}),
        (b"%61=%C3%A4%26%3D", {"a": ("\u00e4&=",)}),
    ],
)
def test_query_is_parsed(query: bytes, expected: dict[str, tuple[str, ...]]) -> None:
    """Pairs are split before they are decoded, `+` is a space, all values are kept in order."""
    assert expected == parse_target(b"/?" + query).query


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1735819800000-abc123def", "1735819800000-abc123def"),
        (b"17358%2", "17358%2"),
        (b"%zz", "%zz"),
        (b"%ff", "\ufffd"),
    ],
)
def test_last_event_id_is_never_an_error(value: bytes, expected: str) -> None:
    """What `lastEventId` holds is no reason for a status on which a browser gives up."""
    query = parse_target(b"/?lastEventId=" + value).query

    assert {"lastEventId": (expected,)} == query


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a", id="no slash"),
        pytest.param(b"?a=b", id="query alone"),
        pytest.param(b"localhost:8080", id="authority-form"),
        pytest.param(b"**", id="two asterisks"),
        pytest.param(b"ftp://localhost/", id="other scheme"),
        pytest.param(b"http:///a", id="no host"),
        pytest.param(b"http://user@localhost/", id="user"),
        pytest.param(b"http://a,b/", id="two hosts"),
        pytest.param(b"http://localhost:x/", id="port that is none"),
        pytest.param(b"/a#b", id="fragment"),
        pytest.param(b"/a?b#c", id="fragment after a query"),
        pytest.param(b"/a b", id="space"),
        pytest.param(b"/a\x00", id="NUL"),
        pytest.param(b"/a\n", id="LF"),
        pytest.param(b"/\xc3\xa4", id="beyond ASCII"),
        pytest.param(b"/%", id="escape without digits"),
        pytest.param(b"/%2", id="escape cut short"),
        pytest.param(b"/%zz", id="escape of no number"),
        pytest.param(b"/%ff", id="not UTF-8"),
        pytest.param(b"/%c0%af", id="overlong slash"),
        pytest.param(b"/%c3/%a4", id="character cut by a slash"),
        pytest.param(b"/%ed%a0%80", id="surrogate"),
        pytest.param(b"/?a=%", id="escape cut short in a value"),
        pytest.param(b"/?%zz=a", id="escape of no number in a name"),
        pytest.param(b"/?a=%ff", id="value not UTF-8"),
    ],
)
def test_malformed_target_is_refused(raw: bytes) -> None:
    """Any other target is answered 400; the connection may go on."""
    with pytest.raises(RequestError) as caught:
        parse_target(raw)

    assert (caught.value.status, caught.value.is_framing) == (400, False)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([], None, id="no field"),
        pytest.param([""], None, id="empty field"),
        pytest.param(["session=abc"], "abc", id="alone"),
        pytest.param(["theme=dark; session=abc; lang=en"], "abc", id="among others"),
        pytest.param(["theme=dark;session=abc"], "abc", id="no white space"),
        pytest.param([" \tsession = abc\t"], "abc", id="white space"),
        pytest.param(["theme=dark", "session=abc"], "abc", id="second field"),
        pytest.param(["session=abc; session=def", "session=ghi"], "abc", id="first wins"),
        pytest.param(['session="abc"'], "abc", id="quotes"),
        pytest.param(['session=""'], "", id="nothing in quotes"),
        pytest.param(['session="'], '"', id="one quote"),
        pytest.param(['session="abc'], '"abc', id="open quote"),
        pytest.param(["session="], "", id="empty value"),
        pytest.param(["session=a=b=="], "a=b==", id="equal signs"),
        pytest.param(["session"], None, id="no equal sign"),
        pytest.param(["session; session=abc"], "abc", id="malformed, then right"),
        pytest.param(["=session; =abc"], None, id="no name"),
        pytest.param(["Session=abc"], None, id="other case"),
        pytest.param(["xsession=abc; sessionx=def"], None, id="other names"),
        pytest.param([";;;=;;session=abc;"], "abc", id="empty pairs"),
    ],
)
def test_cookie_value(headers: list[str], expected: str | None) -> None:
    """The first cookie of the name counts; what is malformed is passed over."""
    assert expected == cookie_value(headers, "session")


@pytest.mark.parametrize("piece", [";", "=", '"', " ", "session", "session;", "a=b; "])
def test_hostile_cookies_cost_linear_time(piece: str) -> None:
    """A value made to be searched again and again is read once: quadratic would take hours."""
    assert cookie_value([piece * MANY], "session") is None


def test_one_parameter_many_times_costs_linear_time() -> None:
    """Values of one parameter are gathered without copying those before."""
    assert len(parse_target(b"/?" + b"a&" * MANY).query["a"]) == MANY


@pytest.mark.parametrize("text", ["a", "0", "req-1", "A.b_c:d-9", "x" * 128])
def test_valid_correlation_id(text: str) -> None:
    """1 to 128 characters of the listed ones are kept."""
    assert is_valid_correlation_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "a/b", "\u00e4", "\u0661", "a\x1b"])
def test_invalid_correlation_id(text: str) -> None:
    """Everything else is replaced."""
    assert not is_valid_correlation_id(text)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "OK"),
        (204, "No Content"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (406, "Not Acceptable"),
        (408, "Request Timeout"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (429, "Too Many Requests"),
        (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
def test_reason_phrase(status: int, expected: str) -> None:
    """Every status that is sent has the phrase of RFC 9110 or RFC 6585."""
    assert expected == reason_phrase(status)


def test_unknown_status() -> None:
    """A status that does not exist is a mistake of the caller."""
    with pytest.raises(ValueError, match="799"):
        reason_phrase(799)


def test_error_body() -> None:
    """The body has the three fields of the specification, in its order."""
    expected = b'{"error":"Not Found","message":"Strategy \\"a\\" not found","statusCode":404}'

    assert expected == error_body(404, 'Strategy "a" not found')
