"""May this request open a stream, and which one?

Order of checks (contract section 4): attempt limit, 401, strategy 404, 400, 406, max
connections. Refusals that will pass are told to an EventSource as an event, because any status
but 200 would end it for good (field notes D1).
"""

import math
import random
from typing import Final

import structlog

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import Config
from sseserver.errors import RequestError
from sseserver.event_id import parse_event_id
from sseserver.events import STREAM_TOPICS
from sseserver.hub.admission import AttemptLimit, is_exempt
from sseserver.hub.hub import Hub
from sseserver.hub.subscription import StreamRequest
from sseserver.net.access import STRATEGY_PREFIX, Access, is_name
from sseserver.net.connections import Connections
from sseserver.net.exchange import (
    CORRELATION_HEADER,
    Request,
    Response,
    StreamOpening,
    http_date,
)
from sseserver.state.sessions import Sessions, StrategyOwners
from sseserver.wire.client_address import attempt_key
from sseserver.wire.cors import cors_headers
from sseserver.wire.negotiation import accepts_event_stream, choose_encoding, is_event_source

_ROUTES: Final = {name: frozenset(map(str, topics)) for name, topics in STREAM_TOPICS.items()}
"""What streams carry, in sets that their connections share; one strategy's is its own."""

_BUSY_WAIT_SECONDS: Final = 5.0
_DRAIN_WAIT_SECONDS: Final = 2.0

_log = structlog.get_logger()


def stream_of(segments: tuple[str, ...]) -> str | None:
    """Return the stream that a path's segments name (`orders`, `strategies/s-1`), or None.

    Whatever follows `strategies/` is the ID of a strategy, which may hold slashes itself.
    """
    match segments:
        case ("api", "stream", "strategies", strategy_id) if strategy_id:
            return f"{STRATEGY_PREFIX}{strategy_id}"
        case ("api", "stream", name) if name in STREAM_TOPICS and name != "strategies":
            return name
        case _:
            return None


class StreamEndpoint:
    """Checks a request for a stream and says how it opens.

    Attributes:
        access: Who may see whose events.
    """

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
        self._attempts = attempts
        self._connections = connections
        self._clock = clock
        self._config = config
        self.access = Access(config, sessions, strategies, clock)

    def configure(self, config: Config) -> None:
        """Take what can change while running."""
        self._config = config
        self.access.config = config
        self._attempts.limits = config.limits

    def answer(
        self, request: Request, stream: str, *, is_draining: bool
    ) -> Response | StreamOpening:
        """Return the opening of a stream, or why there is none.

        Raises:
            RequestError: 400, 401, 403, 404 or 406.
        """
        now = self._clock.monotonic()
        address = self.access.address(request)
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
        if self._hub.streams.connection_limit.is_evicted_return(stream_request):
            answer: Response | StreamOpening = Response(204, (("Cache-Control", "no-store"),), b"")
        elif len(self._connections.streams) >= self._config.server.max_connections:
            return self._refusal(request, 503, "max_connections", _BUSY_WAIT_SECONDS)
        else:
            answer = StreamOpening(stream_request, self._head(request, stream_request.encoding))
        if is_limited:
            self._attempts.count(key, now)
        return answer

    def _checked(self, request: Request, stream: str) -> StreamRequest:
        caller = self.access.caller(request, stream)
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
            routes=_ROUTES.get(stream) or frozenset({stream}),
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

    def _symbols(self, request: Request) -> frozenset[str] | None:
        """Return the symbols asked for; None for all (no `?symbols=` at all)."""
        values = request.target.query.get("symbols")
        if values is None:
            return None
        names = [name.strip(" ") for value in values for name in value.split(",")]
        symbols = frozenset(name for name in names if name)
        if len(symbols) > self._config.limits.max_symbols:
            raise RequestError(
                400, f"More than {self._config.limits.max_symbols} symbols were asked for"
            )
        if not all(map(is_name, symbols)):
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
        malformed = [text for text, value in zip(named, parsed, strict=True) if value is None]
        if any(malformed):
            _log.info(
                "malformed_last_event_id",
                characters=len(next(filter(None, malformed))),  # what it says may be a secret
                correlation_id=request.correlation_id,
            )
        return max((value for value in parsed if value is not None), default=None)

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
            ("Date", http_date(self._clock.wall_ms() // 1000)),
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache"),
            ("Connection", "close" if _wants_close(request) else "keep-alive"),
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


def _wants_close(request: Request) -> bool:
    options = (request.header("connection") or "").lower().split(",")
    return not request.is_http_1_1 or "close" in map(str.strip, options)
