"""Other people's clients read every frame as the standard says, and live.

What went over the wire is recorded in a proxy and read by our own parser, which was written
from the WHATWG text alone; each client must have dispatched exactly the same.
"""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

import httpx
import httpx_sse
import pytest

from tests.support import daemon, node
from tests.support.cutting_proxy import CuttingProxy
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.sample_events import BROADCAST, SAMPLES
from tests.support.tools import need

TIMEOUT_SECONDS: Final = 30.0

MADE_BY_THE_SERVER: Final = (
    "connected",
    "stream:gap",
    "test",
    "connection:limit",
    "session:expired",
    "server:shutdown",
)

TYPES: Final = (*SAMPLES, *MADE_BY_THE_SERVER, "connection:refused")

TEXT: Final = (
    "one\ntwo\r\nthree\rfour\n\nevent: evil\ndata: evil\n\n: comment\tü ñ 漢字 🎉 "
    "\u2028 \u2029 \u0085 \u000b \u001c \ufeff \u0000 \\n"
)
"""What could end a line or an event, were it not escaped, and what parsers split at wrongly."""

STREAMS: Final = {
    "orders": "orders",
    "positions": "positions",
    "prices": "prices",
    "ai-decisions": "ai-decisions",
    "strategy": "strategies/s-1",
    "alerts": "alerts?lastEventId=9999999999999-zzzzzzzzz",
    "trading": "trading?userId=user-1",
}
"""Streams by name; the alerts are resumed from the future, which is told as a gap."""

COUNTED: Final = len(STREAMS) - 1
"""Streams that count against their user; prices belong to nobody."""

Dispatched = tuple[str, str, str]
Condition = Callable[[], bool]


class Follower(Protocol):
    """A client that follows streams."""

    def events(self, stream: str) -> list[Dispatched]:
        """Return type, data and ID of what a stream has dispatched."""
        ...

    async def until(self, condition: Condition) -> None:
        """Wait until what has been dispatched fulfils a condition."""
        ...


class HttpxFollower:
    """Streams followed by httpx-sse."""

    def __init__(self) -> None:
        self._events: dict[str, list[Dispatched]] = {}
        self._grown = asyncio.Condition()

    def events(self, stream: str) -> list[Dispatched]:
        return self._events.get(stream, [])

    async def until(self, condition: Condition) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS), self._grown:
            await self._grown.wait_for(condition)

    async def follow(self, client: httpx.AsyncClient, stream: str, url: str) -> None:
        """Follow one stream to its end."""
        async with httpx_sse.aconnect_sse(client, "GET", url) as source:
            async for event in source.aiter_sse():
                if not event.data:  # the blank line behind a comment is no event
                    continue
                async with self._grown:
                    self._events.setdefault(stream, []).append((event.event, event.data, event.id))
                    self._grown.notify_all()


