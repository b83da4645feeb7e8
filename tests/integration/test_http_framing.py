"""One connection byte by byte against the real process: framing, keep-alive, time-outs."""

import asyncio
from pathlib import Path

import pytest

from tests.support import daemon
from tests.support.raw_client import Answer, ask, connected, request_bytes
from tests.support.reference_eventsource import ReferenceEventSource

HEALTH = request_bytes("GET /healthz")
POST = "POST /api/stream/test"
CHUNKED = request_bytes(f"{POST}\nTransfer-Encoding: chunked")


async def test_json_endpoints_keep_the_connection(tmp_path: Path) -> None:
    """Requests one after the other, and fifty at once with bodies between, on one connection."""
    async with await daemon.start(tmp_path) as server, connected(server.port) as client:
        one_by_one = []
        for _ in range(3):
            client.send(HEALTH)
            one_by_one.append((await client.answer()).status)
        client.send(
            (
                HEALTH
                + request_bytes(f"{POST}\nContent-Length: 5")
                + b"GET /"
                + request_bytes(f"{POST}\nTransfer-Encoding: chunked")
                + b"3;x\r\nGET\r\n2\r\n /\r\n0\r\nT: u\r\n\r\n\r\n"
                + request_bytes("GET /nowhere\nContent-Length: 3")
                + b"abc"
            )
            * 50
        )
        pipelined = [(await client.answer()).status for _ in range(200)]
        client.send(request_bytes("GET /healthz\nConnection: close"))
        last = await client.answer()
        rest = await client.rest()

    assert [200] * 3 == one_by_one
    assert [200, 401, 401, 404] * 50 == pipelined
    assert ("close", b"") == (last.headers["connection"], rest)


async def test_answers_to_a_client_that_reads_late(tmp_path: Path) -> None:
    """Thousands of pipelined requests whose answers are not read: all come, in order."""
    async with await daemon.start(tmp_path) as server, connected(server.port) as client:
        paths = [b"/healthz" if number % 3 else b"/none" for number in range(6000)]
        client.send(b"".join(HEALTH.replace(b"/healthz", path) for path in paths))
        async with connected(server.port) as other:
            other.send(HEALTH)
            meanwhile = (await other.answer()).status
        found = [(await client.answer()).status for _ in paths]

    assert 200 == meanwhile
    assert [200 if path == b"/healthz" else 404 for path in paths] == found


async def test_http_1_0(tmp_path: Path) -> None:
    """No chunks: JSON with a length, streams until the end, `Connection: close` on both."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with connected(server.port) as client:
            client.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            json_answer = await client.answer()
            json_rest = await client.rest()
        async with connected(server.port) as client:
            client.send(b"GET /api/stream/alerts HTTP/1.0\r\nCookie: session=s-1\r\n\r\n")
            head = await client.head()
            await feed.do("session.delete", sessionId="s-1")
            body = await client.rest()

    assert (200, "close", b"") == (json_answer.status, json_answer.headers["connection"], json_rest)
    assert (200, "close") == (head.status, head.headers["connection"])
    assert not {"transfer-encoding", "content-length"} & head.headers.keys()
    source = ReferenceEventSource()
    assert ["connected", "session:expired"] == [event.type for event in source.feed(body)]


@pytest.mark.parametrize("fields", ["\nConnection: close", ""])
async def test_a_stream_ends_with_its_last_chunk(tmp_path: Path, fields: str) -> None:
    """And with the end of the connection, though requests were sent behind it."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with connected(server.port) as client:
            stream = request_bytes(f"GET /api/stream/alerts\nCookie: session=s-1{fields}")
            client.send(HEALTH + stream + HEALTH * 3)
            first = await client.answer()
            head = await client.head()
            client.send(HEALTH)
            await server.logged("client_connected")
            await feed.do("session.delete", sessionId="s-1")
            body = await client.rest()

    assert (200, 200) == (first.status, head.status)
    assert ("close" if fields else "keep-alive") == head.headers["connection"]
    assert body.endswith(b"\n\n\r\n0\r\n\r\n")
    assert b"HTTP/1.1" not in body


HOSTILE = (
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request_bytes(f"{POST}\nContent-Length: 1\nTransfer-Encoding: chunked"),
    request_bytes(f"{POST}\nContent-Length: 1\nContent-Length: 1"),
    request_bytes(f"{POST}\nContent-Length: +1"),
    request_bytes(f"{POST}\nTransfer-Encoding: gzip, chunked"),
    request_bytes(f"{POST} HTTP/1.0\nTransfer-Encoding: chunked"),
    CHUNKED + b"1;a\x00\r\n1\r\n0\r\n\r\n",
    CHUNKED + b"1\n1\n0\n\n",
    CHUNKED + b"0\r\nA: b\n\n",
    CHUNKED + b"1\r\n12\r\n",
)


