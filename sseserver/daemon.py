"""The daemon: builds the parts, listens, and ends in order. It alone knows everything.

Start: descriptors, the parts, the ingest socket, the HTTP socket, `listening`. End (SIGTERM,
SIGINT): the ingest port applies and answers what it has read, every stream is told
`server:shutdown`, writes get `server.drain_seconds`, exit 0. SIGHUP reads the configuration
again and takes what can change while running.
"""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from random import random
from typing import Any, Final, NamedTuple

import msgspec
import structlog
import uvloop

from sseserver import logs
from sseserver.backplane import memory
from sseserver.config import Config, ServerConfig
from sseserver.config_loading import start_refusals
from sseserver.delivery.cork import Cork
from sseserver.delivery.timer_wheel import RESOLUTION_SECONDS, TimerWheel
from sseserver.errors import ConfigError, StartError
from sseserver.hub.admission import AttemptLimit
from sseserver.hub.hub import Hub, Wakers
from sseserver.ingest.pipeline import Pipeline
from sseserver.ingest.redaction import Redactor
from sseserver.ingest.state_view import StateView
from sseserver.net.connections import Connections, MachineClock
from sseserver.net.http_protocol import HttpProtocol
from sseserver.net.ingest_port import IngestPort
from sseserver.net.ingest_socket import IngestSocket
from sseserver.net.metrics_page import MetricsPage
from sseserver.net.routes import Routes
from sseserver.net.stream_endpoint import StreamEndpoint
from sseserver.state.projection import Projection
from sseserver.state.sessions import Sessions, StrategyOwners

_LISTEN_BACKLOG: Final = 4096
_SPARE_DESCRIPTORS: Final = 64
_WORTH_A_WORD: Final = 0.95
"""Room for connections below this share of what was asked for is told."""

_MINUTE: Final = 60.0
_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""Young collections are cheap but walk every new object of a burst; old ones walk the heap and
show in p99, so they are rare (design section 6)."""

_log = structlog.get_logger()


class Listening(NamedTuple):
    """Where the server accepts, once it does."""

    host: str
    port: int
    ingest_path: str


Reload = Callable[[], Config]
FeedMain = Callable[[Listening], Coroutine[Any, Any, None]]


def serve(config: Config, *, reload: Reload | None = None, feed: FeedMain | None = None) -> int:
    """Run the server until it is told to end; return its exit code.

    Args:
        config: A valid configuration.
        reload: Reads the configuration again, for SIGHUP.
        feed: Runs beside the server from the moment it listens until it drains.

    Raises:
        StartError: It cannot start; nothing is left behind.

    Source: contract section 1.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(config, reload, feed))


async def _run(config: Config, reload: Reload | None, feed: FeedMain | None) -> int:
    return await _Daemon(config, reload).run(feed)


