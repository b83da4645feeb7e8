"""(method, path) to endpoint: everything but the streams themselves.

Order of checks (contract section 4): framing (before this), 404/405, and for streams those of
`net.stream_endpoint`.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import Config
from sseserver.errors import RequestError
from sseserver.event_id import format_event_id
from sseserver.events import Event
from sseserver.hub.hub import Hub
from sseserver.net.access import no_session
from sseserver.net.connections import Connections
from sseserver.net.exchange import (
    CORRELATION_HEADER,
    Request,
    Response,
    StreamOpening,
    error_response,
    json_response,
)
from sseserver.net.metrics_page import PROMETHEUS_CONTENT_TYPE, MetricsPage
from sseserver.net.stream_connection import StreamConnection
from sseserver.net.stream_endpoint import StreamEndpoint, stream_of
from sseserver.state.sessions import Sessions
from sseserver.wire.cors import cors_headers, is_foreign_origin
from sseserver.wire.sse_frame import encode_json

_CORRELATION_BYTES: Final = 12
_READING: Final = ("GET", "HEAD")
_ALL_METHODS: Final = "GET, HEAD, POST, OPTIONS"

_log = structlog.get_logger()

_Endpoint = Callable[[Request], Response]


class Routes:
    """Answers requests, and opens streams on the connections they came from.

    Attributes:
        is_draining: No new streams; `/readyz` answers 503.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        config: Config,
        hub: Hub,
        sessions: Sessions,
        connections: Connections,
        streams: StreamEndpoint,
        metrics: MetricsPage,
        clock: Clock,
    ) -> None:
        self._config = config
        self._hub = hub
        self._sessions = sessions
        self._connections = connections
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self.is_draining = False
        self._endpoints: dict[tuple[str, ...], tuple[Sequence[str], _Endpoint]] = {
            ("healthz",): (_READING, self._health),
            ("readyz",): (_READING, self._readiness),
            ("metrics",): (_READING, self._prometheus),
            ("api", "stream", "metrics"): (_READING, self._metrics_json),
            ("api", "stream", "test"): (("POST",), self._test),
        }

    def configure(self, config: Config) -> None:
        """Take what can change while running."""
        self._config = config
        self._streams.configure(config)

    def answer(self, request: Request) -> Response | StreamOpening:
        """Return the answer to a request; raises nothing."""
        try:
            answer = self._answer(request)
        except RequestError as error:
            answer = error_response(
                error.status, error.message, error.headers, closes=error.is_framing
            )
        except Exception:  # noqa: BLE001 - one of the three places: a bug costs one answer
            _log.exception(
                "request_failed",
                path=request.target.path,
                correlation_id=request.correlation_id,
            )
            answer = error_response(500, "Failed to establish SSE connection")
        if isinstance(answer, StreamOpening):
            return answer
        _log.debug(
            "request",
            method=request.method,
            path=request.target.path,
            status=answer.status,
            correlation_id=request.correlation_id,
        )
        return self._with_common_headers(answer, request.correlation_id, request.header("origin"))

    def refuse(self, error: RequestError, correlation_id: str, origin: str | None) -> Response:
        """Return the answer to what could not be read as a request."""
        _log.info("request_refused", status=error.status, correlation_id=correlation_id)
        response = error_response(
            error.status, error.message, error.headers, closes=error.is_framing
        )
        return self._with_common_headers(response, correlation_id, origin)

    def open_stream(self, transport: asyncio.Transport, opening: StreamOpening) -> None:
        """Hand a connection over to a stream."""
        connection = StreamConnection(
            transport, self._connections, self._hub.streams, self._sessions
        )
        connection.open(opening.request, opening.head)

    def new_correlation_id(self) -> str:
        """Return an ID for a request that brought none."""
        return secrets.token_urlsafe(_CORRELATION_BYTES)

    def _answer(self, request: Request) -> Response | StreamOpening:
        segments = request.target.segments
        if request.method == "OPTIONS" and not segments:  # `*`: RFC 9110 section 9.3.7
            return Response(200, (("Allow", _ALL_METHODS),), b"")
        stream = stream_of(segments)
        methods, endpoint = self._endpoints.get(segments, (("GET",), None))
        if stream is None and endpoint is None:
            raise RequestError(404, "No such path")
        allow = ("Allow", ", ".join((*methods, "OPTIONS")))
        if request.method == "OPTIONS":
            return Response(200, (allow,), b"")
        if request.method not in methods:
            raise RequestError(405, f"Use {' or '.join(methods)}", headers=(allow,))
        if endpoint is not None:
            return endpoint(request)
        assert stream is not None, "what is no endpoint is a stream"
        return self._streams.answer(request, stream, is_draining=self.is_draining)

    def _with_common_headers(
        self, response: Response, correlation_id: str, origin: str | None
    ) -> Response:
        return response._replace(
            headers=(
                *response.headers,
                *cors_headers(origin, self._config.cors.allow_origins),
                (CORRELATION_HEADER, correlation_id),
            ),
            closes=response.closes or self.is_draining,
        )

    def _health(self, request: Request) -> Response:
        return json_response(200, {"status": "ok"})

    def _readiness(self, request: Request) -> Response:
        if self.is_draining:
            raise RequestError(503, "The server is draining", headers=(("Retry-After", "1"),))
        return json_response(200, {"status": "ready"})

    def _prometheus(self, request: Request) -> Response:
        return Response(
            200,
            (("Content-Type", PROMETHEUS_CONTENT_TYPE), ("Cache-Control", "no-store")),
            self._metrics.prometheus(),
        )

    def _metrics_json(self, request: Request) -> Response:
        names_users = self._streams.access.may_name_users(request)
        return json_response(200, self._metrics.json(names_users=names_users))

    def _test(self, request: Request) -> Response:
        if is_foreign_origin(
            request.header("origin"),
            request.host,
            request.is_tls,
            self._config.cors.allow_origins,
        ):
            raise RequestError(403, "Cross-site requests are not allowed here")
        _, session = self._streams.access.session(request)
        if session is None:
            raise no_session()
        if session.role != "admin":
            raise RequestError(403, "Only an admin may send a test event")
        wall_ms = self._clock.wall_ms()
        payload = {"message": "Test event", "timestamp": iso_timestamp(wall_ms)}
        event = Event(self._hub.ids.next(wall_ms), "test", encode_json(payload), route="")
        clients = self._hub.broadcast_test(event)
        _log.info("test_event", clients=clients, correlation_id=request.correlation_id)
        return json_response(
            200, {"success": True, "id": format_event_id(event.id), "clients": clients}
        )
