"""Who asks, from where, and whose events they may see.

Without a session, what names users is served only where neither a page of another site (DNS
rebinding) nor a client behind a proxy can ask for it (contract section 6).
"""

import re
from typing import Final, NamedTuple

from sseserver.clock import Clock
from sseserver.config import Config
from sseserver.errors import RequestError
from sseserver.net.exchange import Request
from sseserver.state.sessions import Session, Sessions, StrategyOwners, session_key
from sseserver.wire.authority import host_is_local
from sseserver.wire.client_address import IPAddress, client_address
from sseserver.wire.http_message import cookie_value

STRATEGY_PREFIX: Final = "strategies/"

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
"""A name as the ingest port takes it (contract section 3)."""

_PROXY_HEADERS: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


class Caller(NamedTuple):
    """Who asks for a stream: whose events it carries, and the session that vouches for it."""

    user_id: str | None
    session_key: bytes | None


class Access:
    """Decides by sessions, strategy owners and the configuration.

    Attributes:
        config: The configuration, which may change while running.
    """

    def __init__(
        self, config: Config, sessions: Sessions, strategies: StrategyOwners, clock: Clock
    ) -> None:
        self.config = config
        self._sessions = sessions
        self._strategies = strategies
        self._clock = clock

    def session(self, request: Request) -> tuple[bytes | None, Session | None]:
        """Return the key that the cookie of a request names, and its session while valid."""
        session_id = cookie_value(request.headers.get("cookie", ()), self.config.auth.cookie_name)
        if session_id is not None:
            session_id = _as_text(session_id)
        if session_id is None:
            return None, None
        key = session_key(session_id)
        return key, self._sessions.get(key, self._clock.wall_ms())

    def caller(self, request: Request, stream: str) -> Caller:
        """Return who asks for a stream.

        Raises:
            RequestError: 400, 401, 403 or 404.
        """
        if stream == "prices":
            return Caller(None, None)
        key, session = self.session(request)
        if stream == "trading":
            return self._trading_caller(request, key, session)
        if session is None:
            raise no_session()
        if stream.startswith(STRATEGY_PREFIX):
            owner = self._strategies.owner(stream[len(STRATEGY_PREFIX) :])
            if owner != session.user_id:
                raise RequestError(404, "Strategy not found")
        return Caller(session.user_id, key)

    def may_name_users(self, request: Request) -> bool:
        """Tell whether the metrics may name users to this request (contract sections 2, 6).

        In protected mode a loopback peer that speaks for somebody else, and is not trusted to
        say for whom, is a proxy whose client may be anybody.
        """
        _, session = self.session(request)
        if session is not None and session.role == "admin":
            return True
        if not self._is_local_host(request):
            return False
        if not self.config.auth.protected_mode:
            return True
        address = self.address(request)
        is_believed = address != client_address(request.peer, (), ())
        return address.is_loopback and (is_believed or not _is_proxied(request))

    def address(self, request: Request) -> IPAddress:
        """Return the address of the client, behind trusted proxies too."""
        return client_address(
            request.peer,
            request.headers.get("x-forwarded-for", ()),
            self.config.server.trusted_proxies,
        )

    def _trading_caller(
        self, request: Request, key: bytes | None, session: Session | None
    ) -> Caller:
        is_open = self.config.auth.trading == "open"
        if session is None and not is_open:
            raise no_session()
        user_id = request.query("userId")
        if not user_id or not is_name(user_id):
            raise RequestError(400, "The query parameter userId is required")
        if session is not None and session.user_id == user_id:
            return Caller(user_id, key)
        if not is_open:
            raise RequestError(403, "The session belongs to another user")
        if not self._is_local_host(request):
            raise RequestError(403, "This host name is not in server.allowed_hosts")
        if self.config.auth.protected_mode and _is_proxied(request):
            raise RequestError(403, "Open trading is not served through a proxy")
        return Caller(user_id, None)

    def _is_local_host(self, request: Request) -> bool:
        server = self.config.server
        return host_is_local(request.host, server.host, server.allowed_hosts)


def no_session() -> RequestError:
    """Return the answer to a request without a valid session, the same for every reason."""
    return RequestError(401, "No valid session found")


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a user or a symbol."""
    return _NAME.fullmatch(text) is not None


def _as_text(field: str) -> str | None:
    """Return what the bytes of a header field, each of them a character here, say in UTF-8."""
    if field.isascii():
        return field
    try:
        return field.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_proxied(request: Request) -> bool:
    return any(name in request.headers for name in _PROXY_HEADERS)
