"""Tests of `sseserver.wire.client_address`."""

from ipaddress import ip_address, ip_network

import pytest

from sseserver.wire.client_address import attempt_key, client_address

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:aa::/48"))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_peer_without_proxies(peer: str, expected: str) -> None:
    """The peer is the client, IPv4-mapped addresses as IPv4, without scope."""
    assert ip_address(expected) == client_address(peer, [], ())


def test_header_of_an_untrusted_peer_is_ignored() -> None:
    """Who is not a trusted proxy cannot name another address."""
    assert ip_address("192.0.2.1") == client_address("192.0.2.1", ["198.51.100.1"], TRUSTED)


def test_no_trusted_proxies() -> None:
    """Without trusted proxies the header counts for nothing, from loopback neither."""
    assert ip_address("127.0.0.1") == client_address("127.0.0.1", ["198.51.100.1"], ())


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        pytest.param([], "10.0.0.1", id="proxy without header"),
        pytest.param([""], "10.0.0.1", id="empty header"),
        pytest.param(["198.51.100.7"], "198.51.100.7", id="one hop"),
        pytest.param(["203.0.113.9, 198.51.100.7"], "198.51.100.7", id="the client lied"),
        pytest.param(["198.51.100.7, 10.0.0.2,10.0.0.3"], "198.51.100.7", id="three proxies"),
        pytest.param(["198.51.100.7", "10.0.0.2"], "198.51.100.7", id="several fields"),
        pytest.param(["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7", id="mixed"),
        pytest.param(["198.51.100.7, , ,\t10.0.0.2 ,"], "198.51.100.7", id="empty elements"),
        pytest.param(["10.0.0.9, 10.0.0.2"], "10.0.0.9", id="all trusted"),
        pytest.param(["unknown"], "10.0.0.1", id="no address"),
        pytest.param(["198.51.100.7, _hidden, 10.0.0.2"], "10.0.0.2", id="malformed in between"),
        pytest.param(["198.51.100.7/24"], "10.0.0.1", id="network"),
        pytest.param(["198.51.100.\u0667"], "10.0.0.1", id="other digits"),
        pytest.param(["198.51.100.7:4711"], "198.51.100.7", id="port"),
        pytest.param(["198.51.100.7:port"], "10.0.0.1", id="port that is none"),
        pytest.param(["2001:db8::7"], "2001:db8::7", id="IPv6"),
        pytest.param(["[2001:db8::7]"], "2001:db8::7", id="IPv6 in brackets"),
        pytest.param(["[2001:db8::7]:4711"], "2001:db8::7", id="IPv6 with port"),
        pytest.param(["[]:4711"], "10.0.0.1", id="empty brackets"),
        pytest.param(["::ffff:198.51.100.7"], "198.51.100.7", id="IPv4-mapped client"),
        pytest.param(["198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7", id="IPv4-mapped proxy"),
        pytest.param(["198.51.100.7, 2001:db8:aa::1"], "198.51.100.7", id="IPv6 proxy"),
        pytest.param(["fe80::1%eth0"], "fe80::1", id="scope"),
    ],
)
def test_behind_a_trusted_proxy(forwarded_for: list[str], expected: str) -> None:
    """The rightmost untrusted address is the client; a malformed entry ends the search."""
    assert ip_address(expected) == client_address("10.0.0.1", forwarded_for, TRUSTED)


def test_peer_without_address() -> None:
    """A connection that is gone has no address; what it names as its own is not believed."""
    assert ip_address("0.0.0.0") == client_address("", ["198.51.100.7"], TRUSTED)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_attempt_key(address: str, expected: str) -> None:
    """IPv4 counts by address, IPv6 by /64."""
    assert expected == attempt_key(ip_address(address))
