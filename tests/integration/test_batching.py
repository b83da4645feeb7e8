"""Batching (contract section 5) on the real process: thresholds, windows, facts, keepalive.

A write of the server is a chunk of the response, so writes can be counted from outside.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sseserver.event_id import parse_event_id
from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.reference_eventsource import Dispatched, ReferenceEventSource
from tests.support.stream_client import TIMEOUT_SECONDS, StreamClient

MANY: Final = 1_000_000


class Write(NamedTuple):
    """What one write of the server brought."""

    events: list[Dispatched]
    comments: list[str]


class Writes:
    """The writes on one stream that is not compressed."""

    def __init__(self, stream: StreamClient) -> None:
        self._reader = stream.reader
        self._source = ReferenceEventSource()

    async def next(self) -> Write:
        """Return the next write."""
        known = len(self._source.comments)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = await self._reader.readexactly(size + 2)
        events = self._source.feed(data[:size])
        return Write(events, self._source.comments[known:])

    async def until(self, event_type: str) -> list[Write]:
        """Return the writes up to the one that brings an event of this type."""
        writes = [await self.next()]
        while event_type not in [event.type for event in writes[-1].events]:
            writes.append(await self.next())
        return writes


def quote(symbol: str, price: int) -> dict[str, Any]:
    """Return a price as a feed publishes it."""
    return {"type": "price:update", "data": {"symbol": symbol, "price": price}}


def prices(events: Sequence[Dispatched]) -> list[tuple[str, int]]:
    """Return symbol and price of every update."""
    found = [json.loads(event.data) for event in events if event.type == "price:update"]
    return [(data["symbol"], data["price"]) for data in found]


def all_events(writes: Sequence[Write]) -> list[Dispatched]:
    """Return the events of several writes."""
    return [event for write in writes for event in write.events]


async def send_test(server: Daemon) -> None:
    """Let the server send the event `test`, which marks the end of what came before."""
    await server.request("POST", "/api/stream/test", headers={"Cookie": "session=s-admin"})


@asynccontextmanager
async def opened(
    folder: Path, settings: dict[str, Any], *paths: str
) -> AsyncIterator[tuple[Daemon, FeedClient, list[Writes]]]:
    """Start a server with streams of `user-1` whose openings have been read."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await daemon.start(folder, settings))
        feed = await stack.enter_async_context(server.feed())
        await feed.session("s-1", "user-1")
        await feed.session("s-admin", "admin", role="admin")
        streams = [
            Writes(await stack.enter_async_context(server.stream(path, session="s-1")))
            for path in paths
        ]
        await send_test(server)
        for stream in streams:
            await stream.until("test")
        yield server, feed, streams


async def test_below_the_threshold_every_update_goes_out_at_once(tmp_path: Path) -> None:
    """One write each, under the ID that ingest answered, long before a window would end."""
    settings = {"batching.threshold_per_second": 1000, "batching.window_ms": 3000}
    async with opened(tmp_path, settings, "/api/stream/prices") as (_, feed, [stream]):
        seen, answered = [], []
        for price in range(20):
            [answer] = await feed.publish_many([quote("A", price)])
            answered.append(answer["id"])
            seen.append(await stream.next())

    assert [[("A", price)] for price in range(20)] == [prices(write.events) for write in seen]
    assert answered == [event.last_event_id for event in all_events(seen)]


