"""SIGHUP takes every key of the configuration that can change, and names every other one.

One probe for each key, which tells whether its new value is in force: no before the reload, yes
after it. A key that is neither probed nor named as fixed fails the last test.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sseserver.config import RULES
from tests.support.in_process import Running, serve

ALERT = {"alertId": "a-1", "level": "info", "message": "m"}

FIXED: dict[str, Any] = {
    "server.host": "::1",
    "server.port": 1,
    "server.tls_cert": "cert.pem",
    "server.tls_key": "key.pem",
    "ingest.path": "elsewhere.sock",
    "ingest.mode": "0600",
    "limits.max_sessions": 5,
    "limits.max_strategies": 5,
    "limits.max_instruments": 5,
    "limits.max_orders_per_user": 5,
    "limits.max_positions_per_user": 5,
    "buffer.max_users": 5,
    "backplane.servers": ["nats://127.0.0.1:1"],
    "backplane.prefix": "other",
    "state.save_seconds": 1,
    "log.format": "console",
}
"""Keys that need a restart, each with another value."""

ONE_VALUE = {"backplane.kind", "state.path", "limits.max_keys"}
"""Keys that have one value yet."""


class Probe(NamedTuple):
    """How one key shows."""

    value: Any
    is_in_force: Callable[[Running], Awaitable[bool]]
    before: dict[str, Any] = {}  # noqa: RUF012 - a constant like the others


async def status(running: Running, path: str = "/healthz", **headers: str) -> int:
    """Return the status of a request; of a stream that opens, 200."""
    async with running.stream(path, headers={"Accept": "*/*", **headers}) as client:
        return client.status


async def opening(running: Running, path: str, **headers: str) -> Any:
    """Return the head and the first event of a stream."""
    async with running.stream(path, headers=headers) as client:
        event = await client.expect("connected")
        return client, event


async def raw(running: Running, data: bytes) -> bytes:
    """Send bytes to the HTTP side and return all that comes back until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.listening.port)
    writer.write(data)
    try:
        async with asyncio.timeout(0.3):
            return await reader.read()
    except TimeoutError:
        return b"open"
    finally:
        writer.close()


async def metric(running: Running, *keys: str) -> Any:
    """Return one value of the metrics."""
    _, _, body = await running.request("GET", "/api/stream/metrics")
    value = json.loads(body)
    for key in keys:
        value = value[key]
    return value


# ---- server, cors, auth -----------------------------------------------------------------


async def refuses_second_stream(running: Running) -> bool:
    async with running.stream("/api/stream/prices"):
        return await status(running, "/api/stream/prices") == 503


async def times_out_heads(running: Running) -> bool:
    return b" 408 " in await raw(running, b"GET / HTTP/1.1\r\n")


async def serves_host(running: Running) -> bool:
    return await status(running, "/api/stream/trading?userId=u", Host="app.example") == 200


async def closes_idle_connections(running: Running) -> bool:
    return b"open" != await raw(running, b"")


async def refuses_large_heads(running: Running) -> bool:
    return await status(running, **{"X-Filler": "x" * 400}) == 431


async def refuses_large_bodies(running: Running) -> bool:
    return (await running.request("POST", "/api/stream/test", body=b"x" * 20))[0] == 413


async def trusts_proxies(running: Running) -> bool:
    async with running.stream("/api/stream/prices"):
        named = await running.request(
            "GET", "/api/stream/metrics", headers={"X-Forwarded-For": "192.0.2.1"}
        )
        async with running.feed() as feed:
            await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts", session="k"):
            named = await running.request(
                "GET", "/api/stream/metrics", headers={"X-Forwarded-For": "192.0.2.1"}
            )
    return json.loads(named[2])["clientsPerUser"] == []


async def echoes_origin(running: Running) -> bool:
    client, _ = await opening(running, "/api/stream/prices", Origin="https://a.example")
    return bool(client.headers["access-control-allow-origin"] == "https://a.example")


async def knows_cookie(running: Running) -> bool:
    async with running.feed() as feed:
        await feed.session("k", "user-1")
    return await status(running, "/api/stream/alerts", Cookie="sid=k") == 200


async def needs_session(running: Running) -> bool:
    return await status(running, "/api/stream/trading?userId=u") == 401


async def serves_through_proxies(running: Running) -> bool:
    return await status(running, "/api/stream/trading?userId=u", Via="1.1 p") == 200


# ---- limits, stream, buffer -------------------------------------------------------------


async def allows_one_connection(running: Running) -> bool:
    async with running.feed() as feed:
        await feed.session("k", "user-1")
    async with (
        running.stream("/api/stream/alerts", session="k") as first,
        running.stream("/api/stream/alerts", session="k") as second,
    ):
        await second.expect("connected")
        async with running.feed() as feed:
            await feed.publish("alert:new", ALERT, userId="user-1")
        await first.expect("connected")
        return (await first.next()).type == "connection:limit"