async def last_answer(port: int, sent: bytes) -> tuple[int, str, bytes]:
    """Return status and `Connection` of an answer, and what follows it until the end."""
    async with connected(port) as client:
        client.send(sent + HEALTH)
        answer = await client.answer()
        assert answer.status == answer.json()["statusCode"]
        return answer.status, answer.headers["connection"], await client.rest()


async def test_hostile_framing_is_refused(tmp_path: Path) -> None:
    """400, the end of the connection, and nothing that follows is answered."""
    async with await daemon.start(tmp_path) as server:
        found = {sent: await last_answer(server.port, sent) for sent in HOSTILE}

    assert dict.fromkeys(HOSTILE, (400, "close", b"")) == found


ENDLESS = {
    b"GET /" + b"a" * 20_000: 414,
    request_bytes("GET /healthz\nX: " + "a" * 20_000): 431,
    request_bytes("GET /healthz\nX: " + "a" * 20_000)[:-4]: 431,
    request_bytes(f"{POST}\nContent-Length: 65537"): 413,
    CHUNKED + b"10001\r\n": 413,
    CHUNKED + b"1;" + b"a" * 40_000: 413,
    CHUNKED + (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20: 413,
    CHUNKED + b"0\r\n" + b"A: b\r\n" * 10_000: 413,
}


async def test_what_has_no_end_is_refused(tmp_path: Path) -> None:
    """Heads, bodies, chunk extensions and trailers past their limits, whole or not."""
    async with await daemon.start(tmp_path) as server:
        found = {sent: await last_answer(server.port, sent) for sent in ENDLESS}

    assert {sent: (status, "close", b"") for sent, status in ENDLESS.items()} == found


async def test_a_body_that_is_asked_for(tmp_path: Path) -> None:
    """`Expect: 100-continue` is answered before the body, and not when it is refused."""
    async with await daemon.start(tmp_path) as server, connected(server.port) as client:
        client.send(request_bytes(f"{POST}\nContent-Length: 2\nExpect: 100-continue"))
        told = await client.head()
        client.send(b"{}")
        answered = await client.answer()
        client.send(request_bytes(f"{POST}\nContent-Length: 65537\nExpect: 100-continue"))
        refused = await client.answer()

    assert [100, 401, 413] == [told.status, answered.status, refused.status]


async def test_requests_take_their_time_or_end(tmp_path: Path) -> None:
    """A head or body not complete in time: 408 and close. An idle connection: closed."""
    settings = {"server.header_timeout_seconds": 0.3, "server.http_idle_seconds": 0.6}
    async with await daemon.start(tmp_path, settings) as server:

        async def late(sent: bytes) -> tuple[Answer, bytes]:
            async with connected(server.port) as client:
                client.send(sent)
                return await client.answer(), await client.rest()

        async def idle(sent: bytes) -> bytes:
            async with connected(server.port) as client:
                client.send(sent)
                return await client.rest()

        half = request_bytes(f"{POST}\nContent-Length: 5\nX-Correlation-ID: c-1") + b"1"
        late_head, late_body, after_one, silent, kept = await asyncio.gather(
            late(b"G"), late(half), late(HEALTH + b"GET"), idle(b""), idle(HEALTH)
        )
        dripped = await drip(server.port)

    for answer, rest in (late_head, late_body):
        assert (408, "close", b"") == (answer.status, answer.headers["connection"], rest)
        assert "Request Timeout" == answer.json()["error"]
        assert "access-control-allow-origin" in answer.headers
    assert "c-1" == late_body[0].headers["x-correlation-id"]
    assert (200, b"HTTP/1.1 408 ") == (after_one[0].status, after_one[1][:13])
    assert b"" == silent
    assert kept.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 1 == kept.count(b"HTTP/1.1")
    assert 408 == dripped


async def drip(port: int) -> int:
    """Send a head so that each byte comes soon after the last one; return the status."""
    async with connected(port) as client:
        answer = asyncio.create_task(client.answer())
        client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
        while not answer.done():
            client.send(b"x")
            await asyncio.wait({answer}, timeout=0.05)
        return (await answer).status


async def test_request_bytes_on_an_open_stream(tmp_path: Path) -> None:
    """64 KiB are discarded and the stream lives; more closes it."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            stream.writer.write(b"x" * 65_536)
            await stream.writer.drain()
            await feed.publish(
                "alert:new", {"alertId": "a", "level": "info", "message": "m"}, userId="user-1"
            )
            await stream.expect("alert:new")
            stream.writer.write(b"x")
            closed = await server.logged("client_disconnected")
        healthy = await ask(server.port, "GET /healthz")

    assert ("input_flood", 200) == (closed["reason"], healthy.status)
