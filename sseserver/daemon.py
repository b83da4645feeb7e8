"""The daemon: builds the parts, listens, and ends in order. It alone knows everything.

Start: descriptors, the parts, the ingest socket, the HTTP socket, `listening`. End (SIGTERM,
SIGINT): the ingest port applies and answers what it has read, every stream is handed what is
held for it and told `server:shutdown`, for which there are `server.drain_seconds`, requests are
answered meanwhile, and the exit code is 0. SIGHUP reads the configuration again and takes what
can change while running.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from random import random
from time import thread_time
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
import uvloop

from sseserver import logs
from sseserver.backplane import memory
from sseserver.checkpoint import Stores
from sseserver.config import Config
from sseserver.config_loading import start_refusals
from sseserver.config_reload import fixed_changes, with_fixed
from sseserver.delivery.cork import Cork
from sseserver.delivery.timer_wheel import RESOLUTION_SECONDS, TimerWheel
from sseserver.errors import ConfigError, StartError, StateFileError
from sseserver.hub.admission import AttemptLimit
from sseserver.hub.hub import Hub, Wakers
from sseserver.ingest.pipeline import Pipeline
from sseserver.ingest.recent_keys import RecentKeys
from sseserver.ingest.redaction import Redactor
from sseserver.ingest.state_view import StateView
from sseserver.net.connections import Connections, MachineClock
from sseserver.net.descriptors import Room, make_room
from sseserver.net.http_protocol import HttpProtocol
from sseserver.net.ingest_port import IngestPort
from sseserver.net.ingest_socket import IngestSocket
from sseserver.net.listener import (
    LISTEN_BACKLOG,
    bind_http_socket,
    handed_over_socket,
    tls_context,
)
from sseserver.net.metrics_page import MetricsPage
from sseserver.net.routes import Routes
from sseserver.net.stream_endpoint import StreamEndpoint
from sseserver.net.tls_acceptor import Handshake, TlsAcceptor
from sseserver.restart import saver
from sseserver.restart.state_file import locked
from sseserver.state.projection import Projection
from sseserver.state.sessions import Sessions, StrategyOwners

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


class _Acceptor(Protocol):
    """What accepts connections, plain or with TLS."""

    def close(self) -> None:
        """Accept nobody any more."""
        ...


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
    with contextlib.ExitStack() as stack:
        http_socket = handed_over_socket()
        if http_socket is None:
            http_socket = bind_http_socket(config.server)
        else:
            config = _at_address(http_socket, config)
            reload = None if reload is None else partial(_reload_at, http_socket, reload)
        stack.callback(http_socket.close)
        path = _state_path(config)
        if path is None:
            return await _Daemon(config, reload).run(http_socket, None, feed)
        stack.enter_context(locked(path))
        daemon = _Daemon(config, reload)
        try:
            saver.load(path, daemon.stores)
        except StateFileError as error:
            saver.reject(path, error)
            daemon = _Daemon(config, reload)  # the other may have taken over half of it
        return await daemon.run(http_socket, path, feed)


def _state_path(config: Config) -> Path | None:
    """Return where the state file really is: one that a link leads to stays where it is."""
    return Path(config.state.path).resolve() if config.state.path else None


def _at_address(handed_over: socket.socket, config: Config) -> Config:
    """Return the configuration with the address that others really reach.

    Raises:
        ConfigError: Protected mode refuses to be reached there.
    """
    host, port = handed_over.getsockname()[:2]
    server = msgspec.structs.replace(config.server, host=host, port=port)
    config = msgspec.structs.replace(config, server=server)
    refusals = start_refusals(config)
    if refusals:
        raise ConfigError(refusals)
    return config


def _reload_at(handed_over: socket.socket, reload: Reload) -> Config:
    return _at_address(handed_over, reload())


class _Daemon:
    """Builds the parts and drives them with the event loop's time."""

    def __init__(self, config: Config, reload: Reload | None) -> None:
        clock = MachineClock()
        now = clock.monotonic()
        config, room = _within_descriptors(config)
        self._config = config
        self._reload_config = reload
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._is_told = False
        self._is_hurried = False
        self._leaving: asyncio.Task[None] | None = None
        self._tls: TlsAcceptor | None = None
        self._wheel = TimerWheel(now)
        self._cork = Cork(now, thread_time)
        self._projection = Projection(config.limits, config.buffer.max_users)
        self._sessions = Sessions(config.limits.max_sessions)
        self._strategies = StrategyOwners(config.limits.max_strategies)
        self._keys = RecentKeys(config.limits.max_keys)
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
            config.server,
            config.stream,
            self._wheel,
            self._hub.counters,
            capacity=room.connections,
        )
        self._pipeline = Pipeline(
            hub=self._hub,
            projection=self._projection,
            sessions=self._sessions,
            strategies=self._strategies,
            keys=self._keys,
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
        self._ingest.max_feeds = room.feeds
        self.stores = Stores(
            self._hub, self._projection, self._sessions, self._strategies, self._keys, clock
        )

    async def run(
        self, http_socket: socket.socket, state_path: Path | None, feed: FeedMain | None
    ) -> int:
        """Accept, wait for the end, drain, and save where there is a path."""
        async with contextlib.AsyncExitStack() as stack:
            ingest_socket = IngestSocket(self._config.ingest)
            stack.callback(ingest_socket.listener.close)
            stack.callback(ingest_socket.remove)
            tls = tls_context(self._config.server)
            if state_path is not None:
                seconds = self._config.state.save_seconds
                await stack.enter_async_context(saver.saving(state_path, seconds, self.stores))
            ingest_server = await self._loop.create_unix_server(
                self._ingest.make_feed, sock=ingest_socket.listener
            )
            http_server: _Acceptor
            if tls is None:
                http_server = await self._loop.create_server(
                    self._make_http, sock=http_socket, backlog=LISTEN_BACKLOG
                )
            else:
                self._tls = TlsAcceptor(http_socket, tls, self._connections, self._make_http)
                http_server = self._tls
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

    async def _drain(self, http_server: _Acceptor, ingest_server: asyncio.Server) -> None:
        started = self._clock.monotonic()
        self._routes.is_draining = True
        _log.info("draining", streams=len(self._hub.streams.clients))
        ingest_server.close()
        self._ingest.finish()
        self._hub.end_window()
        self._hub.shut_down()
        self._leaving = self._loop.create_task(self._all_gone(http_server))
        patience = 0 if self._is_hurried else self._config.server.drain_seconds
        done, _ = await asyncio.wait({self._leaving}, timeout=patience)
        if not done or self._leaving.cancelled():
            _log.warning(
                "drain_cut_short" if self._is_hurried else "drain_timed_out",
                streams=len(self._connections.streams),
                http_connections=len(self._connections.http),
                feeds=len(self._ingest.feeds),
            )
        http_server.close()
        _log.info("stopped", seconds=round(self._clock.monotonic() - started, 3))

    async def _all_gone(self, http_server: _Acceptor) -> None:
        """Wait for feeds and streams; until then requests are answered, `/readyz` with 503."""
        await self._ingest.feeds.emptied()
        await self._connections.streams.emptied()
        http_server.close()
        for connection in self._connections.http:
            connection.close_when_idle()
        await self._connections.http.emptied()

    def _make_http(self, handshake: Handshake | None = None) -> HttpProtocol:
        return HttpProtocol(self._routes, self._connections, handshake)

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
        fixed = fixed_changes(self._config, config)
        config = with_fixed(self._config, config)
        # Again, as it judged an address that does not apply.
        refusals = start_refusals(config)
        if refusals:
            _log.error("reload_refused", problems=list(map(str, refusals)))
            return
        config, room = _within_descriptors(config)
        self._config = config
        self._connections.capacity = room.connections
        self._ingest.max_feeds = room.feeds
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
        self._renew_certificate()
        say = _log.warning if fixed else _log.info
        say("reloaded", needs_restart=fixed)

    def _renew_certificate(self) -> None:
        """Read certificate and key again: their files are renewed under the same names."""
        if self._tls is None:
            return
        try:
            self._tls.context = tls_context(self._config.server) or self._tls.context
        except StartError as error:
            _log.error("certificate_refused", error=str(error))

    def _want_flush(self) -> None:
        delay = self._cork.delay(self._clock.monotonic())
        if delay:
            self._loop.call_later(delay, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        started = thread_time()
        deliveries, writes = self._hub.flush()
        if writes:  # which uvloop's transports do at once, as far as the peer takes it
            self._cork.count(deliveries, writes, thread_time() - started)

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
            "connections": self._connections.take_dropped(),
            "keys": self._keys.take_evictions(),
            "sessions": self._sessions.take_evictions(),
            "strategies": self._strategies.take_evictions(),
        }
        for kind, count in evicted.items():
            if count:
                _log.warning("limit_reached", kind=kind, evicted=count)


def _random_below(limit: int) -> int:
    return int(random() * limit)  # noqa: S311 - spreads IDs and retries, guards nothing


def _within_descriptors(config: Config) -> tuple[Config, Room]:
    """Return the configuration with the streams there is room for, and the room."""
    wanted = config.server.max_connections
    room = make_room(wanted)
    if room.streams < wanted * _WORTH_A_WORD:
        _log.warning(
            "max_connections_lowered",
            max_connections=room.streams,
            descriptors=room.descriptors,
        )
    server = msgspec.structs.replace(config.server, max_connections=room.streams)
    return msgspec.structs.replace(config, server=server), room
