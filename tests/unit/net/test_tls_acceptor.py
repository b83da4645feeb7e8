"""Tests of `sseserver.net.tls_acceptor`, on real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sseserver.config import ServerConfig, StreamConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.metrics import Counters
from sseserver.net import tls_acceptor
from sseserver.net.connections import Connections
from sseserver.net.http_protocol import HttpProtocol
from sseserver.net.tls_acceptor import TlsAcceptor
from tests.support.certificate import make_certificate, needs_openssl
from tests.unit.net.site import Site

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return a server's context with a certificate of its own."""
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    return context


class Place:
    """An acceptor with its port and its connections."""

    def __init__(self, context: ssl.SSLContext, header_timeout_seconds: float) -> None:
        server = ServerConfig(
            header_timeout_seconds=header_timeout_seconds,
            http_idle_seconds=2 * header_timeout_seconds,
        )
        self.connections = Connections(server, StreamConfig(), TimerWheel(0), Counters())
        self._routes = Site().routes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.acceptor = TlsAcceptor(
            self.listener,
            context,
            self.connections,
            lambda handshake: HttpProtocol(self._routes, self.connections, handshake),
        )

    async def until(self, count: int) -> None:
        """Wait until so many connections have a place."""
        async with asyncio.timeout(10):
            while len(self.connections.http) != count:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def accepting(
    context: ssl.SSLContext, header_timeout_seconds: float = 10
) -> AsyncIterator[Place]:
    """Accept connections for as long as the block lasts."""
    place = Place(context, header_timeout_seconds)
    try:
        yield place
    finally:
        place.acceptor.close()
        for connection in place.connections.http:
            connection.drop()
        await place.until(0)


async def test_a_connection_has_its_place_before_its_handshake(context: ssl.SSLContext) -> None:
    """A silent one is dropped like any that asks nothing; the place is one all the way."""
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    async with accepting(context) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        await place.until(1)
        silent = place.connections.http.first(lambda one: one.is_idle)
        assert silent is not None
        silent.drop()
        dropped = await reader.read()
        reader_2, writer_2 = await asyncio.open_connection("127.0.0.1", place.port, ssl=trusting)
        writer_2.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader_2.readuntil(b"\r\n")
        places = [type(one) for one in place.connections.http]
        for one in (writer, writer_2):
            one.close()

    assert (b"", b"HTTP/1.1 200 OK\r\n") == (dropped, answer)
    assert [HttpProtocol] == places


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_is_no_handshake_gives_its_place_back(
    context: ssl.SSLContext, sent: bytes
) -> None:
    """Silence and half a hello when their time is over, plain HTTP at once."""
    async with accepting(context, header_timeout_seconds=0.1) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(sent)
        await place.until(1)
        await place.until(0)
        rest = await reader.read()
        writer.close()

    assert not rest.startswith(b"HTTP")


async def test_a_peer_that_leaves_amid_its_handshake_leaves_nothing(
    context: ssl.SSLContext,
) -> None:
    """Neither a place nor a task."""
    async with accepting(context) as place:
        _, writer = await asyncio.open_connection("127.0.0.1", place.port)
        await place.until(1)
        writer.transport.abort()
        await place.until(0)
        await asyncio.sleep(0)
        left = set(place.acceptor._handshakes)

    assert set() == left


async def test_a_drain_does_not_wait_for_a_silent_peer(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the time of a first request, as without TLS; one that goes on is left alone."""
    monkeypatch.setattr(tls_acceptor, "FIRST_REQUEST_SECONDS", 0.05)
    async with accepting(context) as place:
        silent, writer = await asyncio.open_connection("127.0.0.1", place.port)
        half, half_writer = await asyncio.open_connection("127.0.0.1", place.port)
        half_writer.write(b"\x16\x03\x01\x02")
        await place.until(2)
        for connection in place.connections.http:
            connection.close_when_idle()
        await place.until(0)
        rests = [await reader.read() for reader in (silent, half)]
        for one in (writer, half_writer):
            one.close()

    assert [b"", b""] == rests


async def test_it_accepts_again_when_there_are_descriptors(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without turning in circles meanwhile, and with a word about it."""
    monkeypatch.setattr(tls_acceptor, "_RETRY_SECONDS", 0.01)
    async with accepting(context) as place:
        place.acceptor._listener = ExhaustedListener(place.listener)
        with capture_logs() as logs:
            _, writer = await asyncio.open_connection("127.0.0.1", place.port)
            await place.until(1)
            writer.close()
            await place.until(0)

    assert [("accept_failed", "[Errno 24] Too many open files")] == [
        (line["event"], line["error"]) for line in logs
    ]


class ExhaustedListener(socket.socket):
    """A listening socket of a process that is out of descriptors for a moment."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(fileno=listener.detach())
        self._is_exhausted = True

    def accept(self) -> tuple[socket.socket, object]:
        """Fail once."""
        if self._is_exhausted:
            self._is_exhausted = False
            raise OSError(24, "Too many open files")
        return super().accept()
