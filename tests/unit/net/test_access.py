"""Tests of `sseserver.net.access`."""

from typing import Any

import pytest

from sseserver.errors import RequestError
from sseserver.net.access import Caller, is_name
from sseserver.net.exchange import Request
from sseserver.state.sessions import session_key
from tests.unit.net.site import Site, parsed, request

KEY = session_key("s-1")


def site_with(**settings: Any) -> Site:
    """Return a site with two users' sessions, an admin's, and a strategy of the first user."""
    site = Site({key.replace("__", "."): value for key, value in settings.items()})
    site.session("s-1", "user-1")
    site.session("s-2", "user-2")
    site.session("s-a", "root", "admin")
    site.strategies.put("str-1", "user-1")
    return site


def caller(site: Site, stream: str, query: str = "", fields: str = "") -> object:
    """Return who asks for a stream, or status and message of the refusal."""
    asked = parsed(f"GET /api/stream/{stream}{query}{fields}")
    try:
        return site.streams.access.caller(asked, stream)
    except RequestError as error:
        return error.status, error.message


NO_SESSION = (401, "No valid session found")
NO_STRATEGY = (404, "Strategy not found")
NO_USER = (400, "The query parameter userId is required")
FOREIGN_HOST = (403, "This host name is not in server.allowed_hosts")
PROXIED = (403, "Open trading is not served through a proxy")
ANOTHER_USER = (403, "The session belongs to another user")


def test_prices_ask_nobody() -> None:
    """The price stream is nobody's, with a session too."""
    site = site_with()

    assert Caller(None, None) == caller(site, "prices")
    assert Caller(None, None) == caller(site, "prices", fields="\nCookie: session=s-1")


@pytest.mark.parametrize("stream", ["orders", "positions", "ai-decisions", "alerts"])
def test_a_private_stream_is_its_sessions(stream: str) -> None:
    """The user is the session's; the query cannot name another one."""
    site = site_with()

    assert Caller("user-1", KEY) == caller(site, stream, "?userId=user-2", "\nCookie: session=s-1")


@pytest.mark.parametrize(
    "fields",
    ["", "\nCookie: session=", "\nCookie: session=nobody", "\nCookie: Session=s-1", "\nCookie: x"],
)
def test_without_a_valid_session_it_is_always_the_same(fields: str) -> None:
    """No cookie, an unknown session, another name: one answer, on a strategy's path too."""
    site = site_with()

    assert [NO_SESSION] * 4 == [
        caller(site, stream, fields=fields)
        for stream in ("orders", "strategies/str-1", "strategies/none", "alerts")
    ]


def test_an_expired_session_is_none() -> None:
    """A session that has ended vouches for nothing."""
    site = site_with()
    now_ms = site.clock.wall_ms()
    site.sessions.put(KEY, "user-1", "user", now_ms + 1000, now_ms)
    before = caller(site, "orders", fields="\nCookie: session=s-1")
    site.clock.advance(1)

    assert Caller("user-1", KEY) == before
    assert NO_SESSION == caller(site, "orders", fields="\nCookie: session=s-1")


@pytest.mark.parametrize(("sent", "user_id"), [("sé", "user-1"), ("s\udce9", None)])
def test_a_cookie_is_utf_8(sent: str, user_id: str | None) -> None:
    """An ID with more than ASCII is found; bytes that are no text name nobody."""
    site = site_with()
    site.session("sé", "user-1")
    site.session("s\ufffd", "user-2")
    transport = site.connect()
    cookie = sent.encode("utf-8", "surrogateescape")
    transport.receive(request("GET /api/stream/alerts\nCookie: session=@").replace(b"@", cookie))
    head = transport.take_sent().partition(b"\r\n")[0]

    assert (b"HTTP/1.1 200 OK" if user_id else b"HTTP/1.1 401 Unauthorized") == head


def test_the_cookies_name_is_configured() -> None:
    """`auth.cookie_name` is where the session is looked for."""
    site = site_with(auth__cookie_name="sid")

    assert Caller("user-1", KEY) == caller(site, "orders", fields="\nCookie: session=x; sid=s-1")


