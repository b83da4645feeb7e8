"""May this request open a stream, and which one?

Order of checks (contract section 4): attempt limit, 401, strategy 404, 400, 406, max
connections. Refusals that will pass are told to an EventSource as an event, because any status
but 200 would end it for good (field notes D1).
"""

import math
import random
from typing import Final, NamedTuple

import structlog

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import Config
from sseserver.errors import RequestError
from sseserver.event_id import parse_event_id
from sseserver.events import STREAM_TOPICS
from sseserver.hub.admission import AttemptLimit, is_exempt
from sseserver.hub.hub import Hub
from sseserver.hub.subscription import StreamRequest
from sseserver.net.connections import Connections
from sseserver.net.exchange import CORRELATION_HEADER, Request, Response, StreamOpening
from sseserver.state.sessions import Session, Sessions, StrategyOwners, session_key
from sseserver.wire.authority import host_is_local
from sseserver.wire.client_address import attempt_key, client_address
from sseserver.wire.cors import cors_headers
from sseserver.wire.http_message import cookie_value
from sseserver.wire.negotiation import accepts_event_stream, choose_encoding, is_event_source

_PREFIX: Final = "/api/stream/"
_STRATEGY_PREFIX: Final = "strategies/"
_MAX_NAME_LENGTH: Final = 128
_BUSY_WAIT_SECONDS: Final = 5.0
_DRAIN_WAIT_SECONDS: Final = 2.0
_PROXY_HEADERS: Final = ("forwarded", "via", "x-forwarded-for", "x-real-ip")

_log = structlog.get_logger()


class Caller(NamedTuple):
    """Who asks for a stream, and whose events it carries."""

    user_id: str | None
    session_key: bytes | None


def stream_of(path: str) -> str | None:
    """Return the stream a path names (`orders`, `strategies/s-1`), or None."""
    if not path.startswith(_PREFIX):
        return None
    name = path[len(_PREFIX) :]
    if name.startswith(_STRATEGY_PREFIX):
        strategy_id = name[len(_STRATEGY_PREFIX) :]
        return name if strategy_id and "/" not in strategy_id else None
    return name if name in STREAM_TOPICS and name != "strategies" else None


