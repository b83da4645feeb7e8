"""SIGHUP takes every key of the configuration that can change, and names every other one.

One probe for each key, which tells whether its new value is in force: no before the reload, yes
after it. A key that is neither probed nor named as fixed fails the last test.
"""

import asyncio
import json
import os
import socket
import warnings
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
    "server.tls_cert": __file__,  # any file that is there
    "server.tls_key": __file__,
    "ingest.path": "elsewhere.sock",
    "ingest.mode": "0600",
    "limits.max_sessions": 5,
    "limits.max_strategies": 5,
    "limits.max_instruments": 5,
    "limits.max_orders_per_user": 5,
    "limits.max_positions_per_user": 5,
    "limits.max_keys": 5,
    "buffer.max_users": 5,
    "backplane.servers": ["nats://127.0.0.1:1"],
    "backplane.prefix": "other",
    "state.path": "other.state",
    "state.save_seconds": 1,
    "log.format": "console",
}
"""Keys that need a restart, each with another value."""

ONE_VALUE = {"backplane.kind"}
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
    """Tell whether one stream is all there may be."""
    async with running.stream("/api/stream/prices"):
        return await status(running, "/api/stream/prices") == 503


async def times_out_heads(running: Running) -> bool:
    """Tell whether a request that does not end is answered soon."""
    return b" 408 " in await raw(running, b"GET / HTTP/1.1\r\n")


async def serves_host(running: Running) -> bool:
    """Tell whether open trading is served under another name."""
    return await status(running, "/api/stream/trading?userId=u", Host="app.example") == 200


async def closes_idle_connections(running: Running) -> bool:
    """Tell whether a connection without a request is closed soon."""
    return b"open" != await raw(running, b"")


async def refuses_large_heads(running: Running) -> bool:
    """Tell whether a head of a few hundred bytes is too large."""
    return await status(running, **{"X-Filler": "x" * 400}) == 431


async def refuses_large_bodies(running: Running) -> bool:
    """Tell whether a body of twenty bytes is too large."""
    return (await running.request("POST", "/api/stream/test", body=b"x" * 20))[0] == 413


async def trusts_proxies(running: Running) -> bool:
    """Tell whether two clients behind one proxy are told apart."""
    clients = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in (1, 2)]
    return 429 not in [await status(running, "/api/stream/prices", **one) for one in clients]


async def echoes_origin(running: Running) -> bool:
    """Tell whether an origin is named in the answer."""
    client, _ = await opening(running, "/api/stream/prices", Origin="https://a.example")
    return bool(client.headers["access-control-allow-origin"] == "https://a.example")


async def knows_cookie(running: Running) -> bool:
    """Tell whether the session is found in another cookie."""
    async with running.feed() as feed:
        await feed.session("k", "user-1")
    return await status(running, "/api/stream/alerts", Cookie="sid=k") == 200


async def needs_session(running: Running) -> bool:
    """Tell whether trading is closed to who has no session."""
    return await status(running, "/api/stream/trading?userId=u") == 401


async def serves_through_proxies(running: Running) -> bool:
    """Tell whether open trading is served to who comes through a proxy."""
    return await status(running, "/api/stream/trading?userId=u", Via="1.1 p") == 200


# ---- limits, stream, buffer -------------------------------------------------------------


async def allows_one_connection(running: Running) -> bool:
    """Tell whether a user's second connection pushes out the first."""
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with (
            running.stream("/api/stream/alerts?replay=0", session="k") as first,
            running.stream("/api/stream/alerts?replay=0", session="k") as second,
        ):
            await second.expect("connected")
            await feed.publish("alert:new", ALERT, userId="user-1")
            await first.expect("connected")
            return (await first.next()).type == "connection:limit"


async def limits_attempts(running: Running) -> bool:
    """Tell whether a second attempt is one too many."""
    return 429 in [await status(running, "/api/stream/prices") for _ in range(2)]


async def exempts_us(running: Running) -> bool:
    """Tell whether any number of attempts is allowed from here."""
    return 429 not in [await status(running, "/api/stream/prices") for _ in range(3)]


async def refuses_two_symbols(running: Running) -> bool:
    """Tell whether two symbols are too many."""
    return await status(running, "/api/stream/prices?symbols=A,B") == 400


async def has_a_large_backlog(running: Running) -> bool:
    """Tell whether a peer that reads nothing may owe more than the old limit."""
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts", session="k", limit=1 << 12):
            for _ in range(12):
                await feed.publish("alert:new", ALERT | {"x": "x" * 200_000}, userId="user-1")
            await asyncio.sleep(0.4)  # outlasts the patience with a peer that takes nothing
            return bool(await metric(running, "totalClients") == 1)


async def carries_retry(running: Running) -> bool:
    """Tell whether clients are told to come back after the new time."""
    _, event = await opening(running, "/api/stream/prices")
    return bool(event.retry_ms == 700)


async def spreads_retry(running: Running) -> bool:
    """Tell whether clients are told different times."""
    return len({(await opening(running, "/api/stream/prices"))[1].retry_ms for _ in range(9)}) > 1


async def keeps_alive(running: Running) -> bool:
    """Tell whether a quiet stream carries a comment soon."""
    async with running.stream("/api/stream/prices") as stream:
        await stream.expect("connected")
        try:
            async with asyncio.timeout(0.4):
                await stream.until_comment()
        except TimeoutError:
            return False
        return True