async def test_above_the_threshold_a_window_brings_the_newest_of_each_symbol(
    tmp_path: Path,
) -> None:
    """In one write for each connection, under IDs of that time; the last values arrive.

    What has moved before the first window opens depends on how fast the feed is read; that it
    is the newest of each symbol in every write, and the last of all in the end, does not.
    """
    settings = {"batching.threshold_per_second": 5, "batching.window_ms": 200}
    paths = ("/api/stream/prices", "/api/stream/prices?symbols=A")
    async with opened(tmp_path, settings, *paths) as (server, feed, [everything, some]):
        started = time.monotonic()
        answers = await feed.publish_many([quote("ABC"[n % 3], n) for n in range(3000)])
        writes: list[Write] = []
        while not {("A", 2997), ("B", 2998), ("C", 2999)} <= {*prices(all_events(writes))}:
            writes.append(await everything.next())
        seconds = time.monotonic() - started
        await send_test(server)
        rest, filtered = await everything.until("test"), await some.until("test")

    held = [[item for item in prices(write.events) if item[1] >= 5] for write in writes]
    held_ids = {answer["id"] for answer in answers[5:]}
    ids = [parse_event_id(event.last_event_id) or 0 for event in all_events(writes)]
    assert [] == prices(all_events(rest))
    assert all(len(items) == len({symbol for symbol, _ in items}) for items in held)
    assert len([items for items in held if items]) <= seconds / 0.2 + 2
    assert ids == sorted(set(ids))
    assert held_ids.isdisjoint(event.last_event_id for event in all_events(writes))
    assert ("A", 2997) == prices(all_events(filtered))[-1]
    assert {"A"} == {symbol for symbol, _ in prices(all_events(filtered))}
    for symbol in "ABC":
        told = [price for name, price in prices(all_events(writes)) if name == symbol]
        assert told == sorted(set(told))


async def test_a_connection_gets_one_write_per_window(tmp_path: Path) -> None:
    """However long a burst lasts."""
    settings = {"batching.threshold_per_second": 1, "batching.window_ms": 100}
    async with opened(tmp_path, settings, "/api/stream/prices") as (_, feed, [stream]):
        started = time.monotonic()
        price = 0
        while time.monotonic() - started < 1.0:
            await feed.publish_many([quote("A", price + n) for n in range(10)])
            price += 10
        writes = [await stream.next()]
        while ("A", price - 1) not in prices(writes[-1].events):
            writes.append(await stream.next())
        seconds = time.monotonic() - started

    assert 3 <= len(writes) <= seconds / 0.1 + 3
    assert [1] * len(writes) == [len(write.events) for write in writes]


async def test_facts_are_never_conflated(tmp_path: Path) -> None:
    """All of them arrive in order amid a burst of prices that is, with the answered IDs."""
    settings = {
        "batching.threshold_per_second": 1,
        "batching.window_ms": 100,
        "limits.max_backlog_bytes": 1 << 24,
    }
    async with opened(tmp_path, settings, "/api/stream/positions", "/api/stream/alerts") as (
        server,
        feed,
        [positions, alerts],
    ):
        messages: list[dict[str, Any]] = []
        for n in range(300):
            alert = {"alertId": f"a-{n}", "level": "info", "message": "m"}
            held = {"symbol": "A", "quantity": n + 1, "entryPrice": 1}
            messages += [
                quote("A", n),
                {"type": "alert:new", "userId": "user-1", "data": alert},
                {"type": "position:update", "userId": "user-1", "data": held},
            ]
        answers = await feed.publish_many(messages)
        await send_test(server)
        told = {}
        for name, stream in (("alert:new", alerts), ("position:update", positions)):
            events = all_events(await stream.until("test"))
            told[name] = [event.last_event_id for event in events if event.type == name]

    assert [answer["id"] for answer in answers[1::3]] == told["alert:new"]
    published = [answer["id"] for answer in answers[2::3]]
    assert published == [event_id for event_id in told["position:update"] if event_id in published]


async def test_a_holder_is_revalued_at_most_once_per_window(tmp_path: Path) -> None:
    """With every symbol that moved; the last valuation is told, and nothing is kept of it."""
    settings = {"batching.threshold_per_second": MANY, "batching.window_ms": 200}
    async with opened(tmp_path, settings, "/api/stream/positions") as (server, feed, [stream]):
        for symbol in "AB":
            held = {"symbol": symbol, "quantity": 2, "entryPrice": 1}
            await feed.publish("position:update", held, userId="user-1")
        await send_test(server)
        await stream.until("test")
        started = time.monotonic()
        for price in range(1, 200):
            await feed.publish_many([quote("AB"[price % 2], price)])
        writes = []
        while True:
            writes.append(await stream.next())
            last = json.loads(writes[-1].events[-1].data)
            if last["totalValue"] == 2 * (198 + 199):
                break
        seconds = time.monotonic() - started
        async with server.stream("/api/stream/positions", session="s-1") as again:
            replay = (await again.expect("connected")).data["replay"]

    moved = [
        {item["symbol"] for item in json.loads(event.data)["positions"]}
        for event in all_events(writes)
    ]
    assert [1] * len(writes) == [len(write.events) for write in writes]
    assert len(writes) <= seconds / 0.2 + 2
    assert {"A", "B"} == set().union(*moved)
    assert 2 == replay


