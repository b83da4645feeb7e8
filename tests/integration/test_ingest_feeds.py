"""Feeds of the ingest port on the real process: many, fast, deaf, and gone half-way.

Source: contract section 3, "slowed by the socket, never dropped"; sections 6 and 7.
"""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient

ALERT = {"alertId": "a-1", "level": "info", "message": "m"}
QUIET = {"log.level": "info"}


def price_line(number: int, *, ref: bool = False, pad: int = 0) -> bytes:
    """Return a line that sets the price of symbol A to a number."""
    message: dict[str, Any] = {
        "type": "price:update",
        "data": {"symbol": "A", "price": number},
        "x": "x" * pad,
    }
    if ref:
        message["ref"] = number
    return json.dumps(message).encode() + b"\n"


async def metrics(server: Daemon) -> dict[str, Any]:
    """Return the metrics as JSON."""
    _, _, body = await server.request("GET", "/api/stream/metrics")
    found: dict[str, Any] = json.loads(body)
    return found


async def published(server: Daemon) -> int:
    """Return how many events have been accepted."""
    count: int = (await metrics(server))["delivery"]["publishedEvents"]
    return count


async def last_price(server: Daemon) -> Any:
    """Return the price of symbol A."""
    async with server.stream("/api/stream/prices?symbols=A") as stream:
        await stream.expect("connected")
        (quote,) = (await stream.expect("price:update")).data["prices"]
    return quote["price"]


def descriptors(server: Daemon) -> int:
    """Return how many descriptors the process has open."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@contextmanager
def raw_feed(server: Daemon) -> Iterator[socket.socket]:
    """Connect a feed that does not read unless told to."""
    with socket.socket(socket.AF_UNIX) as feed:
        feed.connect(server.ingest_path)
        yield feed


class Deaf:
    """A feed that writes as much as it can and reads nothing."""

    def __init__(self, feed: socket.socket, other: FeedClient) -> None:
        self._feed = feed
        self._other = other
        self._unsent = b""
        self.lines = 0
        self.size_bytes = 0
        feed.setblocking(False)

    async def write_until_held_back(self, most: int) -> None:
        """Write lines until the socket takes no more, though the server is not busy."""
        refusals = 0
        while refusals < 50 and self.lines < most:
            if not self._unsent:
                self._unsent = price_line(self.lines, ref=True, pad=200)
                self.lines += 1
            try:
                sent = self._feed.send(self._unsent)
            except BlockingIOError:
                refusals += 1
                await self._other.do("ping")  # by now the server had time to read
            else:
                refusals = 0
                self.size_bytes += sent
                self._unsent = self._unsent[sent:]

    async def read_all(self) -> list[dict[str, Any]]:
        """Send the rest, and read every answer."""
        loop = asyncio.get_running_loop()
        rest = asyncio.create_task(loop.sock_sendall(self._feed, self._unsent))
        answers = b""
        while answers.count(b"\n") < self.lines:
            answers += await loop.sock_recv(self._feed, 1 << 20)
        await rest
        return [json.loads(line) for line in answers.splitlines()]


async def test_a_feed_that_never_reads_is_held_back_and_harms_nobody(tmp_path: Path) -> None:
    """Its socket fills up, memory stays bounded, others are served, and it can go on at will."""
    async with await daemon.start(tmp_path, QUIET) as server, server.feed() as other:
        await other.session("k", "user-1")
        before = (await metrics(server))["memory"]["residentBytes"]
        with raw_feed(server) as sock:
            deaf = Deaf(sock, other)
            await deaf.write_until_held_back(200_000)
            held = (await metrics(server))["memory"]["residentBytes"]
            async with server.stream("/api/stream/alerts", session="k") as stream:
                await stream.expect("connected")
                event_id = await other.publish("alert:new", ALERT, userId="user-1")
                seen = await stream.expect("alert:new")
            answers = await deaf.read_all()
        latest = await last_price(server)

    assert deaf.size_bytes < 4 << 20
    assert held - before < 16 << 20
    assert seen.id == event_id
    assert [(answer["ref"], answer["ok"]) for answer in answers] == [
        (number, True) for number in range(deaf.lines)
    ]
    assert latest == deaf.lines - 1


async def test_a_feed_killed_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """Whole lines count, the torn one does not, and nobody else notices."""
    async with await daemon.start(tmp_path) as server, server.feed() as other:
        with raw_feed(server) as feed:
            feed.sendall(price_line(1) + price_line(2) + price_line(3)[:-1])
        await server.logged("feed_disconnected")
        before = await last_price(server)
        await other.publish("price:update", {"symbol": "A", "price": 4})

        assert (before, await last_price(server)) == (2, 4)


async def test_a_feed_that_leaves_without_reading_loses_no_line(tmp_path: Path) -> None:
    """What it wrote whole is applied, though refusals and answers find nobody any more."""
    count = 6_000
    lines = [b"no JSON\n" if number % 10 == 5 else price_line(number) for number in range(count)]
    lines[-2] = price_line(count - 2, ref=True)
    async with await daemon.start(tmp_path, QUIET) as server:
        with raw_feed(server) as feed:
            await asyncio.to_thread(feed.sendall, b"".join(lines))
        await server.logged("feed_disconnected")
        while await published(server) < count * 9 // 10:
            await asyncio.sleep(0)

        assert await last_price(server) == count - 1
        assert await published(server) == count * 9 // 10


async def test_a_half_closed_feed_gets_its_answers(tmp_path: Path) -> None:
    """After the end of its lines it may read every answer, in order, until we close too."""
    count = 20_000
    async with await daemon.start(tmp_path, QUIET) as server:
        reader, writer = await asyncio.open_unix_connection(server.ingest_path)
        writer.write(b"".join(price_line(number, ref=True) for number in range(count)))
        writer.write_eof()
        answers = (await reader.read()).splitlines()
        writer.close()

        assert [json.loads(answer)["ref"] for answer in answers] == list(range(count))


async def test_fifty_feeds_at_once(tmp_path: Path) -> None:
    """Each gets its own answers, in order, and every line counts."""
    feeds, lines = 50, 200

    async def publish(server: Daemon, name: int) -> list[tuple[Any, bool]]:
        async with server.feed() as feed:
            message = {"type": "alert:new", "userId": f"user-{name}", "data": ALERT}
            answers = await feed.publish_many(
                [{**message, "ref": f"{name}-{number}"} for number in range(lines)]
            )
        return [(answer["ref"], answer["ok"]) for answer in answers]

    async with await daemon.start(tmp_path, QUIET) as server:
        answers = await asyncio.gather(*(publish(server, name) for name in range(feeds)))
        total = await published(server)

    assert answers == [
        [(f"{name}-{number}", True) for number in range(lines)] for name in range(feeds)
    ]
    assert total == feeds * lines


@asynccontextmanager
async def firehose(server: Daemon, lines: int) -> AsyncIterator[FeedClient]:
    """Write a burst of lines whose last one is answered, and go on meanwhile."""
    async with server.feed() as feed:
        burst = b"".join(price_line(number) for number in range(1000)) * (lines // 1000)
        writing = asyncio.create_task(feed.send_raw(burst + b'{"op":"ping","ref":"done"}\n'))
        yield feed
        await writing


async def test_a_burst_does_not_stop_the_others(tmp_path: Path) -> None:
    """While one feed's burst is applied, requests, streams and other feeds are served."""
    lines = 150_000
    settings = {**QUIET, "stream.keepalive_seconds": 0.05}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as other:
        await other.session("k", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="k") as stream,
            firehose(server, lines) as feed,
        ):
            await stream.expect("connected")
            while not await published(server):
                await asyncio.sleep(0)
            for _ in range(5):
                assert (await server.request("GET", "/healthz"))[0] == 200
                event_id = await other.publish("alert:new", ALERT, userId="user-1")
                assert (await stream.expect("alert:new")).id == event_id
            await stream.until_comment()
            meanwhile = await published(server)
            answer = await feed.answer()
        total = await published(server)

    assert meanwhile < lines
    assert (answer, total) == ({"ref": "done", "ok": True}, lines + 5)