async def closes_stalled_streams(running: Running) -> bool:
    """Tell whether a peer that reads nothing is closed soon."""
    known = len(running.log.of("client_disconnected"))
    async with running.feed() as feed:
        await feed.session("k", "user-1")
        async with running.stream("/api/stream/alerts", session="k", limit=1 << 12):
            for _ in range(12):
                await feed.publish("alert:new", ALERT | {"x": "x" * 200_000}, userId="user-1")
            await asyncio.sleep(0.4)
            return running.log.of("client_disconnected")[known:] != []


async def buffers_two_events(running: Running) -> bool:
    """Tell whether two of four events are left to replay."""
    user = f"user-{os.urandom(4).hex()}"
    async with running.feed() as feed:
        await feed.session(user, user)
        for _ in range(4):
            await feed.publish("alert:new", ALERT, userId=user)
    async with running.stream("/api/stream/alerts", session=user) as stream:
        return bool((await stream.expect("connected")).data["replay"] == 2)


async def forgets_soon(running: Running) -> bool:
    """Tell whether a buffer without a client is dropped soon."""
    known = await metric(running, "buffers", "droppedBuffers")
    async with running.feed() as feed:
        await feed.publish("alert:new", ALERT, userId=f"user-{known}-{os.urandom(4).hex()}")
    await asyncio.sleep(0.2)
    return bool(await metric(running, "buffers", "droppedBuffers") > known)


async def buffers_few_bytes(running: Running) -> bool:
    """Tell whether all buffers together stay small."""
    async with running.feed() as feed:
        for number in range(20):
            await feed.publish("alert:new", ALERT | {"x": "x" * 999}, userId=f"user-{number}")
    return bool(await metric(running, "buffers", "bytes") < 10_000)


# ---- batching, compression, ingest, redaction, log --------------------------------------


async def conflates(running: Running) -> bool:
    """Tell whether fifty prices at once are too many."""
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
    """Tell whether no coding is used."""
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
        return stream.body_bytes / stream.plain_bytes > 0.1175


async def runs_no_context(running: Running) -> bool:
    """Tell whether a gzip stream goes without a context."""
    async with running.stream(
        "/api/stream/prices?symbols=A", headers={"Accept-Encoding": "gzip"}
    ) as stream:
        await stream.expect("connected")
        return bool(await metric(running, "gzipContexts") == 0)


async def refuses_long_lines(running: Running) -> bool:
    """Tell whether a line of a few hundred bytes is too long."""
    async with running.feed() as feed:
        await feed.send_raw(b'{"op":"ping","x":"' + b"x" * 300 + b'","ref":1}\n')
        return not (await feed.answer())["ok"]


async def refuses_our_feeds(running: Running) -> bool:
    """Tell whether our user may not publish."""
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
    """Tell whether `desk` is a secret."""
    return bool(await published(running, "desk") == "[REDACTED]")


async def leaves_out_x(running: Running) -> bool:
    """Tell whether `x-` begins an internal key."""
    return await published(running, "x-row") is None


async def logs_no_requests(running: Running) -> bool:
    """Tell whether requests are not logged."""
    known = len(running.log.lines)
    await running.request("GET", "/healthz")
    return "request" not in [line["event"] for line in running.log.lines[known:]]


PROBES = {
    "server.max_connections": Probe(1, refuses_second_stream),
    "server.header_timeout_seconds": Probe(0.05, times_out_heads),
    "server.allowed_hosts": Probe(["app.example"], serves_host),
    "server.http_idle_seconds": Probe(0.05, closes_idle_connections),
    "server.max_header_bytes": Probe(300, refuses_large_heads),
    "server.max_body_bytes": Probe(10, refuses_large_bodies),
    "server.trusted_proxies": Probe(
        ["127.0.0.0/8"],
        trusts_proxies,
        {"auth.trading": "session", "limits.attempts_per_minute_per_ip": 1},
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
    "log.level": Probe("info", logs_no_requests),
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


def test_the_time_of_a_drain_is_taken(tmp_path: Path) -> None:
    """`server.drain_seconds` is that of the configuration read last."""

    async def reload(running: Running) -> None:
        await running.reload({"server.drain_seconds": 0.05})
        peer.connect((running.listening.host, running.listening.port))
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n")
        await asyncio.get_running_loop().run_in_executor(None, peer.recv, 1024)

    with socket.socket() as peer, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        ended = serve(tmp_path, reload, {"server.drain_seconds": 3600})

    assert ended.events[-2:] == ["drain_timed_out", "stopped"]


def test_what_cannot_change_is_named(tmp_path: Path) -> None:
    """Every other key is named, by its path, each time it differs from what runs."""
    found: list[Any] = []

    async def reload(running: Running) -> None:
        found.append((await running.reload(FIXED))["needs_restart"])
        async with running.feed() as feed:
            found.append((await feed.do("ping"))["ok"])
        found.append(await status(running))

    serve(tmp_path, reload, {"server.host": "127.0.0.1"})

    assert [sorted(found[0]), *found[1:]] == [sorted(FIXED), True, 200]


def test_no_key_is_forgotten() -> None:
    """A new key has to be probed here, or named as one that needs a restart."""
    known = PROBES.keys() | FIXED.keys() | ONE_VALUE | {"server.drain_seconds"}

    assert RULES.keys() == known
    assert PROBES.keys() & FIXED.keys() == set()