async def test_an_agent_is_told_of_as_it_changes(tmp_path: Path) -> None:
    """A stream that takes them is sent every status, newest last."""
    async with opened(tmp_path, {}, "/api/stream/ai-decisions") as (server, feed, [stream]):
        for number in range(5):
            await feed.publish("agent:status", {"agentId": "a", "status": f"s-{number}"})
        await send_test(server)
        events = all_events(await stream.until("test"))

    assert [f"s-{number}" for number in range(5)] == [
        json.loads(event.data)["status"] for event in events if event.type == "agent:status"
    ]


async def test_keepalive_counts_from_the_last_write(tmp_path: Path) -> None:
    """A stream that is written to more often than that carries none; a silent one does."""
    settings = {"stream.keepalive_seconds": 0.8}
    paths = ("/api/stream/prices", "/api/stream/alerts")
    async with opened(tmp_path, settings, *paths) as (server, feed, [busy, silent]):
        comments: list[str] = []
        price = 0
        while len(comments) < 2:
            await feed.publish_many([quote("A", price)])
            price += 1
            reading = asyncio.create_task(silent.next())
            done, _ = await asyncio.wait({reading}, timeout=0.1)
            while not done:
                await feed.publish_many([quote("A", price)])
                price += 1
                done, _ = await asyncio.wait({reading}, timeout=0.1)
            comments += (await reading).comments
        await send_test(server)
        writes = await busy.until("test")

    assert ["keepalive"] * 2 == comments
    assert price == len(prices(all_events(writes)))
    assert [] == [comment for write in writes for comment in write.comments]


class Discarding(asyncio.Protocol):
    """A price client that costs next to nothing: load for the server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"GET /api/stream/prices HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


async def test_an_error_alert_does_not_wait_for_the_cork(tmp_path: Path) -> None:
    """While writes wait to be joined it overtakes what was published before it to others.

    Load is what turns the cork on: far more deliveries than one write each would allow.
    """
    rounds, clients = 10, 250
    settings = {"batching.threshold_per_second": MANY, "log.level": "warning"}
    async with opened(tmp_path, settings) as (server, feed, _), AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        load = await stack.enter_async_context(server.feed())
        for _ in range(clients):
            transport, _ = await loop.create_connection(Discarding, "127.0.0.1", server.port)
            stack.callback(transport.close)
        await feed.session("s-2", "user-2")
        streams = [
            await stack.enter_async_context(server.stream("/api/stream/alerts", session=session))
            for session in ("s-1", "s-2")
        ]
        for stream in streams:
            await stream.expect("connected")

        async def publish_on() -> None:
            price = 0
            while True:
                await load.publish_many([quote("A", price + n) for n in range(20)])
                price += 20

        async def is_corked() -> bool:
            _, _, body = await server.request("GET", "/api/stream/metrics")
            corked: bool = json.loads(body)["delivery"]["isCorked"]
            return corked

        async def arrival(stream: StreamClient) -> float:
            await stream.expect("alert:new")
            return loop.time()

        publishing = asyncio.create_task(publish_on())
        waits: list[float] = []
        async with asyncio.timeout(40):
            while len(waits) < rounds:
                if not await is_corked():
                    continue
                alerts = [
                    {
                        "type": "alert:new",
                        "userId": user_id,
                        "data": {"alertId": "a", "level": level, "message": "m"},
                    }
                    for user_id, level in (("user-1", "info"), ("user-2", "error"))
                ]
                reading = asyncio.gather(*map(arrival, streams))
                await feed.publish_many(alerts)
                info, error = await reading
                waits.append(info - error)
        publishing.cancel()

    # A tick lasts 10 ms at least: half of one on average, for what is published amid it.
    assert sum(waits) > rounds * 0.001
