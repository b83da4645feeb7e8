"""What a stream sends, in this order (contract section 4), on the real process."""

import asyncio
import re
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from sseserver.event_id import parse_event_id
from tests.support import daemon
from tests.support.feed_client import FeedClient
from tests.support.sample_events import BROADCAST, SAMPLES
from tests.support.stream_client import Received, StreamClient

OPENINGS: Final = {
    "orders": ["order:update", "order:fill", "trade:new", "order:update*"],
    "positions": ["position:update", "position:update*"],
    "trading?userId=user-1": [
        "order:update", "order:fill", "trade:new", "position:update",
        "order:update*", "position:update*",
    ],
    "prices": ["price:update*"],
    "ai-decisions": ["ai:decision"],
    "strategies/s-1": ["strategy:update"],
    "alerts": ["alert:new"],
}  # fmt: skip
"""What follows `connected`, of a user for whom one event of each type has been published; the
snapshots are marked."""

LIVE: Final = {
    "orders": "trade:new",
    "positions": "position:update",
    "trading?userId=user-1": "trade:new",
    "prices": "price:update",
    "ai-decisions": "agent:status",
    "strategies/s-1": "strategy:update",
    "alerts": "alert:new",
}
"""An event that each carries."""

EVENT: Final = re.compile(
    rb"event: [a-z]+(?::[a-z]+)?\ndata: \{.*\}\nid: [0-9]+-[0-9a-z]{9}\nretry: 5000\n\n"
)


async def publish_sample(feed: FeedClient, event_type: str) -> str:
    """Publish an event of a type, to `user-1` where it is not for everybody; return its ID."""
    owner = {} if event_type in BROADCAST else {"userId": "user-1"}
    return await feed.publish(event_type, SAMPLES[event_type], **owner)


def marked(event: Received) -> str:
    """Return the type of an event, marked where it is a snapshot."""
    is_snapshot = event.data.get("snapshot") or event.data.get("initializing")
    return event.type + ("*" if is_snapshot else "")


def increase(ids: list[str]) -> bool:
    """Tell whether IDs strictly increase, as the contract compares them."""
    numbers = [parse_event_id(text) or 0 for text in ids]
    return all(former < latter for former, latter in pairwise(numbers))


def numbers_of(events: list[Received]) -> list[int]:
    """Return the numbers of the alerts among some events."""
    return [event.data["n"] for event in events if event.type == "alert:new"]


def alert(number: int, user_id: str = "user-1") -> dict[str, Any]:
    """Return a numbered fact."""
    data = {"alertId": f"a-{number}", "level": "info", "message": "m", "n": number}
    return {"type": "alert:new", "userId": user_id, "data": data}


async def test_every_stream_opens_in_the_order_of_the_contract(tmp_path: Path) -> None:
    """`connected`, the buffered events, the snapshot, live; every field of every event in order.

    IDs strictly increase through all of it, and the live event has the ID that ingest answered.
    """
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await daemon.start(tmp_path))
        feed = await stack.enter_async_context(server.feed())
        await feed.session("s-1", "user-1")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        for event_type in SAMPLES:
            await publish_sample(feed, event_type)
        streams: dict[str, StreamClient] = {}
        events: dict[str, list[Received]] = {}
        for path, opening in OPENINGS.items():
            stream = server.stream(f"/api/stream/{path}", session="s-1")
            streams[path] = await stack.enter_async_context(stream)
            events[path] = [await streams[path].next() for _ in ("connected", *opening)]
        live = {
            event_type: await publish_sample(feed, event_type) for event_type in {*LIVE.values()}
        }
        for path, stream_client in streams.items():
            events[path].append(await stream_client.until(LIVE[path]))
        strange = {path: EVENT.sub(b"", stream.plain) for path, stream in streams.items()}

    assert {path: ["connected", *opening, LIVE[path]] for path, opening in OPENINGS.items()} == {
        path: [marked(event) for event in received] for path, received in events.items()
    }
    assert {
        path: len([t for t in opening if "*" not in t]) for path, opening in OPENINGS.items()
    } == {path: received[0].data["replay"] for path, received in events.items()}
    assert {path: live[event_type] for path, event_type in LIVE.items()} == {
        path: received[-1].id for path, received in events.items()
    }
    assert all(increase([event.id for event in received]) for received in events.values())
    assert {b""} == set(strange.values())
    assert {"clientId", "stream", "correlationId", "replay", "timestamp"} == set().union(
        *(received[0].data for received in events.values())
    )


