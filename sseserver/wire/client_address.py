"""Whose address a request comes from, behind proxies too, and under which key it counts."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

_NO_ADDRESS: Final = IPv4Address(0)

_BRACKETS_OR_PORT: Final = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
"""Forms of an address that some proxies write: `[::1]`, `[::1]:443`, `192.0.2.1:443`."""

_REMEMBERED: Final = 1024
"""Peers are proxies or offices, which connect again and again."""


def client_address(
    peer: str, forwarded_for: Sequence[str], trusted: Sequence[IPNetwork]
) -> IPAddress:
    """Return the address of the client: the rightmost one that is not a trusted proxy's.

    Each proxy appends the address it was called from, so entries are believed from the right
    as long as the one who wrote them is trusted. An entry that is not an address ends this at
    the proxy that wrote it. When all are trusted, the leftmost is the client. IPv4-mapped
    IPv6 addresses are taken as IPv4, scope IDs are dropped.

    Args:
        peer: Address of the connection, from the socket. One that is reset has none any more
            and counts as `0.0.0.0`.
        forwarded_for: Values of all `X-Forwarded-For` fields, in their order.
        trusted: `server.trusted_proxies`.

    Source: contract section 2.
    """
    address = _parse_address(peer)
    if address is None:
        return _NO_ADDRESS
    entries = [entry.strip(" \t") for value in forwarded_for for entry in value.split(",")]
    for entry in reversed(entries):
        if not entry:  # an empty element of a list counts for nothing (RFC 9110 section 5.6.1)
            continue
        if not any(address in network for network in trusted):
            break
        hop = _parse_address(entry)
        if hop is None:
            break
        address = hop
    return address


def attempt_key(address: IPAddress) -> str:
    """Return what attempts of this address are counted under.

    An IPv6 client owns at least a /64 and can take a new address for every attempt, so the
    whole /64 is one key.

    Source: contract section 2, `limits.attempts_per_minute_per_ip`.
    """
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


@lru_cache(_REMEMBERED)
def _parse_address(text: str) -> IPAddress | None:
    match = _BRACKETS_OR_PORT.fullmatch(text)
    bare = text if match is None else match[1] or match[2] or ""
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