async def test_what_has_been_read_is_answered_before_the_end(tmp_path: Path) -> None:
    """SIGTERM in the middle of a burst: the answers that come are those of the first lines.

    Each of them is applied; the connection ends properly, and no answer is torn.
    """
    count = 100_000
    async with await daemon.start(tmp_path, QUIET) as server:
        reader, writer = await asyncio.open_unix_connection(server.ingest_path, limit=1 << 24)
        burst = b"".join(price_line(number, ref=True) for number in range(count))
        writer.write(burst)
        answers = await reader.readexactly(1000)
        server.signal(signal.SIGTERM)
        answers += await reader.read()
        writer.close()
        code = await server.stop()
    refs = [json.loads(line)["ref"] for line in answers.splitlines()]

    assert (code, answers[-1:]) == (0, b"\n")
    assert refs == list(range(len(refs)))
    assert "drain_timed_out" not in [line["event"] for line in server.log]


async def test_feeds_come_and_go_without_a_trace(tmp_path: Path) -> None:
    """A hundred connections one after another, some broken, leave no descriptor behind."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.do("ping")
        before = descriptors(server)
        for number in range(100):
            with raw_feed(server) as other:
                other.sendall(price_line(number, ref=number % 2 == 0) + b"torn" * (number % 3))
        while sum(line["event"] == "feed_disconnected" for line in server.log) < 100:
            await feed.do("ping")

        assert descriptors(server) == before


async def test_feeds_leave_descriptors_to_clients(tmp_path: Path) -> None:
    """One too many is told so; those that were there go on, and clients get answers."""
    async with await daemon.start(tmp_path, descriptors=128) as server, AsyncExitStack() as stack:
        feeds = [await stack.enter_async_context(server.feed()) for _ in range(12)]
        pongs = [await feed.do("ping") for feed in feeds]
        refused = [await stack.enter_async_context(server.feed()) for _ in range(60)]
        answers = [await feed.answer() for feed in refused]
        status, _, _ = await server.request("GET", "/healthz")

    assert [True] * 12 == [pong["ok"] for pong in pongs]
    assert {"unavailable"} == {answer["error"]["code"] for answer in answers}
    assert 200 == status
