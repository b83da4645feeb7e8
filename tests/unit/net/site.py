"""The whole HTTP side on fake transports: bytes in, bytes out, timers fired by hand."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sseserver.config import Config
from sseserver.delivery.cork import Cork
from sseserver.hub.admission import AttemptLimit
from sseserver.net.connections import Connections
from sseserver.net.exchange import Request
from sseserver.net.http_protocol import HttpProtocol
from sseserver.net.metrics_page import MetricsPage
from sseserver.net.routes import Routes
from sseserver.net.stream_endpoint import StreamEndpoint
from sseserver.state.sessions import Role, Sessions, StrategyOwners, session_key
from sseserver.wire.http_message import parse_target
from tests.support.core import Core
from tests.support.fake_transport import FakeTransport
from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import Dechunker


class Answer(NamedTuple):
    """One response as the peer read it; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


class FakeHandshake:
    """A TLS handshake that took so long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def end(self) -> float:
        """Return how long it took."""
        return self._seconds


class Site:
    """Core, endpoints and connections, wired as the daemon wires them."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.core = Core({"limits.attempts_per_minute_per_ip": 0, **(settings or {})})
        config = self.config = self.core.config
        self.hub = self.core.hub
        self.clock = self.core.clock
        self.sessions = Sessions(config.limits.max_sessions)
        self.strategies = StrategyOwners(config.limits.max_strategies)
        self.attempts = AttemptLimit(config.limits)
        self.connections = Connections(
            config.server, config.stream, self.core.wheel, self.hub.counters, self.clock
        )
        self.cork = Cork(self.clock.monotonic(), lambda: 0.0)
        self.metrics = MetricsPage(
            self.hub,
            self.connections,
            self.cork,
            self.clock,
            {"sessions": lambda: self.sessions.count},
        )
        self.streams = StreamEndpoint(
            config=config,
            hub=self.hub,
            sessions=self.sessions,
            strategies=self.strategies,
            attempts=self.attempts,
            connections=self.connections,
            clock=self.clock,
        )
        self.routes = Routes(
            config=config,
            hub=self.hub,
            sessions=self.sessions,
            connections=self.connections,
            streams=self.streams,
            metrics=self.metrics,
            clock=self.clock,
        )

    def reconfigure(self, config: Config) -> None:
        """Take another configuration, as a reload does."""
        self.hub.configure(config)
        self.connections.server = config.server
        self.connections.stream = config.stream
        self.routes.configure(config)

    def session(self, session_id: str, user_id: str, role: Role = "user") -> None:
        """Make a session valid."""
        self.sessions.put(session_key(session_id), user_id, role, None, self.clock.wall_ms())

    def connect(
        self,
        peer: tuple[str, int] | None = ("127.0.0.1", 50_000),
        *,
        handshake_seconds: float = 0.0,
        **options: Any,
    ) -> FakeTransport:
        """Accept a connection."""
        handshake = FakeHandshake(handshake_seconds) if options.get("is_tls") else None
        protocol = HttpProtocol(self.routes, self.connections, handshake)
        return FakeTransport(protocol, peer, **options)

    def ask(self, head: str, body: bytes = b"") -> Answer:
        """Make one request on a connection of its own; lines may end in a bare LF here."""
        transport = self.connect()
        transport.receive(request(head) + body)
        return only(transport.take_sent())

    def pass_time(self, seconds: float) -> None:
        """Let time pass and fire what is due."""
        self.core.pass_time(seconds)


def request(head: str) -> bytes:
    """Return a request head: lines as given, `Host` added, CRLF at every end."""
    line, *fields = head.strip().split("\n")
    if "HTTP/" not in line:
        line += " HTTP/1.1"
    if not any(field.lower().startswith("host:") for field in fields):
        fields.insert(0, "Host: localhost")
    return ("\r\n".join((line, *fields)) + "\r\n\r\n").encode("latin-1")


def answers(data: bytes, *, methods: str = "") -> list[Answer]:
    """Take apart what came back on one connection; `methods` names HEAD ones by position."""
    found: list[Answer] = []
    while data:
        raw_head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, raw_head
        status_line, *lines = raw_head.decode("latin-1").split("\r\n")
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        is_head = methods[len(found) : len(found) + 1] == "H"
        size = 0 if is_head else int(headers.get("content-length", "0"))
        if "chunked" in headers.get("transfer-encoding", ""):
            size = len(data)
        assert len(data) >= size
        found.append(Answer(int(status), headers, data[:size]))
        data = data[size:]
    return found


def only(data: bytes, *, methods: str = "") -> Answer:
    """Return the one answer that came back."""
    (answer,) = answers(data, methods=methods)
    return answer


def events(answer: Answer) -> ReferenceEventSource:
    """Return what a browser makes of a stream."""
    source = ReferenceEventSource()
    is_chunked = "transfer-encoding" in answer.headers
    source.feed(Dechunker().feed(answer.body) if is_chunked else answer.body)
    return source


def parsed(head: str, peer: str = "127.0.0.1", **fields: Any) -> Request:
    """Return a request as the protocol hands it to the endpoints."""
    line, *lines = request(head).decode("latin-1").strip().split("\r\n")
    method, target, version = line.split(" ")
    headers: dict[str, list[str]] = {}
    for text in lines:
        name, _, value = text.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Request(
        method=method,
        target=parse_target(target.encode()),
        headers=headers,
        body=b"",
        is_http_1_1=version == "HTTP/1.1",
        is_tls=False,
        peer=peer,
        correlation_id="c-1",
    )._replace(**fields)
