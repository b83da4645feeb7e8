"""The `host[:port]` of a request, and whether it can come from DNS rebinding.

A page of an attacker can make its own name resolve to our address; the browser then lets it
read our answers, but still sends the attacker's name as `Host`. What names users without a
session is therefore served only under names that an attacker cannot own (contract section 6).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

# Narrower than `reg-name` of RFC 3986 section 3.2.2, which allows `,`, `;`, `%` and more: no
# host on the network has them, and intermediaries disagree on what they mean.
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]++)\]|(?P<name>[0-9A-Za-z._-]++))(?::(?P<port>[0-9]{0,5}))?"
)


class Authority(NamedTuple):
    """A host and the port that was named with it.

    `host` is in lower case, without brackets and without the dot of a fully qualified name;
    an IPv6 address is in its short form, an IPv4-mapped one is the IPv4 address.
    """

    host: str
    port: int | None


@lru_cache(maxsize=128)
def parse_authority(text: str) -> Authority | None:
    """Return the parts of `host[:port]`, None when that is not what `text` is.

    Source: RFC 9110 section 7.2; RFC 3986 section 3.2 without user information.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    ipv6, name, port_text = match.groups()
    port = int(port_text) if port_text else None
    if port is not None and port > 65535:
        return None
    if ipv6 is None:
        host = name.lower().removesuffix(".")
        return Authority(host, port) if host else None
    try:
        address = IPv6Address(ipv6)
    except ValueError:
        return None
    return Authority(str(address.ipv4_mapped or address), port)


def host_is_local(host_header: str | None, bound_host: str, allowed_hosts: Sequence[str]) -> bool:
    """Return whether a request came under a name that no attacker can own.

    Those are `localhost` and the names below it (RFC 6761 section 6.3), loopback addresses,
    the address that is bound and `server.allowed_hosts`. Ports do not matter: a name is
    either ours or not. An address that stands for all (`0.0.0.0`, `::`) matches only itself.

    Args:
        host_header: Value of `Host`; a request without one is not local.
        bound_host: `server.host`.
        allowed_hosts: `server.allowed_hosts`, IPv6 addresses with or without brackets.

    Source: contract section 6, "DNS rebinding".
    """
    authority = None if host_header is None else parse_authority(host_header.strip(" \t"))
    if authority is None:
        return False
    host = authority.host
    return (
        host == "localhost"
        or host.endswith(".localhost")
        or _is_loopback_address(host)
        or any(host == _configured_host(entry) for entry in (bound_host, *allowed_hosts))
    )


def _is_loopback_address(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _configured_host(entry: str) -> str | None:
    # An operator writes an IPv6 address bare, and a link-local one with its scope, which
    # browsers leave out of Host.
    authority = parse_authority(entry) or parse_authority(f"[{entry.partition('%')[0]}]")
    return None if authority is None else authority.host