@asynccontextmanager
async def follow_with_httpx(
    streams: Mapping[str, str], types: Iterable[str], cookie: str | None = None
) -> AsyncIterator[HttpxFollower]:
    """Follow streams by name and URL; it dispatches every type."""
    follower = HttpxFollower()
    headers = {} if cookie is None else {"Cookie": cookie}
    async with (
        httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        tasks = [
            group.create_task(follower.follow(client, name, url)) for name, url in streams.items()
        ]
        yield follower
        for task in tasks:
            task.cancel()


Follow = Callable[..., AbstractAsyncContextManager[Follower]]

CLIENTS: Final = [
    pytest.param(follow_with_httpx, id="httpx-sse"),
    pytest.param(node.follow, id="npm-eventsource"),
]


def seen(follower: Follower, event_type: str) -> int:
    """Return how many events of a type have been dispatched on all streams."""
    return sum(one == event_type for name in STREAMS for one, _, _ in follower.events(name))


def seen_ids(follower: Follower) -> set[str]:
    """Return the IDs of all that has been dispatched."""
    return {event_id for name in STREAMS for _, _, event_id in follower.events(name)}


async def publish_everything(feed: FeedClient) -> set[str]:
    """Publish an event of each type, with a text that is hard to frame; return the IDs."""
    ids = set()
    for event_type, data in SAMPLES.items():
        fields = {} if event_type in BROADCAST else {"userId": "user-1"}
        ids.add(await feed.publish(event_type, {**data, "note": TEXT}, **fields))
    return ids


async def say_everything_else(
    server: Daemon, feed: FeedClient, follower: Follower, proxy: CuttingProxy
) -> None:
    """Let the server send what no feed publishes, each in turn, and end."""
    answer = await server.request("POST", "/api/stream/test", headers={"Cookie": "session=admin"})
    assert json.loads(answer[2])["clients"] == len(STREAMS)
    await follower.until(lambda: seen(follower, "test") == len(STREAMS))
    while not all(source.comments for source in proxy.streams().values()):
        await asyncio.sleep(0.02)
    async with server.stream("/api/stream/orders", session="s-1"):
        await follower.until(lambda: seen(follower, "connection:limit") == 1)
        await feed.do("session.delete", sessionId="s-1")
        await follower.until(lambda: seen(follower, "session:expired") == COUNTED - 1)
    await feed.close()
    assert await server.stop() == 0
    await follower.until(lambda: seen(follower, "server:shutdown") == 1)


@pytest.mark.parametrize("follow", CLIENTS)
async def test_every_frame_is_dispatched_as_the_standard_says(
    tmp_path: Path, follow: Follow
) -> None:
    """All event types, snapshots, gap, farewells, with any text: the same for both parsers."""
    settings = {
        "stream.keepalive_seconds": 0.3,
        "stream.retry_ms": 500,
        "limits.connections_per_user": COUNTED,
    }
    async with (
        await daemon.start(tmp_path, settings) as server,
        CuttingProxy(server.port) as proxy,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        await feed.session("admin", "admin", role="admin")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        await publish_everything(feed)  # for replay and snapshots
        base = f"http://127.0.0.1:{proxy.port}/api/stream"
        streams = {name: f"{base}/{path}" for name, path in STREAMS.items()}
        async with follow(streams, TYPES, "session=s-1") as follower:
            await follower.until(lambda: seen(follower, "connected") == len(STREAMS))
            published = await publish_everything(feed)
            await follower.until(lambda: published <= seen_ids(follower))
            await say_everything_else(server, feed, follower, proxy)
            dispatched = {name: follower.events(name) for name in STREAMS}
        recorded = {
            name: [
                (event.type, event.data, event.last_event_id)
                for event in proxy.streams()[f"/api/stream/{path}"].events
            ]
            for name, path in STREAMS.items()
        }

    assert dispatched == recorded
    types = {event_type for events in recorded.values() for event_type, _, _ in events}
    assert types == {*SAMPLES, *MADE_BY_THE_SERVER}
    notes = {
        json.loads(data).get("note")
        for name in ("alerts", "prices", "strategy", "ai-decisions")
        for event_type, data, _ in recorded[name]
        if event_type in SAMPLES and "initializing" not in json.loads(data)
    }
    assert notes == {TEXT}


@pytest.mark.parametrize("follow", CLIENTS)
async def test_a_refusal_is_dispatched_as_an_event(tmp_path: Path, follow: Follow) -> None:
    """Past the attempt limit an EventSource receives `connection:refused`, and no error."""
    settings = {"limits.attempts_per_minute_per_ip": 1}
    async with (
        await daemon.start(tmp_path, settings) as server,
        server.stream("/api/stream/prices"),
    ):
        url = f"http://127.0.0.1:{server.port}/api/stream/prices"
        async with follow({"prices": url}, TYPES) as follower:
            await follower.until(lambda: bool(follower.events("prices")))
            ((event_type, data, event_id),) = follower.events("prices")

    assert (event_type, json.loads(data)["reason"], event_id) == (
        "connection:refused",
        "attempt_limit",
        "",
    )


async def test_node_resumes_after_a_restart_on_the_same_port(tmp_path: Path) -> None:
    """After a crash it comes back by itself, is told of the gap, and goes on live."""
    node.need_node()
    settings = {"stream.retry_ms": 500}

    def alert(number: int) -> dict[str, Any]:
        return {**SAMPLES["order:update"], "orderId": f"ord-{number}"}

    async with await daemon.start(tmp_path, settings) as server:
        url = f"http://127.0.0.1:{server.port}/api/stream/trading?userId=user-1"
        async with node.follow({"trading": url}, TYPES) as follower:
            await follower.until(lambda: len(follower.events("trading")) == 3)
            async with server.feed() as feed:
                before = await feed.publish("order:update", alert(1), userId="user-1")
            await follower.until(lambda: len(follower.events("trading")) == 4)
            server.signal(signal.SIGKILL)
            await server.process.wait()
            await follower.until(lambda: bool(follower.errors("trading")))
            again = {**settings, "server.port": server.port}
            async with await daemon.start(tmp_path, again) as restarted:
                await follower.until(lambda: len(follower.events("trading")) == 8)
                async with restarted.feed() as feed:
                    after = await feed.publish("order:update", alert(2), userId="user-1")
                await follower.until(lambda: len(follower.events("trading")) == 9)
            events = follower.events("trading")

    types = [event_type for event_type, _, _ in events]
    snapshots = ["order:update", "position:update"]
    assert types[:4] == ["connected", *snapshots, "order:update"]
    assert types[4:9] == ["connected", "stream:gap", *snapshots, "order:update"]
    gap = json.loads(events[5][1])
    assert (gap["lastEventId"], gap["reason"]) == (before, "restarted")
    assert (events[3][2], events[8][2]) == (before, after)


async def lines_of(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield lines as they come."""
    while True:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await reader.readline()
        if not line:
            return
        yield line.decode().rstrip("\n")


async def publish_one_by_one(
    feed: FeedClient, lines: AsyncIterator[str], event_type: str, **fields: str
) -> list[list[str]]:
    """Publish events, the next only when the one before has been read; return their frames.

    An event that waits for the next one to push it out is waited for in vain.
    """
    frames = []
    for number in range(5):
        data = {**SAMPLES[event_type], "number": number}
        event_id = await feed.publish(event_type, data, **fields)
        frame: list[str] = []
        async for line in lines:
            frame.append(line)
            if not line:
                if f"id: {event_id}" in frame:
                    break
                frame = []
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("path", "event_type", "options", "encoding"),
    [
        ("orders", "order:update", [], "identity"),
        ("orders", "order:update", ["--compressed"], "gzip"),
        ("prices", "price:update", [], "identity"),
        ("prices", "price:update", ["--compressed"], "zstd"),
        ("prices?symbols=AAPL", "price:update", ["--compressed"], "gzip"),
    ],
)
async def test_curl_shows_each_event_as_it_is_published(
    tmp_path: Path, path: str, event_type: str, options: list[str], encoding: str
) -> None:
    """`curl -N` has event n before event n + 1 is published, and finds the end a proper one."""
    fields = {"userId": "user-1"} if event_type == "order:update" else {}
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        process = await asyncio.create_subprocess_exec(
            need("curl"),
            *("-sS", "-N", *options, "--cookie", "session=s-1"),
            f"http://127.0.0.1:{server.port}/api/stream/{path}",
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        connected = await server.logged("client_connected")
        frames = await publish_one_by_one(feed, lines_of(process.stdout), event_type, **fields)
        server.signal(signal.SIGTERM)
        code = await process.wait()

    # A curl that was built without zstd asks for gzip alone.
    assert connected["encoding"] in {encoding, "gzip" if encoding == "zstd" else encoding}
    assert code == 0
    assert [frame[0] for frame in frames] == [f"event: {event_type}"] * 5
    assert [json.loads(frame[1].removeprefix("data: "))["number"] for frame in frames] == [
        *range(5)
    ]


@pytest.mark.parametrize(
    ("path", "event_type", "coding"),
    [("orders", "order:update", "gzip"), ("prices", "price:update", "zstd")],
)
async def test_httpx_as_it_comes_reads_a_compressed_stream_live(
    tmp_path: Path, path: str, event_type: str, coding: str
) -> None:
    """With the codings that httpx asks for by itself, events come compressed, one by one."""
    fields = {"userId": "user-1"} if event_type == "order:update" else {}
    async with (
        await daemon.start(tmp_path) as server,
        server.feed() as feed,
        httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        await feed.session("s-1", "user-1")
        url = f"http://127.0.0.1:{server.port}/api/stream/{path}"
        async with client.stream("GET", url, headers={"Cookie": "session=s-1"}) as response:
            encoding = response.headers["Content-Encoding"]
            lines = cast("AsyncGenerator[str, None]", response.aiter_lines())
            async with aclosing(lines):
                frames = await publish_one_by_one(feed, lines, event_type, **fields)

    assert encoding == coding
    assert [frame[0] for frame in frames] == [f"event: {event_type}"] * 5
