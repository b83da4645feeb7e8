"""TLS against the real process, with a self-signed certificate."""

import asyncio
import signal
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import daemon
from tests.support.certificate import make_certificate, needs_openssl
from tests.support.raw_client import connected, request_bytes
from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import Dechunker

pytestmark = needs_openssl


class Trusted(NamedTuple):
    """A certificate as the server is told of it, and a client that trusts it."""

    settings: dict[str, str]
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    """Make a certificate for `localhost`."""
    made = make_certificate(tmp_path_factory.mktemp("tls"))
    return Trusted(made.settings, ssl.create_default_context(cafile=made.cert))


def types(body: bytes) -> list[str]:
    """Return the types of the events in a chunked body, which must have ended."""
    dechunker, source = Dechunker(), ReferenceEventSource()
    events = source.feed(dechunker.feed(body))
    assert dechunker.is_ended
    return [event.type for event in events]


async def test_json_and_streams_over_tls(tmp_path: Path, certificate: Trusted) -> None:
    """Keep-alive, pipelining, a stream with its events, and a farewell that arrives."""
    async with await daemon.start(tmp_path, certificate.settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with connected(server.port, tls=certificate.trusting) as client:
            stream = request_bytes("GET /api/stream/alerts\nCookie: session=s-1")
            client.send(request_bytes("GET /healthz") * 40 + stream)
            statuses = [(await client.answer()).status for _ in range(40)]
            head = await client.head()
            await server.logged("client_connected")
            await feed.publish(
                "alert:new",
                {"alertId": "a", "level": "info", "message": "m" * 60_000},
                userId="user-1",
            )
            await feed.do("session.delete", sessionId="s-1")
            body = await client.rest()
        closed = await server.logged("client_disconnected")

    assert [200] * 40 == statuses
    assert (200, "text/event-stream") == (head.status, head.headers["content-type"])
    assert ["connected", "alert:new", "session:expired"] == types(body)
    assert "session_expired" == closed["reason"]


async def test_errors_over_tls_are_read(tmp_path: Path, certificate: Trusted) -> None:
    """An answer that ends the connection arrives, though the client goes on sending."""
    settings = {**certificate.settings, "server.header_timeout_seconds": 0.3}
    async with await daemon.start(tmp_path, settings) as server:
        found = []
        for sent in (
            b"GET / HTTP/1.1\n\n" + b"x" * 200_000,
            request_bytes("GET /healthz\nConnection: close"),
            request_bytes("GET /healthz")[:-1],
        ):
            async with connected(server.port, tls=certificate.trusting) as client:
                client.send(sent)
                answer = await client.answer()
                found.append((answer.status, answer.headers["connection"], await client.rest()))

    assert [(400, "close", b""), (200, "close", b""), (408, "close", b"")] == found


async def test_a_page_over_tls_posts_to_its_own_host(tmp_path: Path, certificate: Trusted) -> None:
    """The page's own origin is https here, and http is foreign."""
    async with await daemon.start(tmp_path, certificate.settings) as server:
        found = []
        for scheme in ("https", "http"):
            origin = f"{scheme}://localhost:{server.port}"
            async with connected(server.port, tls=certificate.trusting) as client:
                client.send(
                    request_bytes(
                        f"POST /api/stream/test\nHost: localhost:{server.port}\nOrigin: {origin}"
                    )
                )
                found.append((await client.answer()).status)

    assert [401, 403] == found


async def test_a_handshake_that_stalls_is_ended(tmp_path: Path, certificate: Trusted) -> None:
    """Silence, half a hello and plain HTTP on the TLS port end the connection, without words."""
    settings = {
        **certificate.settings,
        "server.header_timeout_seconds": 0.3,
        "server.http_idle_seconds": 0.5,
    }
    hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = certificate.trusting.wrap_bio(*hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        shaking.do_handshake()
    half = hello[1].read()[:-10]

    async def end_of(server: daemon.Daemon, sent: bytes) -> bytes:
        async with connected(server.port) as client:
            client.send(sent)
            return await client.rest()

    async with await daemon.start(tmp_path, settings) as server:
        silent, stalled, plain = await asyncio.gather(
            end_of(server, b""), end_of(server, half), end_of(server, request_bytes("GET /healthz"))
        )
        async with connected(server.port, tls=certificate.trusting) as client:
            client.send(request_bytes("GET /healthz"))
            health = (await client.answer()).status

    assert (b"", b"") == (silent, stalled)
    assert b"HTTP/1.1" not in plain
    assert 200 == health


@pytest.mark.parametrize("reads", [True, False])
async def test_a_drain_over_tls(tmp_path: Path, certificate: Trusted, reads: bool) -> None:
    """Streams are told `server:shutdown`; a peer that does not answer the end delays nothing."""
    settings = {**certificate.settings, "server.drain_seconds": 30}
    async with await daemon.start(tmp_path, settings) as server:
        async with connected(server.port, tls=certificate.trusting) as client:
            client.send(request_bytes("GET /api/stream/prices"))
            await client.head()
            await server.logged("client_connected")
            if not reads:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # is one
            server.signal(signal.SIGTERM)
            body = await client.rest() if reads else b""
            code = await server.stop()
        stopped = await server.logged("stopped")
        timed_out = [line for line in server.log if line["event"] == "drain_timed_out"]

    if reads:
        assert "server:shutdown" == types(body)[-1]
    assert (0, []) == (code, timed_out)
    assert stopped["seconds"] < 15


async def test_silent_connections_leave_room_to_answer(
    tmp_path: Path, certificate: Trusted
) -> None:
    """Those that connect and never shake hands make room for who asks, and for feeds."""
    server = await daemon.start(tmp_path, certificate.settings, descriptors=256)
    async with server, AsyncExitStack() as stack:
        for _ in range(350):
            await stack.enter_async_context(connected(server.port))
        client = await stack.enter_async_context(connected(server.port, tls=certificate.trusting))
        client.send(request_bytes("GET /healthz"))
        health = (await client.answer()).status
        async with server.feed() as feed:
            pong = await feed.do("ping")

    assert (200, True) == (health, pong["ok"])


async def test_a_renewed_certificate_is_taken_on_sighup(tmp_path: Path) -> None:
    """Under the same names; one that cannot be used is told, and the old one stays."""
    made = make_certificate(tmp_path)
    old = made.cert.read_text()
    async with await daemon.start(tmp_path, made.settings) as server:
        seen = [await certificate_of(server.port)]
        renewed = make_certificate(tmp_path).cert.read_text()
        server.signal(signal.SIGHUP)
        await server.logged("reloaded")
        seen.append(await certificate_of(server.port))
        made.cert.write_text("half of one")
        server.signal(signal.SIGHUP)
        refused = await server.logged("certificate_refused")
        seen.append(await certificate_of(server.port))

    assert [ssl.PEM_cert_to_DER_cert(text) for text in (old, renewed, renewed)] == seen
    assert "cannot use the TLS certificate" in refused["error"]


async def certificate_of(port: int) -> bytes | None:
    """Return the certificate that a server shows."""
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    async with connected(port, tls=anybody) as client:
        shown: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
        return shown.getpeercert(binary_form=True)