def test_a_strategy_is_its_owners() -> None:
    """Of another user it answers as one that does not exist."""
    site = site_with()

    assert Caller("user-1", KEY) == caller(site, "strategies/str-1", fields="\nCookie: session=s-1")
    assert NO_STRATEGY == caller(site, "strategies/str-1", fields="\nCookie: session=s-2")
    assert NO_STRATEGY == caller(site, "strategies/none", fields="\nCookie: session=s-1")


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("?userId=user-1", "", Caller("user-1", None)),
        ("?userId=user-1", "\nCookie: session=s-1", Caller("user-1", KEY)),
        ("?userId=user-1", "\nCookie: session=s-2", Caller("user-1", None)),
        ("?userId=a%20%C2%A0b", "", Caller("a \u00a0b", None)),
        ("", "", NO_USER),
        ("", "\nCookie: session=s-1", NO_USER),
        ("?userId=", "", NO_USER),
        ("?userId=a%0Ab", "", NO_USER),
        ("?userId=" + "a" * 129, "", NO_USER),
        ("?userId=user-1", "\nHost: evil.example", FOREIGN_HOST),
        ("?userId=user-1", "\nHost: evil.example\nCookie: session=s-2", FOREIGN_HOST),
        ("?userId=user-1", "\nHost: evil.example\nCookie: session=s-1", Caller("user-1", KEY)),
        ("?userId=user-1", "\nHost: 127.0.0.1:8080", Caller("user-1", None)),
        ("?userId=user-1", "\nHost: [::1]", Caller("user-1", None)),
        ("?userId=user-1", "\nHost: app.localhost", Caller("user-1", None)),
        ("?userId=user-1", "\nForwarded: for=1.2.3.4", PROXIED),
        ("?userId=user-1", "\nVia: 1.1 x", PROXIED),
        ("?userId=user-1", "\nX-Forwarded-For: 127.0.0.1", PROXIED),
        ("?userId=user-1", "\nX-Real-IP: 127.0.0.1", PROXIED),
        ("?userId=user-1", "\nVia: 1.1 x\nCookie: session=s-1", Caller("user-1", KEY)),
    ],
)
def test_open_trading(query: str, fields: str, expected: object) -> None:
    """Anybody near may watch a user; only the user's own session counts as authenticated."""
    assert expected == caller(site_with(), "trading", query, fields)


@pytest.mark.parametrize(
    ("query", "fields", "expected"),
    [
        ("?userId=user-1", "\nCookie: session=s-1", Caller("user-1", KEY)),
        (
            "?userId=user-1",
            "\nCookie: session=s-1\nHost: evil.example\nVia: 1.1 x",
            Caller("user-1", KEY),
        ),
        ("?userId=user-1", "\nCookie: session=s-2", ANOTHER_USER),
        ("?userId=user-1", "\nCookie: session=s-a", ANOTHER_USER),
        ("?userId=user-1", "", NO_SESSION),
        ("", "", NO_SESSION),
        ("", "\nCookie: session=s-1", NO_USER),
    ],
)
def test_trading_by_session(query: str, fields: str, expected: object) -> None:
    """With `auth.trading = "session"` the session must belong to `userId`."""
    assert expected == caller(site_with(auth__trading="session"), "trading", query, fields)


def test_an_allowed_host_is_served() -> None:
    """`server.allowed_hosts` names what no attacker owns; without protection proxies may be."""
    site = site_with(server__allowed_hosts=["feed.example"], auth__protected_mode=False)

    assert Caller("user-1", None) == caller(
        site, "trading", "?userId=user-1", "\nHost: feed.example\nVia: 1.1 x"
    )


LOCAL = "GET /api/stream/metrics"


@pytest.mark.parametrize(
    ("settings", "request_", "expected"),
    [
        ({}, parsed(LOCAL), True),
        ({}, parsed(LOCAL, "::1"), True),
        ({}, parsed(LOCAL, "::ffff:127.0.0.1"), True),
        ({}, parsed(LOCAL, "192.0.2.1"), False),
        ({}, parsed(LOCAL, ""), False),
        ({}, parsed(f"{LOCAL}\nHost: evil.example"), False),
        ({}, parsed(f"{LOCAL}\nX-Forwarded-For: 192.0.2.1"), False),
        ({}, parsed(f"{LOCAL}\nVia: 1.1 x"), False),
        ({}, parsed(f"{LOCAL}\nX-Real-IP: 192.0.2.1", "::ffff:127.0.0.1"), False),
        ({}, parsed(f"{LOCAL}\nCookie: session=s-1", "192.0.2.1"), False),
        ({}, parsed(f"{LOCAL}\nCookie: session=s-a", "192.0.2.1"), True),
        ({}, parsed(f"{LOCAL}\nHost: evil.example\nCookie: session=s-a"), True),
        ({"auth.protected_mode": False}, parsed(LOCAL, "192.0.2.1"), True),
        ({"auth.protected_mode": False}, parsed(f"{LOCAL}\nHost: evil.example"), False),
        (
            {"server.trusted_proxies": ["10.0.0.0/8"]},
            parsed(f"{LOCAL}\nX-Forwarded-For: 127.0.0.1", "10.0.0.1"),
            True,
        ),
        (
            {"server.trusted_proxies": ["127.0.0.0/8"]},
            parsed(f"{LOCAL}\nX-Forwarded-For: 192.0.2.1"),
            False,
        ),
        ({"server.trusted_proxies": ["127.0.0.0/8"]}, parsed(f"{LOCAL}\nVia: 1.1 x"), False),
    ],
)
def test_who_learns_users_names(
    settings: dict[str, Any], request_: Request, expected: bool
) -> None:
    """Admins do; else the host must be ours and, when protected, the client on this machine."""
    site = Site(settings)
    site.session("s-1", "user-1")
    site.session("s-a", "root", "admin")

    assert expected == site.streams.access.may_name_users(request_)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("a" * 128, True), ("\u00a0\u2028", True), ("", False), ("a" * 129, False)]
    + [(f"a{control}", False) for control in "\0\n\x1f\x7f\x80\x9f"],
)
def test_a_name_is_what_the_ingest_port_takes(text: str, expected: bool) -> None:
    """1 to 128 characters without control characters."""
    assert expected == is_name(text)