async def limits_attempts(running: Running) -> bool:
    return 429 in [await status(running, "/api/stream/prices") for _ in range(2)]


async def exempts_us(running: Running) -> bool:
    return 429 not in [await status(running, "/api/stream/prices") for _ in range(3)]


async def refuses_two_symbols(running: Running) -> bool:
    return await status(running, "/api/stream/prices?symbols=A,B") == 400


async def has_a_large_backlog(running: Running) -> bool:
    """Tell whether a peer that reads nothing may owe more than the old limit."""
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts", session="k", limit=64):
            for _ in range(12):
                await feed.publish("alert:new", ALERT | {"x": "x" * 200_000}, userId="user-1")
            return await metric(running, "totalClients") == 1


async def carries_retry(running: Running) -> bool:
    _, event = await opening(running, "/api/stream/prices")
    return event.retry_ms == 700


async def spreads_retry(running: Running) -> bool:
    return len({(await opening(running, "/api/stream/prices"))[1].retry_ms for _ in range(9)}) > 1


async def keeps_alive(running: Running) -> bool:
    async with running.stream("/api/stream/prices") as stream:
        await stream.expect("connected")
        try:
            async with asyncio.timeout(0.4):
                await stream.until_comment()
        except TimeoutError:
            return False
        return True


async def closes_stalled_streams(running: Running) -> bool:
    known = len(running.log.of("client_disconnected"))
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts", session="k", limit=64):
            for _ in range(12):
                await feed.publish("alert:new", ALERT | {"x": "x" * 200_000}, userId="user-1")
            await asyncio.sleep(0.4)
            return running.log.of("client_disconnected")[known:] != []


async def buffers_two_events(running: Running) -> bool:
    user = f"user-{os.urandom(4).hex()}"
    async with running.feed() as feed:
        await feed.session(user, user)
        for _ in range(4):
            await feed.publish("alert:new", ALERT, userId=user)
    async with running.stream("/api/stream/alerts", session=user) as stream:
        return bool((await stream.expect("connected")).data["replay"] == 2)


async def forgets_soon(running: Running) -> bool:
    user = f"user-{os.urandom(4).hex()}"
    async with running.feed() as feed:
        await feed.publish("alert:new", ALERT, userId=user)
    await asyncio.sleep(0.3)
    return await metric(running, "buffers", "users") == 0


async def buffers_few_bytes(running: Running) -> bool:
    async with running.feed() as feed:
        for number in range(20):
            await feed.publish("alert:new", ALERT | {"x": "x" * 999}, userId=f"user-{number}")
    return bool(await metric(running, "buffers", "bytes") < 10_000)


# ---- batching, compression, ingest, redaction, log --------------------------------------


async def conflates(running: Running) -> bool:
    before = await metric(running, "delivery", "conflatedUpdates")
    async with running.feed() as feed, running.stream("/api/stream/prices"):
        message = {"type": "price:update", "data": {"symbol": "A", "price": 1}}
        await feed.publish_many([message] * 50)
    return bool(await metric(running, "delivery", "conflatedUpdates") > before)


async def has_a_long_window(running: Running) -> bool:
    """Tell whether a second window stays open for longer than the default."""
    async with running.feed() as feed, running.stream("/api/stream/prices") as stream:
        for number in range(9):
            await feed.publish("price:update", {"symbol": "A", "price": number})
            await asyncio.sleep(0.05)
        await stream.expect("connected")
        seen = len(stream.source.events)
        try:
            async with asyncio.timeout(0.01):
                while await stream.read():
                    seen = len(stream.source.events)
        except TimeoutError:
            pass
    return seen <= 4


async def is_plain(running: Running) -> bool:
    client, _ = await opening(running, "/api/stream/prices", **{"Accept-Encoding": "gzip"})
    return "content-encoding" not in client.headers


async def compresses_worse(running: Running) -> bool:
    """Tell whether a snapshot takes more bytes than at level 9."""
    async with running.feed() as feed:
        await feed.publish_many(
            [
                {"type": "price:update", "data": {"symbol": f"S{n * 7919 % 977}", "price": n / 7}}
                for n in range(300)
            ]
        )
    async with running.stream(
        "/api/stream/prices?symbols=" + ",".join(f"S{n}" for n in range(400)),
        headers={"Accept-Encoding": "gzip"},
    ) as stream:
        await stream.expect("connected")
        await stream.expect("price:update")
        return stream.body_bytes / stream.plain_bytes > 0.3


