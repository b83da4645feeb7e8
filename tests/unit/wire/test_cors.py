"""Tests of `sseserver.wire.cors`."""

import pytest

from sseserver.wire.cors import cors_headers, is_foreign_origin

PERMISSIONS = [
    ("Access-Control-Allow-Methods", "GET, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Authorization"),
    ("Access-Control-Expose-Headers", "X-Correlation-ID"),
]
VARY = ("Vary", "Origin")
ANY = ("Access-Control-Allow-Origin", "*")


def echoed(origin: str) -> list[tuple[str, str]]:
    """Return the fields of an answer to an origin that is listed by name."""
    return [
        VARY,
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        *PERMISSIONS,
    ]


@pytest.mark.parametrize("origin", [None, "https://app.example", "null", "*"])
def test_any_origin(origin: str | None) -> None:
    """With `*` alone any page may read, without cookies, and the answer does not vary."""
    assert [ANY, *PERMISSIONS] == cors_headers(origin, ["*"])


@pytest.mark.parametrize("origin", ["https://app.example", "HTTPS://APP.example"])
def test_listed_origin(origin: str) -> None:
    """An origin in the list is echoed as it came, and may send cookies."""
    assert echoed(origin) == cors_headers(origin, ["http://a.example", "https://App.Example"])


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "http://app.example",
        "https://sub.app.example",
    ],
)
def test_unlisted_origin(origin: str | None) -> None:
    """Any other origin, `null` too though it is listed, gets no permission."""
    assert cors_headers(origin, ["https://app.example", "null"]) == [VARY]


def test_names_beside_any_origin() -> None:
    """A name beside `*` is echoed with credentials, all others get `*`; caches are told."""
    allowed = ["*", "https://app.example"]

    assert echoed("https://app.example") == cors_headers("https://app.example", allowed)
    assert [VARY, ANY, *PERMISSIONS] == cors_headers("https://other.example", allowed)
    assert [VARY, ANY, *PERMISSIONS] == cors_headers("null", allowed)


def test_no_origin_allowed() -> None:
    """With an empty list no page of another origin may read."""
    assert cors_headers("https://app.example", []) == []


@pytest.mark.parametrize(
    ("origin", "host", "is_tls"),
    [
        pytest.param(None, "app.example", False, id="no browser"),
        pytest.param(None, None, False, id="no browser, no Host"),
        pytest.param("http://app.example", "app.example", False, id="same"),
        pytest.param("http://app.example:8080", "app.example:8080", False, id="same port"),
        pytest.param("HTTP://APP.example", "App.Example.", False, id="other spelling"),
        pytest.param("http://app.example", "app.example:80", False, id="default port named"),
        pytest.param("https://app.example", "app.example", False, id="TLS taken off by a proxy"),
        pytest.param("https://app.example:443", "app.example", False, id="the same, port named"),
        pytest.param("https://app.example", "app.example:443", True, id="TLS"),
        pytest.param("https://[::1]:8443", "[::1]:8443", True, id="IPv6"),
        pytest.param("https://page.example", "app.example", True, id="listed"),
        pytest.param("https://page.example", None, False, id="listed, no Host"),
    ],
)
def test_own_origin(origin: str | None, host: str | None, is_tls: bool) -> None:
    """No origin, the request's own host and a listed origin may post."""
    assert not is_foreign_origin(origin, host, is_tls, ["*", "https://page.example"])


@pytest.mark.parametrize(
    ("origin", "host", "is_tls"),
    [
        pytest.param("https://evil.example", "app.example", False, id="other host"),
        pytest.param("null", "app.example", False, id="null"),
        pytest.param("*", "app.example", False, id="star"),
        pytest.param("", "app.example", False, id="empty"),
        pytest.param("http://app.example:81", "app.example", False, id="other port"),
        pytest.param("http://app.example", "app.example:8080", False, id="other port of ours"),
        pytest.param("http://app.example", "app.example:443", False, id="port of TLS"),
        pytest.param("http://app.example", "app.example", True, id="page without TLS"),
        pytest.param("ftp://app.example", "app.example", False, id="other scheme"),
        pytest.param("app.example", "app.example", False, id="no scheme"),
        pytest.param("http://app.example/", "app.example", False, id="no origin: a path"),
        pytest.param("http://u@app.example", "app.example", False, id="no origin: a user"),
        pytest.param("http://app.example", None, False, id="no Host"),
        pytest.param("http://app.example", "app example", False, id="Host that is none"),
    ],
)
def test_foreign_origin(origin: str, host: str | None, is_tls: bool) -> None:
    """Every other page is foreign; `*` and `null` in the list change nothing."""
    assert is_foreign_origin(origin, host, is_tls, ["*", "null"])
