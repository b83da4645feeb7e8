"""What pages of other origins may do: read answers (CORS), and post (CSRF).

Source: WHATWG Fetch 3.3 (CORS protocol); contract sections 2 and 6.
"""

from collections.abc import Sequence
from typing import Final

from sseserver.wire.authority import Authority, parse_authority

_PERMISSIONS: Final = (
    ("Access-Control-Allow-Methods", "GET, OPTIONS"),
    ("Access-Control-Allow-Headers", "Content-Type, Authorization"),
    ("Access-Control-Expose-Headers", "X-Correlation-ID"),
)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def cors_headers(origin: str | None, allow_origins: Sequence[str]) -> list[tuple[str, str]]:
    """Return the CORS fields of a response, whatever its status.

    An origin that is listed by name is echoed and may send cookies. Otherwise `*` in the list
    lets any page read what is served without them: browsers refuse `*` with credentials. As
    soon as the answer depends on the origin, `Vary` says so to caches.

    Args:
        origin: Value of `Origin`. `null` (a sandboxed page, a file) is never listed.
        allow_origins: `cors.allow_origins`.

    Source: specification, "CORS Configuration"; contract section 2.
    """
    has_names = any(allowed != "*" for allowed in allow_origins)
    headers = [("Vary", "Origin")] if has_names else []
    if origin is not None and _is_listed(origin, allow_origins):
        headers.append(("Access-Control-Allow-Origin", origin))
        headers.append(("Access-Control-Allow-Credentials", "true"))
        headers.extend(_PERMISSIONS)
    elif "*" in allow_origins:
        headers.append(("Access-Control-Allow-Origin", "*"))
        headers.extend(_PERMISSIONS)
    return headers


def is_foreign_origin(
    origin: str | None,
    host: str | None,
    is_tls: bool,  # noqa: FBT001 - a fact about the request like its neighbours, not a switch
    allow_origins: Sequence[str],
) -> bool:
    """Return whether a POST comes from a page that has no business to send it.

    A request without `Origin` does not come from a browser. Over TLS the page must have come
    over TLS too; without TLS it may have, since a proxy can have taken TLS off. Neither `*`
    nor `null` counts.

    Args:
        origin: Value of `Origin`.
        host: Value of `Host`.
        is_tls: The connection itself is TLS.
        allow_origins: `cors.allow_origins`.

    Source: contract section 6.
    """
    if origin is None or _is_listed(origin, allow_origins):
        return False
    scheme, _, rest = origin.lower().partition("://")
    if scheme != "https" and (is_tls or scheme != "http"):
        return True
    page = parse_authority(rest)
    own = None if host is None else parse_authority(host)
    if page is None or own is None:
        return True
    own_scheme = "https" if is_tls else "http"
    return _without_default_port(page, scheme) != _without_default_port(own, own_scheme)


def _is_listed(origin: str, allow_origins: Sequence[str]) -> bool:
    wanted = origin.lower()
    return wanted not in {"*", "null"} and any(wanted == name.lower() for name in allow_origins)


def _without_default_port(authority: Authority, scheme: str) -> Authority:
    if authority.port == _DEFAULT_PORTS[scheme]:
        return authority._replace(port=None)
    return authority
