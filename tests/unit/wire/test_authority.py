"""Tests of `sseserver.wire.authority`: the form of `Host`, and which hosts are ours."""

import pytest

from sseserver.wire.authority import Authority, host_is_local, parse_authority


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Authority("localhost", None)),
        ("LocalHost:8080", Authority("localhost", 8080)),
        ("stream.example.", Authority("stream.example", None)),
        ("stream.example.:443", Authority("stream.example", 443)),
        ("a_b-c.example", Authority("a_b-c.example", None)),
        ("localhost:", Authority("localhost", None)),
        ("localhost:0", Authority("localhost", 0)),
        ("localhost:65535", Authority("localhost", 65535)),
        ("192.0.2.1:80", Authority("192.0.2.1", 80)),
        ("[::1]", Authority("::1", None)),
        ("[0:0:0:0:0:0:0:1]:8080", Authority("::1", 8080)),
        ("[2001:DB8::1]", Authority("2001:db8::1", None)),
        ("[::ffff:192.0.2.1]:80", Authority("192.0.2.1", 80)),
    ],
)
def test_authority_is_parsed(text: str, expected: Authority) -> None:
    """Hosts come out in one spelling, ports as numbers."""
    assert expected == parse_authority(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ":80",
        "a b",
        " a",
        "a\n",
        "a,b",
        "user@a",
        "a/",
        "a:b",
        "a:1:2",
        "a:65536",
        "a:123456",
        "a:\u0661",
        "\u00e4",
        "::1",
        "[::1",
        "[::1]x",
        "[1.2.3.4]",
        "[:::]",
        "[fe80::1%eth0]",
    ],
)
def test_what_is_no_authority(text: str) -> None:
    """Anything but one host and one port is None."""
    assert parse_authority(text) is None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "localhost.",
        "localhost.:8080",
        "trading.localhost",
        "a.b.LocalHost:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.255.255.254",
        "[::1]",
        "[::1]:8080",
        "[0::0:1]",
        "[::ffff:127.0.0.1]:8080",
        "\tlocalhost ",
    ],
)
def test_loopback_names_are_local(host: str) -> None:
    """Every spelling of a loopback name or address is local, with or without a port."""
    assert host_is_local(host, "192.0.2.1", [])


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "notlocalhost",
        "localhost..",
        ".localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "128.0.0.1",
        "127.1",
        "2130706433",
        "[::2]",
        "::1",
        "localhost, evil.example",
        "localhost:99999",
    ],
)
def test_other_names_are_not_local(host: str | None) -> None:
    """A name that an attacker can own, and what is no host, is not local."""
    assert not host_is_local(host, "192.0.2.1", [])


@pytest.mark.parametrize(
    ("host", "bound_host"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("[2001:db8::1]:8080", "2001:DB8:0::1"),
        ("[fe80::1]", "fe80::1%eth0"),
        ("desk-7:8080", "Desk-7"),
        ("0.0.0.0:8080", "0.0.0.0"),
        ("[::]", "::"),
    ],
)
def test_bound_address_is_local(host: str, bound_host: str) -> None:
    """The address that is bound is local, in every spelling."""
    assert host_is_local(host, bound_host, [])


@pytest.mark.parametrize("bound_host", ["0.0.0.0", "::", ""])
@pytest.mark.parametrize("host", ["evil.example", "192.0.2.1", "[2001:db8::1]", ""])
def test_bound_to_all_addresses_trusts_no_name(host: str, bound_host: str) -> None:
    """An address that stands for all does not make every name local."""
    assert not host_is_local(host, bound_host, [])


@pytest.mark.parametrize(
    "host", ["app.example", "APP.example.:443", "10.1.2.3:8080", "[2001:db8::7]", "[2001:db8::8]"]
)
def test_allowed_hosts_are_local(host: str) -> None:
    """Hosts that the configuration lists are local, ports aside."""
    allowed = ["App.Example", "10.1.2.3:80", "2001:db8::7", "[2001:db8:0::8]:80"]

    assert host_is_local(host, "0.0.0.0", allowed)


@pytest.mark.parametrize("host", ["www.app.example", "example", "not a host", "*"])
def test_allowed_hosts_match_whole(host: str) -> None:
    """A listed name covers neither its sub-domains nor its parents, and there are no patterns."""
    assert not host_is_local(host, "0.0.0.0", ["app.example", "not a host", "*"])
