"""Who is refused for now, how, and how they come back, against the real process."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.raw_client import Answer, ask, connected, request_bytes
from tests.support.reference_eventsource import Dispatched, ReferenceEventSource

PRICES = "GET /api/stream/prices"
EVENT_SOURCE = "\nAccept: text/event-stream"


async def attempt(server: Daemon, head: str) -> int:
    """Ask for a stream and leave; return the status."""
    async with connected(server.port) as client:
        client.send(request_bytes(head))
        return (await client.head()).status


def refused(answer: Answer) -> Dispatched:
    """Return the one event in the answer to an EventSource that was refused."""
    assert (200, "text/event-stream") == (answer.status, answer.headers["content-type"])
    source = ReferenceEventSource()
    (event,) = source.feed(answer.body)
    assert ("connection:refused", "") == (event.type, event.last_event_id)
    return event


async def test_attempts_of_one_address(tmp_path: Path) -> None:
    """Five a minute, whatever their outcome; other requests and refusals do not count."""
    settings = {"limits.attempts_per_minute_per_ip": 5, "auth.trading": "session"}
    async with await daemon.start(tmp_path, settings) as server:
        uncounted = [
            (await ask(server.port, head)).status
            for head in (
                "GET /healthz",
                "GET /api/stream/metrics",
                "GET /nowhere",
                "OPTIONS /api/stream/prices",
                "HEAD /api/stream/prices",
                "POST /api/stream/prices",
                "POST /api/stream/test",
            )
        ]
        counted = [
            await attempt(server, head)
            for head in (
                PRICES,
                "GET /api/stream/orders",
                "GET /api/stream/trading",
                f"{PRICES}\nAccept: text/html",
                f"{PRICES}?symbols=%0A",
            )
        ]
        limited = [await ask(server.port, PRICES) for _ in range(3)]
        soft = await ask(server.port, f"{PRICES}{EVENT_SOURCE}")
        health = await ask(server.port, "GET /healthz")
        line = await server.logged("stream_refused", reason="attempt_limit")

    assert [200, 200, 404, 200, 405, 405, 401] == uncounted
    assert [200, 401, 401, 406, 400] == counted
    assert "warning" == line["level"]
    for answer in limited:
        assert (429, "Too Many Requests") == (answer.status, answer.json()["error"])
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert "access-control-allow-origin" in answer.headers
        assert "x-correlation-id" in answer.headers
    event = refused(soft)
    assert '{"reason":"attempt_limit",' == event.data[:26]
    assert event.retry_ms is not None
    assert 30_000 <= event.retry_ms <= 120_000
    assert "close" == soft.headers["connection"]
    assert "access-control-allow-origin" in soft.headers
    assert 200 == health.status


async def test_attempts_count_by_client_address(tmp_path: Path) -> None:
    """Behind trusted proxies by the rightmost untrusted address; IPv6 by /64; exempt ones not."""
    settings = {
        "limits.attempts_per_minute_per_ip": 1,
        "limits.exempt_networks": ["192.0.2.0/24", "2001:db8:ffff::/48"],
        "server.trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"],
        "auth.trading": "session",
    }
    cases = {
        "198.51.100.1": 200,
        "203.0.113.7, 198.51.100.1": 429,
        "198.51.100.1, 10.1.1.1": 429,
        "198.51.100.2": 200,
        "::ffff:198.51.100.2": 429,
        "198.51.100.3:4711": 200,
        "198.51.100.3": 429,
        "2001:db8::1": 200,
        "[2001:db8::ffff:ffff:ffff:2]:443": 429,
        "2001:db8:0:1::1": 200,
        "192.0.2.1": 200,
        "192.0.2.1, 10.1.1.1": 200,
        "2001:db8:ffff:1::1": 200,
        "2001:db8:ffff:1::2": 200,
        "198.51.100.4, not-an-address": 200,
    }
    async with await daemon.start(tmp_path, settings) as server:
        found = {
            text: await attempt(server, f"{PRICES}\nX-Forwarded-For: {text}") for text in cases
        }
        own = await attempt(server, PRICES)

    assert cases == found
    assert 429 == own


async def test_an_address_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    """Without trusted proxies `X-Forwarded-For` says nothing."""
    settings = {"limits.attempts_per_minute_per_ip": 1, "limits.exempt_networks": ["192.0.2.0/24"]}
    async with await daemon.start(tmp_path, settings) as server:
        found = [
            await attempt(server, f"{PRICES}\nX-Forwarded-For: {text}")
            for text in ("192.0.2.1", "198.51.100.1")
        ]

    assert [200, 429] == found


async def test_max_connections_leaves_room_to_answer(tmp_path: Path) -> None:
    """503 or `connection:refused` when full, everything else as before; then room again."""
    async with await daemon.start(tmp_path, {"server.max_connections": 2}) as server:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                stream = await stack.enter_async_context(server.stream("/api/stream/prices"))
                await stream.expect("connected")
            hard = await ask(server.port, PRICES)
            soft = [await ask(server.port, f"{PRICES}{EVENT_SOURCE}") for _ in range(8)]
            unauthorized = await ask(server.port, f"GET /api/stream/orders{EVENT_SOURCE}")
            health = await ask(server.port, "GET /healthz")
            many = await asyncio.gather(
                *(ask(server.port, f"{PRICES}{EVENT_SOURCE}") for _ in range(60))
            )
            shown = (await ask(server.port, "GET /api/stream/metrics")).json()
        for _ in range(2):
            await server.logged("client_disconnected")
        while (status := await attempt(server, PRICES)) == 503:
            await asyncio.sleep(0)

    assert (503, "5") == (hard.status, hard.headers["retry-after"])
    assert "Service Unavailable" == hard.json()["error"]
    retries = [refused(answer).retry_ms for answer in soft]
    assert all(retry_ms is not None and 5000 <= retry_ms <= 10_000 for retry_ms in retries)
    assert 1 < len(set(retries))
    assert ["max_connections"] * 60 == [
        ReferenceEventSource().feed(answer.body)[0].data.split('"')[3] for answer in many
    ]
    assert (401, 200, 2) == (unauthorized.status, health.status, shown["totalClients"])
    assert 200 == status


async def test_a_flood_of_silent_connections_leaves_room_to_answer(tmp_path: Path) -> None:
    """The oldest connections that ask nothing make room for those that do."""
    async with (
        await daemon.start(tmp_path, {"server.max_connections": 1}) as server,
        AsyncExitStack() as stack,
    ):
        silent = [await stack.enter_async_context(connected(server.port)) for _ in range(200)]
        health = await ask(server.port, "GET /healthz")
        silent[-1].send(request_bytes("GET /healthz"))
        newest = await silent[-1].answer()
        for oldest in silent[:100]:
            await oldest.until_gone()

    assert (200, 200) == (health.status, newest.status)


async def test_scarce_descriptors_leave_room_to_answer(tmp_path: Path) -> None:
    """However many streams and idle connections there are."""
    async with (
        await daemon.start(tmp_path, descriptors=120) as server,
        AsyncExitStack() as stack,
    ):
        streams, refusals = 0, 0
        for _ in range(70):
            client = await stack.enter_async_context(connected(server.port))
            client.send(request_bytes(PRICES))
            if (await client.head()).status == 200:
                streams += 1
            else:
                refusals += 1
        for _ in range(100):
            client = await stack.enter_async_context(connected(server.port))
            client.send(request_bytes("GET /healthz"))
            await client.answer()
        hard = await ask(server.port, PRICES)
        health = await ask(server.port, "GET /healthz")
        async with server.feed() as feed:
            pong = await feed.do("ping")

    assert (50, 20) == (streams, refusals)
    assert (503, 200, True) == (hard.status, health.status, pong["ok"])


async def test_a_flood_of_feeds_leaves_descriptors_to_clients(tmp_path: Path) -> None:
    """Past their places feeds are told so and closed; the first are served, and who asks."""
    async with (
        await daemon.start(tmp_path, descriptors=120) as server,
        AsyncExitStack() as stack,
    ):
        feeds = [await stack.enter_async_context(server.feed()) for _ in range(150)]
        health = await ask(server.port, "GET /healthz")
        stream = await attempt(server, PRICES)
        pong = await feeds[0].do("ping")
        told = await feeds[-1].answer()

    assert (200, 200, True) == (health.status, stream, pong["ok"])
    assert (False, "unavailable") == (told["ok"], told["error"]["code"])


async def test_the_tab_that_was_closed_stays_away(tmp_path: Path) -> None:
    """204 to the returning tab while its user is at the limit, to nobody else; then it opens."""
    settings = {"limits.connections_per_user": 2}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        path, cookie = "/api/stream/alerts", "\nCookie: session=s-1"
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(server.stream(path, session="s-1"))
            await first.expect("connected")
            second = server.stream(path, session="s-1")
            third = server.stream(path, session="s-1")
            await (await stack.enter_async_context(second)).expect("connected")
            newest = await stack.enter_async_context(third)
            await newest.expect("connected")
            farewell, *rest = await first.until_end()
            by_header = await ask(server.port, f"GET {path}{cookie}\nLast-Event-ID: {farewell.id}")
            by_query = await ask(server.port, f"GET {path}?lastEventId={farewell.id}{cookie}")
            shown = (await ask(server.port, "GET /api/stream/metrics")).json()
            await newest.close()
            await server.logged("client_disconnected", reason="client_left")
            async with server.stream(path, session="s-1", last_event_id=farewell.id) as back:
                returned = await back.expect("connected")

    assert ("connection:limit", 2, []) == (farewell.type, farewell.data["limit"], rest)
    assert {"limit", "message", "timestamp"} == farewell.data.keys()
    assert first.is_ended_properly
    assert (204, 204) == (by_header.status, by_query.status)
    assert "content-length" not in by_header.headers
    assert 2 == shown["totalClients"]
    assert returned.data["clientId"].startswith("user-1-alerts-")


async def test_who_was_not_authenticated_evicts_nobody(tmp_path: Path) -> None:
    """Open trading connections neither count against their user nor meet the limit."""
    settings = {"limits.connections_per_user": 1}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with AsyncExitStack() as stack:
            paths: list[dict[str, Any]] = [{"session": "s-1"}, {}, {}, {}]
            streams = [
                await stack.enter_async_context(
                    server.stream("/api/stream/trading?userId=user-1", **options)
                )
                for options in paths
            ]
            await feed.publish(
                "trade:new",
                {"tradeId": "t", "symbol": "A", "side": "buy", "qty": 1, "price": 1},
                userId="user-1",
            )
            ids = {(await stream.until("trade:new")).id for stream in streams}

    assert 1 == len(ids)


async def test_a_drain_refuses_so_that_browsers_survive(tmp_path: Path) -> None:
    """Requests under way are answered while draining, each of them on its last connection."""
    async with await daemon.start(tmp_path, {"server.drain_seconds": 20}) as server:
        heads = ("GET /readyz", "GET /healthz", PRICES, f"{PRICES}{EVENT_SOURCE}")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(server.port)) for _ in heads]
            fresh = await stack.enter_async_context(connected(server.port))
            kept = await stack.enter_async_context(connected(server.port))
            kept.send(request_bytes("GET /healthz"))
            await kept.answer()
            for client, head in zip(clients, heads, strict=True):
                client.send(request_bytes(head)[:-1])
            while (await ask(server.port, "GET /metrics")).body.find(
                b"sseserver_http_connections 7.0"
            ) < 0:
                await asyncio.sleep(0)
            server.signal(signal.SIGTERM)
            await server.logged("draining")
            at_once = await kept.rest()
            fresh.send(request_bytes(f"{PRICES}{EVENT_SOURCE}"))
            late = await fresh.answer()
            answers = []
            for client in clients:
                client.send(b"\n")
                answers.append(await client.answer())
                assert b"" == await client.rest()
            for client in (fresh, kept):
                client.writer.close()
        code = await server.stop()
        stopped = await server.logged("stopped")
        timed_out = [line for line in server.log if line["event"] == "drain_timed_out"]

    ready, health, hard, soft = answers
    assert b"" == at_once
    assert (503, "1", 200) == (ready.status, ready.headers["retry-after"], health.status)
    assert (503, "2") == (hard.status, hard.headers["retry-after"])
    for answer in (soft, late):
        event = refused(answer)
        assert '{"reason":"draining"' == event.data[:20]
        assert event.retry_ms is not None
        assert 2000 <= event.retry_ms <= 4000
    assert {"close"} == {answer.headers["connection"] for answer in (*answers, late)}
    assert (0, []) == (code, timed_out)
    assert stopped["seconds"] < 20