class _Daemon:
    """Builds the parts and drives them with the event loop's time."""

    def __init__(self, config: Config, reload: Reload | None) -> None:
        clock = MachineClock()
        now = clock.monotonic()
        config = msgspec.structs.replace(config, server=_within_descriptors(config.server))
        self._config = config
        self._reload_config = reload
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._is_told = False
        self._is_hurried = False
        self._leaving: asyncio.Task[None] | None = None
        self._wheel = TimerWheel(now)
        self._cork = Cork(now)
        self._projection = Projection(config.limits, config.buffer.max_users)
        self._sessions = Sessions(config.limits.max_sessions)
        self._strategies = StrategyOwners(config.limits.max_strategies)
        self._attempts = AttemptLimit(config.limits)
        self._hub = Hub(
            config,
            clock,
            StateView(self._projection),
            self._wheel,
            Wakers(self._want_flush, self._want_window),
            _random_below,
        )
        self._connections = Connections(
            config.server, config.stream, self._wheel, self._hub.counters
        )
        self._pipeline = Pipeline(
            hub=self._hub,
            projection=self._projection,
            sessions=self._sessions,
            strategies=self._strategies,
            redactor=Redactor(config.redaction.secret_keys, config.redaction.internal_prefixes),
            backplane=memory.publish,
            clock=clock,
        )
        self._pipeline.logs_events = config.log.level == "debug"
        streams = StreamEndpoint(
            config=config,
            hub=self._hub,
            sessions=self._sessions,
            strategies=self._strategies,
            attempts=self._attempts,
            connections=self._connections,
            clock=clock,
        )
        state_sizes = {
            "instruments": lambda: self._projection.instrument_count,
            "sessions": lambda: self._sessions.count,
            "strategies": lambda: self._strategies.count,
            "users": lambda: self._projection.user_count,
        }
        self._routes = Routes(
            config=config,
            hub=self._hub,
            sessions=self._sessions,
            connections=self._connections,
            streams=streams,
            metrics=MetricsPage(self._hub, self._connections, self._cork, clock, state_sizes),
            clock=clock,
        )
        self._ingest = IngestPort(self._pipeline, config.ingest)

    async def run(self, feed: FeedMain | None) -> int:
        """Listen, wait for the end, drain."""
        async with contextlib.AsyncExitStack() as stack:
            ingest_socket = IngestSocket(self._config.ingest)
            stack.callback(ingest_socket.listener.close)
            stack.callback(ingest_socket.remove)
            http_socket = _bind_http_socket(self._config)
            stack.callback(http_socket.close)
            tls = _tls_context(self._config)
            ingest_server = await self._loop.create_unix_server(
                self._ingest.make_feed, sock=ingest_socket.listener
            )
            http_server = await self._loop.create_server(
                lambda: HttpProtocol(self._routes, self._connections, is_tls=tls is not None),
                sock=http_socket,
                ssl=tls,
                ssl_handshake_timeout=(
                    None if tls is None else self._config.server.header_timeout_seconds
                ),
                backlog=_LISTEN_BACKLOG,
            )
            self._handle_signals()
            self._tick()
            self._every_minute()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLDS)
            host, port = http_socket.getsockname()[:2]
            listening = Listening(host, port, self._config.ingest.path)
            logs.announce("listening", host=host, port=port, ingest_path=listening.ingest_path)
            feeding = None if feed is None else self._loop.create_task(feed(listening))
            if feeding is not None:
                feeding.add_done_callback(self._note_feed_end)
            await self._ending.wait()
            if feeding is not None:
                feeding.cancel()
                await asyncio.wait({feeding})
            ingest_socket.remove()
            await self._drain(http_server, ingest_server)
        if feeding is not None and not feeding.cancelled() and feeding.exception() is not None:
            return 1
        return 0

    async def _drain(self, http_server: asyncio.Server, ingest_server: asyncio.Server) -> None:
        started = self._clock.monotonic()
        self._routes.is_draining = True
        _log.info("draining", streams=len(self._hub.streams.clients))
        ingest_server.close()
        self._ingest.finish()
        self._hub.end_window()
        http_server.close()
        self._hub.shut_down()
        for connection in list(self._connections.http):
            connection.close_when_idle()
        self._leaving = self._loop.create_task(self._all_gone())
        patience = 0 if self._is_hurried else self._config.server.drain_seconds
        done, _ = await asyncio.wait({self._leaving}, timeout=patience)
        if not done or self._leaving.cancelled():
            _log.warning(
                "drain_cut_short" if self._is_hurried else "drain_timed_out",
                streams=len(self._connections.streams),
                http_connections=len(self._connections.http),
                feeds=len(self._ingest.feeds),
            )
        _log.info("stopped", seconds=round(self._clock.monotonic() - started, 3))

    async def _all_gone(self) -> None:
        await self._ingest.feeds.emptied()
        await self._connections.http.emptied()
        await self._connections.streams.emptied()

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _end(self) -> None:
        """End in order; at the second signal, at once."""
        if self._is_told and not self._is_hurried:
            self._is_hurried = True
            if self._leaving is not None:
                self._leaving.cancel()
        self._is_told = True
        self._ending.set()

    def _note_feed_end(self, feeding: "asyncio.Task[None]") -> None:
        if not feeding.cancelled() and feeding.exception() is not None:
            _log.error("feed_failed", exc_info=feeding.exception())
            self._ending.set()

    def _reload(self) -> None:
        if self._reload_config is None:
            return
        try:
            config = self._reload_config()
        except ConfigError as error:
            _log.error("reload_refused", problems=[str(problem) for problem in error.problems])
            return
        fixed = _fixed_changes(self._config, config)
        config = _with_fixed(self._config, config)
        # Again, as it judged an address that does not apply.
        refusals = start_refusals(config)
        if refusals:
            _log.error("reload_refused", problems=list(map(str, refusals)))
            return
        config = msgspec.structs.replace(config, server=_within_descriptors(config.server))
        self._config = config
        logs.set_level(config.log.level)
        self._pipeline.logs_events = config.log.level == "debug"
        self._pipeline.redactor = Redactor(
            config.redaction.secret_keys, config.redaction.internal_prefixes
        )
        self._hub.configure(config)
        self._connections.server = config.server
        self._connections.stream = config.stream
        self._routes.configure(config)
        self._ingest.configure(config.ingest)
        _log.info("reloaded", needs_restart=fixed)

    def _want_flush(self) -> None:
        delay = self._cork.delay(self._clock.monotonic())
        if delay:
            self._loop.call_later(delay, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        started = self._clock.monotonic()
        deliveries, writes = self._hub.flush()
        if writes:
            self._loop.call_soon(self._measure, started, deliveries, writes)

    def _measure(self, started: float, deliveries: int, writes: int) -> None:
        """Note a flush once its bytes have left: the loop writes at the end of its turn."""
        self._cork.count(deliveries, writes, self._clock.monotonic() - started)

    def _want_window(self, delay: float) -> None:
        if delay:
            self._loop.call_later(delay, self._end_window)
        else:
            self._loop.call_soon(self._end_window)

    def _end_window(self) -> None:
        self._hub.end_window()

    def _tick(self) -> None:
        # First, so that a bug that one deadline runs into does not stop all others.
        self._loop.call_later(RESOLUTION_SECONDS, self._tick)
        self._wheel.advance(self._clock.monotonic())
        self._hub.streams.settle()

    def _every_minute(self) -> None:
        self._loop.call_later(_MINUTE, self._every_minute)
        self._hub.users.log_overflows()
        self._attempts.forget_old(self._clock.monotonic())
        evicted = {
            **self._projection.take_evictions(),
            "sessions": self._sessions.take_evictions(),
            "strategies": self._strategies.take_evictions(),
        }
        for kind, count in evicted.items():
            if count:
                _log.warning("limit_reached", kind=kind, evicted=count)


_FIXED_KEYS: Final = (
    ("server", "host"),
    ("server", "port"),
    ("server", "tls_cert"),
    ("server", "tls_key"),
    ("ingest", "path"),
    ("ingest", "mode"),
    ("limits", "max_sessions"),
    ("limits", "max_strategies"),
    ("limits", "max_instruments"),
    ("limits", "max_orders_per_user"),
    ("limits", "max_positions_per_user"),
    ("buffer", "max_users"),  # bounds the state as well
    ("backplane", "kind"),
    ("backplane", "servers"),
    ("backplane", "prefix"),
    ("state", "path"),
    ("state", "save_seconds"),
    ("log", "format"),
)
"""What a running server cannot change."""


def _fixed_changes(old: Config, new: Config) -> list[str]:
    changes = [
        f"{section}.{key}"
        for section, key in _FIXED_KEYS
        if getattr(getattr(old, section), key) != getattr(getattr(new, section), key)
    ]
    if (
        old.server.tls_cert
        and old.server.header_timeout_seconds != new.server.header_timeout_seconds
    ):
        changes.append("server.header_timeout_seconds (of TLS handshakes)")
    return changes


def _with_fixed(old: Config, new: Config) -> Config:
    """Return the new configuration with the fixed keys as they were."""
    for section, key in _FIXED_KEYS:
        kept = msgspec.structs.replace(
            getattr(new, section), **{key: getattr(getattr(old, section), key)}
        )
        new = msgspec.structs.replace(new, **{section: kept})
    return new


def _random_below(limit: int) -> int:
    return int(random() * limit)  # noqa: S311 - spreads IDs and retries, guards nothing


def _bind_http_socket(config: Config) -> socket.socket:
    host, port = config.server.host, config.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        words = error.strerror or str(error)
        raise StartError(f"cannot listen on {host}:{port}: {words}; try another --port") from error
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listener


def _tls_context(config: Config) -> ssl.SSLContext | None:
    if not config.server.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.server.tls_cert, config.server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"cannot use the TLS certificate: {error}") from error
    return context


def _within_descriptors(server: ServerConfig) -> ServerConfig:
    """Raise the soft limit of descriptors, and keep `max_connections` below what is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * server.max_connections + _SPARE_DESCRIPTORS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    room = max(1, max(soft, limit) - _SPARE_DESCRIPTORS)
    if room >= server.max_connections:
        return server
    if room < server.max_connections * _WORTH_A_WORD:
        _log.warning("max_connections_lowered", max_connections=room, descriptors=max(soft, limit))
    return msgspec.structs.replace(server, max_connections=room)
