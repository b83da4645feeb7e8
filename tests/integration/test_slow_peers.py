"""Peers that read slowly or not at all (contract section 5), on real sockets.

How much the kernel takes in before the server notices is not known exactly, so amounts are
chosen well beyond or below, and what they led to is asked of the server.
"""

import asyncio
import json
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.slow_client import SlowClient
from tests.support.stream_client import Received

KERNEL_BYTES: Final = 400_000
"""More than the server's kernel and the client's take in for one stalled client."""


def alert(
    number: int, size: int = 0, user_id: str = "user-1", pad: str | None = None
) -> dict[str, Any]:
    """Return a numbered fact of about `size` bytes."""
    text = "x" * size if pad is None else pad
    data = {"alertId": "a", "level": "info", "message": "m", "n": number, "pad": text}
    return {"type": "alert:new", "userId": user_id, "data": data}


def numbers(events: Sequence[Received]) -> list[int]:
    """Return the numbers of the facts among some events."""
    return [event.data["n"] for event in events if event.type == "alert:new"]


async def delivery(server: Daemon) -> dict[str, Any]:
    """Return what the server counts."""
    _, _, body = await server.request("GET", "/api/stream/metrics")
    metrics: dict[str, Any] = json.loads(body)
    return metrics


async def connections(server: Daemon) -> dict[str, int]:
    """Return how many connections each user has."""
    users = (await delivery(server))["clientsPerUser"]
    return {user["userId"]: user["clientCount"] for user in users}


def ends(server: Daemon) -> list[str]:
    """Return why connections have ended so far."""
    return [line["reason"] for line in server.log if line["event"] == "client_disconnected"]


async def read_until(client: SlowClient, number: int) -> list[Received]:
    """Return what a client reads up to the fact with this number."""
    events = [await client.next()]
    while events[-1].data.get("n") != number:
        events.append(await client.next())
    return events


@asynccontextmanager
async def started(folder: Path, **settings: Any) -> AsyncIterator[tuple[Daemon, FeedClient]]:
    """Start a server that knows `user-1` and `user-2`, with a feed."""
    keys = {key.replace("__", "."): value for key, value in settings.items()}
    async with (
        await daemon.start(folder, {"log.level": "info", **keys}) as server,
        server.feed() as feed,
    ):
        for user_id in ("user-1", "user-2"):
            await feed.session(f"s-{user_id}", user_id)
        yield server, feed


@asynccontextmanager
async def stalled(
    server: Daemon, path: str = "/api/stream/alerts", **options: Any
) -> AsyncIterator[SlowClient]:
    """Open a stream that reads nothing behind its head."""
    client = await SlowClient.open(server.port, path, **{"session": "s-user-1", **options})
    try:
        yield client
    finally:
        client.writer.transport.abort()