async def runs_no_context(running: Running) -> bool:
    async with running.stream(
        "/api/stream/prices?symbols=A", headers={"Accept-Encoding": "gzip"}
    ) as stream:
        await stream.expect("connected")
        return await metric(running, "gzipContexts") == 0


async def refuses_long_lines(running: Running) -> bool:
    async with running.feed() as feed:
        await feed.send_raw(b'{"op":"ping","x":"' + b"x" * 300 + b'","ref":1}\n')
        return not (await feed.answer())["ok"]


async def refuses_our_feeds(running: Running) -> bool:
    async with running.feed() as feed:
        await feed.send_raw(b'{"op":"ping","ref":1}\n')
        return not (await feed.answer())["ok"]


async def published(running: Running, field: str) -> Any:
    """Return what becomes of an unknown field of an alert."""
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts?replay=0", session="k") as stream:
            await stream.expect("connected")
            await feed.publish("alert:new", ALERT | {field: "x"}, userId="user-1")
            return (await stream.expect("alert:new")).data.get(field)


async def redacts_desks(running: Running) -> bool:
    return await published(running, "desk") == "[REDACTED]"


async def leaves_out_x(running: Running) -> bool:
    return await published(running, "x-row") is None


async def logs_requests(running: Running) -> bool:
    known = len(running.log.lines)
    await running.request("GET", "/healthz")
    return "request" in [line["event"] for line in running.log.lines[known:]]


PROBES = {
    "server.max_connections": Probe(1, refuses_second_stream),
    "server.header_timeout_seconds": Probe(0.05, times_out_heads),
    "server.allowed_hosts": Probe(["app.example"], serves_host),
    "server.http_idle_seconds": Probe(0.05, closes_idle_connections),
    "server.max_header_bytes": Probe(300, refuses_large_heads),
    "server.max_body_bytes": Probe(10, refuses_large_bodies),
    "server.trusted_proxies": Probe(
        ["127.0.0.0/8"], trusts_proxies, {"auth.trading": "session"}
    ),
    "cors.allow_origins": Probe(["https://a.example"], echoes_origin),
    "auth.cookie_name": Probe("sid", knows_cookie),
    "auth.trading": Probe("session", needs_session),
    "auth.protected_mode": Probe(False, serves_through_proxies),
    "limits.connections_per_user": Probe(1, allows_one_connection),
    "limits.attempts_per_minute_per_ip": Probe(1, limits_attempts),
    "limits.exempt_networks": Probe(
        ["127.0.0.0/8"], exempts_us, {"limits.attempts_per_minute_per_ip": 2}
    ),
    "limits.max_symbols": Probe(1, refuses_two_symbols),
    "limits.max_backlog_bytes": Probe(
        32 << 20, has_a_large_backlog, {"limits.max_backlog_bytes": 4096}
    ),
    "stream.retry_ms": Probe(700, carries_retry),
    "stream.retry_spread_ms": Probe(100_000, spreads_retry),
    "stream.keepalive_seconds": Probe(0.05, keeps_alive),
    "stream.idle_timeout_seconds": Probe(
        0.1, closes_stalled_streams, {"limits.max_backlog_bytes": 32 << 20}
    ),
    "buffer.events_per_user": Probe(2, buffers_two_events),
    "buffer.ttl_seconds": Probe(0.05, forgets_soon),
    "buffer.max_bytes": Probe(9_000, buffers_few_bytes),
    "batching.threshold_per_second": Probe(1, conflates),
    "batching.window_ms": Probe(3_000, has_a_long_window, {"batching.threshold_per_second": 1}),
    "compression.encodings": Probe([], is_plain),
    "compression.level": Probe(1, compresses_worse, {"compression.level": 9}),
    "compression.max_contexts": Probe(0, runs_no_context),
    "ingest.max_line_bytes": Probe(256, refuses_long_lines),
    "ingest.allowed_uids": Probe([os.getuid() + 1], refuses_our_feeds),
    "redaction.secret_keys": Probe(["desk"], redacts_desks),
    "redaction.internal_prefixes": Probe(["x-"], leaves_out_x),
    "log.level": Probe("warning", logs_requests),
}
"""How each key shows; `server.drain_seconds` has a test of its own."""


@pytest.mark.parametrize("key", PROBES)
def test_a_key_is_taken(tmp_path: Path, key: str) -> None:
    """Its new value is not in force before SIGHUP, and is after it."""
    probe = PROBES[key]
    found: list[Any] = []

    async def reload(running: Running) -> None:
        found.append(await probe.is_in_force(running))
        found.append((await running.reload({key: probe.value})).get("needs_restart"))
        found.append(await probe.is_in_force(running))

    serve(tmp_path, reload, probe.before)

    assert found == [False, [], True]