class StreamEndpoint:
    """Checks a request for a stream and says how it opens."""

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        config: Config,
        hub: Hub,
        sessions: Sessions,
        strategies: StrategyOwners,
        attempts: AttemptLimit,
        connections: Connections,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._sessions = sessions
        self._strategies = strategies
        self._attempts = attempts
        self._connections = connections
        self._clock = clock
        self._config = config

    def configure(self, config: Config) -> None:
        """Take what can change while running."""
        self._config = config
        self._attempts.limits = config.limits

    def answer(
        self, request: Request, stream: str, *, is_draining: bool
    ) -> Response | StreamOpening:
        """Return the opening of a stream, or why there is none.

        Raises:
            RequestError: 400, 401, 403, 404 or 406.
        """
        now = self._clock.monotonic()
        address = client_address(
            request.peer,
            request.headers.get("x-forwarded-for", ()),
            self._config.server.trusted_proxies,
        )
        key = attempt_key(address)
        is_limited = not is_exempt(address, self._config.limits.exempt_networks)
        wait_seconds = self._attempts.wait_seconds(key, now) if is_limited else 0.0
        if wait_seconds:
            return self._refusal(request, 429, "attempt_limit", wait_seconds)
        try:
            stream_request = self._checked(request, stream)
        except RequestError:
            if is_limited:
                self._attempts.count(key, now)
            raise
        if is_draining:
            return self._refusal(request, 503, "draining", _DRAIN_WAIT_SECONDS)
        if self._hub.streams.is_evicted_return(stream_request):
            answer: Response | StreamOpening = Response(204, (), b"")
        elif len(self._connections.streams) >= self._config.server.max_connections:
            return self._refusal(request, 503, "max_connections", _BUSY_WAIT_SECONDS)
        else:
            answer = StreamOpening(stream_request, self._head(request, stream_request.encoding))
        if is_limited:
            self._attempts.count(key, now)
        return answer

    def may_name_users(self, request: Request, *, is_admin: bool) -> bool:
        """Tell whether the metrics may name users to this request (contract sections 2, 6)."""
        if is_admin:
            return True
        if not self._is_local_host(request):
            return False
        if not self._config.auth.protected_mode:
            return True
        address = client_address(
            request.peer,
            request.headers.get("x-forwarded-for", ()),
            self._config.server.trusted_proxies,
        )
        return address.is_loopback

    def _checked(self, request: Request, stream: str) -> StreamRequest:
        caller = self._caller(request, stream)
        routes = (
            frozenset({stream})
            if stream.startswith(_STRATEGY_PREFIX)
            else frozenset(map(str, STREAM_TOPICS[stream]))
        )
        symbols = self._symbols(request) if stream == "prices" else None
        if not accepts_event_stream(request.header("accept")):
            raise RequestError(406, "This path answers with text/event-stream")
        compression = self._config.compression
        prefers_zstd = stream == "prices" and symbols is None
        encoding = choose_encoding(
            request.header("accept-encoding"),
            compression.encodings,
            ("zstd", "gzip") if prefers_zstd else ("gzip", "zstd"),
        )
        return StreamRequest(
            stream=stream,
            routes=routes,
            user_id=caller.user_id,
            symbols=symbols,
            encoding=encoding,
            is_chunked=request.is_http_1_1,
            is_counted=caller.session_key is not None,
            session_key=caller.session_key,
            last_event_id=self._last_event_id(request),
            wants_replay=request.query("replay") != "0",
            correlation_id=request.correlation_id,
        )

    def _caller(self, request: Request, stream: str) -> Caller:
        if stream == "prices":
            return Caller(None, None)
        key, session = self._session(request)
        if stream == "trading":
            return self._trading_caller(request, key, session)
        if session is None:
            raise RequestError(401, "No valid session found")
        if stream.startswith(_STRATEGY_PREFIX):
            owner = self._strategies.owner(stream[len(_STRATEGY_PREFIX) :])
            if owner != session.user_id:
                raise RequestError(404, "Strategy not found")
        return Caller(session.user_id, key)

    def _trading_caller(
        self, request: Request, key: bytes | None, session: Session | None
    ) -> Caller:
        user_id = request.query("userId")
        if self._config.auth.trading == "session" and session is None:
            raise RequestError(401, "No valid session found")
        if not user_id or not _is_name(user_id):
            raise RequestError(400, "The query parameter userId is required")
        if session is not None and session.user_id == user_id:
            return Caller(user_id, key)
        if self._config.auth.trading == "session":
            raise RequestError(403, "The session belongs to another user")
        if not self._is_local_host(request):
            raise RequestError(403, "This host name is not in server.allowed_hosts")
        if self._config.auth.protected_mode and any(
            name in request.headers for name in _PROXY_HEADERS
        ):
            raise RequestError(403, "Open trading is not served through a proxy")
        return Caller(user_id, None)

    def _session(self, request: Request) -> tuple[bytes | None, Session | None]:
        session_id = cookie_value(request.headers.get("cookie", ()), self._config.auth.cookie_name)
        if session_id is None:
            return None, None
        key = session_key(session_id)
        return key, self._sessions.get(key, self._clock.wall_ms())

    def _symbols(self, request: Request) -> frozenset[str] | None:
        """Return the symbols asked for; None for all (no `?symbols=` at all)."""
        values = request.target.query.get("symbols")
        if values is None:
            return None
        names = [name.strip() for value in values for name in value.split(",")]
        symbols = frozenset(name for name in names if name)
        if len(symbols) > self._config.limits.max_symbols:
            raise RequestError(
                400, f"More than {self._config.limits.max_symbols} symbols were asked for"
            )
        if not all(map(_is_name, symbols)):
            raise RequestError(400, "A symbol is 1 to 128 characters, without control characters")
        return symbols

    def _last_event_id(self, request: Request) -> int | None:
        """Return the later of header and query; what is not in the ID format is ignored.

        Source: contract section 4, "The last event ID is taken from".
        """
        named = [
            *request.headers.get("last-event-id", ()),
            *request.target.query.get("lastEventId", ()),
        ]
        parsed = [parse_event_id(text) for text in named]
        for text, value in zip(named, parsed, strict=True):
            if value is None and text:
                _log.info(
                    "malformed_last_event_id",
                    last_event_id=text[:_MAX_NAME_LENGTH],
                    correlation_id=request.correlation_id,
                )
        return max((value for value in parsed if value is not None), default=None)

    def _is_local_host(self, request: Request) -> bool:
        server = self._config.server
        return host_is_local(request.host, server.host, server.allowed_hosts)

    def _refusal(self, request: Request, status: int, reason: str, wait_seconds: float) -> Response:
        self._hub.counters.refused_streams += 1
        _log.warning(
            "stream_refused",
            reason=reason,
            path=request.target.path,
            correlation_id=request.correlation_id,
        )
        if not is_event_source(request.header("accept")):
            raise RequestError(
                status,
                "Try again later",
                headers=(("Retry-After", str(math.ceil(wait_seconds))),),
            )
        retry_ms = math.ceil(wait_seconds * 1000 * random.uniform(1, 2))  # noqa: S311 - a spread
        payload = {
            "reason": reason,
            "retryAfterMs": retry_ms,
            "timestamp": iso_timestamp(self._clock.wall_ms()),
        }
        body = self._hub.frames.single("connection:refused", payload, None, retry_ms)
        return Response(
            200,
            (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")),
            body,
            closes=True,
        )

    def _head(self, request: Request, encoding: str) -> bytes:
        headers = [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache"),
            ("Connection", "keep-alive" if request.is_http_1_1 else "close"),
            ("X-Accel-Buffering", "no"),
            *cors_headers(request.header("origin"), self._config.cors.allow_origins),
            ("Vary", "Accept-Encoding"),
            (CORRELATION_HEADER, request.correlation_id),
        ]
        if encoding != "identity":
            headers.append(("Content-Encoding", encoding))
        if request.is_http_1_1:
            headers.append(("Transfer-Encoding", "chunked"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode("latin-1")


def _is_name(text: str) -> bool:
    return 1 <= len(text) <= _MAX_NAME_LENGTH and text.isprintable()