async def test_a_stalled_reader_catches_up_with_nothing_lost(tmp_path: Path) -> None:
    """Its facts are kept beyond the replay buffer, and it goes on live."""
    backlog = 4 * KERNEL_BYTES
    settings = {"limits__max_backlog_bytes": backlog, "buffer__events_per_user": 5}
    async with started(tmp_path, **settings) as (server, feed), stalled(server) as client:
        # Kernel and transport hold half of the backlog and more, the rest is kept.
        count = (KERNEL_BYTES + backlog // 2) // 10_000
        await feed.publish_many([alert(number, 10_000) for number in range(count)])
        buffered = (await delivery(server))["buffers"]["events"]
        events = await read_until(client, count - 1)
        await feed.publish_many([alert(count)])
        live = await read_until(client, count)

    assert 5 == buffered
    assert list(range(count)) == numbers(events)
    assert [count] == numbers(live)
    assert "stream:gap" not in [event.type for event in events]


async def test_a_stalled_reader_of_prices_gets_the_newest_when_it_reads(tmp_path: Path) -> None:
    """State it could not take is left out, and the last value of each symbol arrives."""
    settings = {
        "limits__max_backlog_bytes": 65_536,
        "batching__threshold_per_second": 1_000_000,
    }
    async with (
        started(tmp_path, **settings) as (server, feed),
        stalled(server, "/api/stream/prices") as client,
    ):
        count = 2 * KERNEL_BYTES // 100  # each event has 120 bytes or so
        for start in range(0, count, 1000):
            await feed.publish_many(
                [
                    {
                        "type": "price:update",
                        "data": {"symbol": "AB"[number % 2], "price": number},
                    }
                    for number in range(start, start + 1000)
                ]
            )
        prices: list[tuple[str, int]] = []
        await client.expect("connected")
        await client.expect("price:update")
        while not {("A", count - 2), ("B", count - 1)} <= {*prices[-2:]}:
            data = (await client.next()).data
            prices.append((data["symbol"], data["price"]))

    assert len(prices) < count
    for symbol in "AB":
        told = [price for name, price in prices if name == symbol]
        assert told == sorted(set(told))


@pytest.mark.parametrize(("size", "count"), [(20_000, 50), (2000, 500)])
async def test_a_reader_too_far_behind_is_closed_and_resumes(
    tmp_path: Path, size: int, count: int
) -> None:
    """With everything where the replay buffer still has it, else told `too_slow`.

    The same bytes in large events are few enough for the buffer, in small ones too many.
    """
    backlog, buffered = 65_536, 100
    assert size * count > KERNEL_BYTES + backlog
    settings = {"limits__max_backlog_bytes": backlog, "buffer__events_per_user": buffered}
    async with started(tmp_path, **settings) as (server, feed), stalled(server) as client:
        connected = await client.expect("connected")
        await feed.publish_many([alert(number, size) for number in range(count)])
        line = await server.logged("client_disconnected", client_id=connected.data["clientId"])
        async with server.stream(
            "/api/stream/alerts", session="s-user-1", last_event_id=connected.id
        ) as again:
            await again.expect("connected")
            events = [await again.next() for _ in range(min(count, buffered + 1))]

    assert "slow_consumer" == line["reason"]
    if count <= buffered:
        assert list(range(count)) == numbers(events)
    else:
        assert ("stream:gap", "too_slow") == (events[0].type, events[0].data["reason"])
        assert list(range(count - buffered, count)) == numbers(events)


async def test_a_stalled_client_costs_the_others_nothing(tmp_path: Path) -> None:
    """Another stream of the same user and one of another get everything at once.

    While the stalled one is parked, and after it was closed.
    """
    async with (
        started(tmp_path, limits__max_backlog_bytes=65_536) as (server, feed),
        stalled(server),
        server.stream("/api/stream/alerts", session="s-user-1") as same,
        server.stream("/api/stream/alerts", session="s-user-2") as other,
    ):
        for stream in (same, other):
            await stream.expect("connected")
        seen: tuple[list[int], list[int]] = ([], [])
        count = 2 * KERNEL_BYTES // 10_000
        for number in range(2 * count):
            if number == count:
                await server.logged("client_disconnected", reason="slow_consumer")
            await feed.publish_many(
                [alert(number, 10_000, user_id) for user_id in ("user-1", "user-2")]
            )
            for stream, told in zip((same, other), seen, strict=True):
                told.append((await stream.expect("alert:new")).data["n"])

    assert (list(range(2 * count)), list(range(2 * count))) == seen


async def test_an_event_larger_than_the_backlog_reaches_a_reader(tmp_path: Path) -> None:
    """One may always be in flight, whatever its size; small ones behind it do not harm."""
    async with (
        started(tmp_path, limits__max_backlog_bytes=16_384) as (server, feed),
        server.stream("/api/stream/alerts", session="s-user-1") as stream,
    ):
        await stream.expect("connected")
        sizes = []
        for number in range(0, 15, 3):
            await feed.publish_many(
                [alert(number, 200_000), alert(number + 1), alert(number + 2, 5000)]
            )
            sizes += [len((await stream.expect("alert:new")).data["pad"]) for _ in range(3)]
        closed = (await delivery(server))["delivery"]["slowConsumers"]

    assert [200_000, 0, 5000] * 5 == sizes
    assert 0 == closed


async def test_an_event_larger_than_the_backlog_is_kept_for_a_stalled_reader(
    tmp_path: Path,
) -> None:
    """The first that it lacks is not counted, however long it stalls."""
    settings = {"limits__max_backlog_bytes": 65_536, "stream__keepalive_seconds": 0.5}
    async with (
        started(tmp_path, **settings) as (server, feed),
        stalled(server) as client,
        server.stream("/api/stream/alerts", session="s-user-2") as clock,
    ):
        # The first is written, and is more than the kernel takes; the second is kept.
        for number in range(2):
            await feed.publish_many([alert(number, 240_000)])
        await clock.until_comment(4)
        events = await read_until(client, 1)

    assert [0, 1] == numbers(events)


async def test_a_burst_of_facts_reaches_a_reader(tmp_path: Path) -> None:
    """Ten times the backlog, pipelined, to a client that reads on.

    Its transport fills within a turn of the loop, in which it cannot read.
    """
    count = 500
    async with (
        started(tmp_path) as (server, feed),
        server.stream("/api/stream/alerts", session="s-user-1") as stream,
    ):
        await stream.expect("connected")
        publishing = asyncio.create_task(
            feed.publish_many([alert(number, 5000) for number in range(count)])
        )
        told = [(await stream.expect("alert:new")).data["n"] for _ in range(count)]
        await publishing

    assert list(range(count)) == told


async def test_a_long_replay_is_paced_and_complete(tmp_path: Path) -> None:
    """2000 events of 5 KB for clients that read nothing take little memory.

    One that then reads gets all of it, and what was published meanwhile, however long it
    pauses: an opening is not counted as backlog.
    """
    count, more, clients = 2000, 60, 8
    settings = {
        "limits__max_backlog_bytes": 65_536,
        "limits__connections_per_user": 100,
        "buffer__events_per_user": count,
        "stream__keepalive_seconds": 0.5,
    }
    digits = random.Random(1).randbytes(2500).hex()  # half of it is left by zstd
    async with started(tmp_path, **settings) as (server, feed), AsyncExitStack() as stack:
        for start in range(0, count, 100):
            await feed.publish_many(
                [
                    alert(start + number, pad=digits[number:] + digits[:number])
                    for number in range(100)
                ]
            )
        before = (await delivery(server))["memory"]["residentBytes"]
        readers = [
            await stack.enter_async_context(stalled(server, encoding="zstd"))
            for _ in range(clients)
        ]
        clock = await stack.enter_async_context(
            server.stream("/api/stream/alerts", session="s-user-2")
        )
        grown_bytes = (await delivery(server))["memory"]["residentBytes"] - before
        events = await read_until(readers[0], count // 2)
        await feed.publish_many([alert(count + number, 5000) for number in range(more)])
        await clock.until_comment(4)  # longer than a live stream may be too far behind
        events += await read_until(readers[0], count + more - 1)

    assert grown_bytes < count * 5000
    assert count == events[0].data["replay"]
    assert list(range(count + more)) == numbers(events)


async def test_a_large_snapshot_reaches_a_slow_reader(tmp_path: Path) -> None:
    """Many times the backlog in one event; what moves meanwhile follows it."""
    settings = {
        "limits__max_backlog_bytes": 16_384,
        "batching__threshold_per_second": 1_000_000,
    }
    count = 10_000
    async with started(tmp_path, **settings) as (server, feed):
        for start in range(0, count, 1000):
            await feed.publish_many(
                [
                    {"type": "price:update", "data": {"symbol": f"S{number}", "price": number}}
                    for number in range(start, start + 1000)
                ]
            )
        async with stalled(server, "/api/stream/prices") as client:
            await feed.publish("price:update", {"symbol": "S7", "price": 99_999})
            await client.expect("connected")
            snapshot = await client.expect("price:update")
            news = await client.expect("price:update")

    assert count == len(snapshot.data["prices"])
    assert ("S7", 99_999) == (news.data["symbol"], news.data["price"])


@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_a_drain_hands_over_what_is_held(tmp_path: Path, encoding: str | None) -> None:
    """A reader that stalls at SIGTERM has `drain_seconds` to take its facts and the farewell."""
    backlog = 2 * KERNEL_BYTES
    settings = {
        "limits__max_backlog_bytes": backlog,
        "buffer__events_per_user": 5,
        "server__drain_seconds": 15,
    }
    rng = random.Random(1)
    async with (
        started(tmp_path, **settings) as (server, feed),
        stalled(server, encoding=encoding) as client,
    ):
        count = (KERNEL_BYTES + backlog // 2) // 10_000
        await feed.publish_many(
            [alert(number, pad=rng.randbytes(5_000).hex()) for number in range(count)]
        )
        server.signal(signal.SIGTERM)
        await server.logged("draining")
        events = await client.until_end()
        await client.close()
        code = await server.stop()

    assert list(range(count)) == numbers(events)
    assert "server:shutdown" == events[-1].type
    assert 0 == code


async def test_the_oldest_connection_is_handed_what_is_held_before_it_goes(tmp_path: Path) -> None:
    """The answer to its return is 204, so it could not come back for it."""
    backlog = 2 * KERNEL_BYTES
    settings = {
        "limits__max_backlog_bytes": backlog,
        "limits__connections_per_user": 1,
        "buffer__events_per_user": 5,
    }
    async with started(tmp_path, **settings) as (server, feed), stalled(server) as client:
        count = (KERNEL_BYTES + backlog // 2) // 10_000
        await feed.publish_many([alert(number, 10_000) for number in range(count)])
        async with server.stream("/api/stream/alerts", session="s-user-1") as newcomer:
            await newcomer.expect("connected")
            events = await client.until_end()

    assert list(range(count)) == numbers(events)
    assert "connection:limit" == events[-1].type


async def test_clients_that_do_not_read_cannot_take_all_places(tmp_path: Path) -> None:
    """One user may open as many as it likes: those past its limit are gone soon."""
    settings = {"server__max_connections": 12, "limits__connections_per_user": 2}
    async with started(tmp_path, **settings) as (server, feed), AsyncExitStack() as stack:
        await feed.publish_many([alert(number, 20_000) for number in range(100)])
        for _ in range(8):
            await stack.enter_async_context(stalled(server))
        while len(reasons := ends(server)) < 6:
            await asyncio.sleep(0.01)
        async with server.stream("/api/stream/alerts", session="s-user-2") as other:
            await other.expect("connected")
            counts = await connections(server)

    assert {"user-1": 2, "user-2": 1} == counts
    assert ["connection_limit"] * 6 == reasons
