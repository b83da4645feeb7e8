"""TLS connections, counted from the moment they are accepted.

Left to the event loop, a handshake is a socket that nobody knows of until it is over: clients
that connect and say nothing would use up the descriptors, with no place taken and nobody
dropped for them (contract section 4). So TLS sockets are accepted here, and a handshake is a
connection like any other that is only asking, until the HTTP protocol takes its place.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from sseserver.net.connections import Connections
from sseserver.net.http_protocol import FIRST_REQUEST_SECONDS, HttpProtocol

_ACCEPTS_PER_TURN: Final = 16
"""Accepted in one loop turn at most, before streams get theirs."""

_RETRY_SECONDS: Final = 0.5
"""How long to wait when the process or the machine has nothing left to accept with."""

_log = structlog.get_logger()

MakeHttp = Callable[["Handshake"], HttpProtocol]


class Handshake:
    """Holds the place of a connection until its handshake is over.

    Args:
        sock: Just accepted, non-blocking.
        connections: Where the place is held, and how long it may take.
    """

    def __init__(self, sock: socket.socket, connections: Connections) -> None:
        self._sock = sock
        self._connections = connections
        self._began = 0.0
        self._is_ours = True  # the socket is; later it is the loop's
        self._task: asyncio.Task[None] | None = None
        connections.register(self)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way: none can be yet."""
        return True

    def start(self, context: ssl.SSLContext, make_http: MakeHttp) -> "asyncio.Task[None]":
        """Begin to wait for the first byte."""
        self._task = asyncio.get_running_loop().create_task(self._run(context, make_http))
        return self._task

    def drop(self) -> None:
        """Close at once."""
        self._connections.http.discard(self)
        if self._is_ours:
            assert self._task is not None, "it was started when it was accepted"
            self._task.cancel()
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
        else:
            with suppress(OSError):  # where the peer was faster
                self._sock.shutdown(socket.SHUT_RDWR)

    def close_when_idle(self) -> None:
        """Give who has just connected the time of a first request, as without TLS."""
        asyncio.get_running_loop().call_later(FIRST_REQUEST_SECONDS, self._drop_if_unfinished)

    def end(self) -> float:
        """Give the place to the HTTP protocol; return how long the handshake took, in seconds."""
        self._connections.http.discard(self)
        return self._connections.clock.monotonic() - self._began

    async def _run(self, context: ssl.SSLContext, make_http: MakeHttp) -> None:
        """Do the handshake, within the time of a request head from its first byte on."""
        server = self._connections.server
        try:
            async with asyncio.timeout(server.http_idle_seconds):
                await _readable(self._sock)
            self._began = self._connections.clock.monotonic()
            self._is_ours = False
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: make_http(self),
                self._sock,
                ssl=context,
                ssl_handshake_timeout=server.header_timeout_seconds,
            )
        except OSError:  # silent (TimeoutError is one), not TLS, no version in common, gone, slow
            if self._is_ours:
                self._sock.close()
        finally:
            self._connections.http.discard(self)

    def _drop_if_unfinished(self) -> None:
        if self in self._connections.http:
            self.drop()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(sock, _resolve, readable)
    try:
        await readable
    finally:
        if sock.fileno() >= 0:
            loop.remove_reader(sock)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class TlsAcceptor:
    """Accepts connections from a listening socket.

    Args:
        listener: Non-blocking.
        context: Certificate and key.
        connections: Where handshakes hold their places.
        make_http: Makes the protocol that goes on after a handshake.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        connections: Connections,
        make_http: MakeHttp,
    ) -> None:
        self._listener = listener
        self.context = context
        self._connections = connections
        self._make_http = make_http
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Accept nobody any more and close the listener; handshakes go on."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory: who waits, waits on
                _log.error("accept_failed", error=str(error))
                self._loop.remove_reader(self._listener)
                self._loop.call_later(_RETRY_SECONDS, self._go_on)
                return
            sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
            task = Handshake(sock, self._connections).start(self.context, self._make_http)
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _go_on(self) -> None:
        if not self._is_closed:
            self._loop.add_reader(self._listener, self._accept)