async def test_nothing_is_missing_and_nothing_twice_at_the_seam(tmp_path: Path) -> None:
    """Streams that open amid a flow of facts get each from the first buffered one on, once."""
    total = 600
    settings = {"buffer.events_per_user": 2000, "limits.connections_per_user": 100}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await daemon.start(tmp_path, settings))
        feed = await stack.enter_async_context(server.feed())
        await feed.session("s-1", "user-1")

        async def publish() -> None:
            for start in range(0, total, 10):
                await feed.publish_many([alert(number) for number in range(start, start + 10)])

        publishing = asyncio.create_task(publish())
        streams: list[StreamClient] = []
        while not publishing.done():
            encoding = ("identity", "gzip", "zstd")[len(streams) % 3]
            stream = await stack.enter_async_context(
                server.stream(
                    "/api/stream/alerts", session="s-1", headers={"Accept-Encoding": encoding}
                )
            )
            await stream.expect("connected")
            streams.append(stream)
        await publishing
        got = [[(await stream.next()) for _ in range(total)] for stream in streams[:30]]

    assert 3 < len(streams)
    assert [list(range(total))] * len(got) == [numbers_of(events) for events in got]
    assert all(increase([event.id for event in events]) for events in got)


async def test_client_ids_are_unique_even_within_a_millisecond(tmp_path: Path) -> None:
    """User, stream and a timestamp that is moved on; `anonymous` stands for no user."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await daemon.start(tmp_path))
        feed = await stack.enter_async_context(server.feed())
        await feed.session("s-1", "user-1")
        paths = ["alerts"] * 9 + ["prices"] * 20
        streams = await asyncio.gather(
            *(
                stack.enter_async_context(server.stream(f"/api/stream/{path}", session="s-1"))
                for path in paths
            )
        )
        ids = [(await stream.expect("connected")).data["clientId"] for stream in streams]

    names = {"alerts": "user-1-alerts-", "prices": "anonymous-prices-"}
    assert len(paths) == len(set(ids))
    assert all(
        client_id.startswith(names[path]) and client_id.removeprefix(names[path]).isdigit()
        for client_id, path in zip(ids, paths, strict=True)
    )


async def test_symbols_narrow_the_price_stream(tmp_path: Path) -> None:
    """The opening and what follows; empty means none, an unknown symbol is there once quoted."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.publish("price:update", {"symbol": "AAPL", "price": 1})
        await feed.publish("price:update", {"symbol": "MSFT", "price": 2})
        seen = {}
        async with AsyncExitStack() as stack:
            streams: dict[str, StreamClient] = {}
            for query in ("", "?symbols=", "?symbols=AAPL,,AAPL", "?symbols=NEW,MSFT"):
                streams[query] = await stack.enter_async_context(
                    server.stream(f"/api/stream/prices{query}", headers={"Host": "localhost"})
                )
                await streams[query].expect("connected")
                opening = await streams[query].expect("price:update")
                seen[query] = [item["symbol"] for item in opening.data["prices"]]
            for symbol in ("NEW", "AAPL"):
                await feed.publish("price:update", {"symbol": symbol, "price": 3})
            await feed.session("s-admin", "admin", role="admin")
            await server.request("POST", "/api/stream/test", headers={"Cookie": "session=s-admin"})
            for query, stream in streams.items():
                while (event := await stream.next()).type != "test":
                    seen[query].append(event.data["symbol"])

    assert {
        "": ["AAPL", "MSFT", "NEW", "AAPL"],
        "?symbols=": [],
        "?symbols=AAPL,,AAPL": ["AAPL", "AAPL"],
        "?symbols=NEW,MSFT": ["MSFT", "NEW"],
    } == seen


async def test_a_retry_that_is_spread_differs_between_clients(tmp_path: Path) -> None:
    """`connected` carries it, and what is shared carries none."""
    settings = {"stream.retry_ms": 1000, "stream.retry_spread_ms": 100_000}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(await daemon.start(tmp_path, settings))
        feed = await stack.enter_async_context(server.feed())
        await feed.publish("price:update", SAMPLES["price:update"])
        told = []
        for _ in range(5):
            stream = await stack.enter_async_context(server.stream("/api/stream/prices"))
            connected, snapshot = await stream.next(), await stream.next()
            told.append((connected.retry_ms or 0, snapshot.retry_ms))

    assert all(1000 <= retry_ms <= 101_000 for retry_ms, _ in told)
    assert 1 < len({retry_ms for retry_ms, _ in told})
    assert {None} == {shared for _, shared in told}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_stream_that_ends_ends_properly(tmp_path: Path, version: str) -> None:
    """In every coding: after the farewell come the end of the coding and the last chunk."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        ends = []
        for encoding in ("identity", "gzip", "zstd"):
            await feed.session("s-1", "user-1")
            async with server.stream(
                "/api/stream/alerts",
                session="s-1",
                headers={"Accept-Encoding": encoding},
                version=version,
            ) as stream:
                await stream.expect("connected")
                await feed.publish_many([alert(1), {"op": "session.delete", "sessionId": "s-1"}])
                events = await stream.until_end()
            ends.append(
                (
                    stream.headers.get("content-encoding", "identity"),
                    [event.type for event in events][-2:],
                    stream.is_ended_properly,
                )
            )

    assert [
        (encoding, ["alert:new", "session:expired"], True)
        for encoding in ("identity", "gzip", "zstd")
    ] == ends
