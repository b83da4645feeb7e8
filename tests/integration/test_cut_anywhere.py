"""A connection may break after any byte: resuming loses nothing and repeats nothing.

The promise of contract section 4 on the real process and real sockets, at every byte of a
response, its head included: in the opening, in the replay, in the snapshot, at the seam to live
and in live flow. Every cut point has a user of its own; the connection ends by FIN or by RST, at
once or after everything else has been sent to it and lost.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from tests.support import daemon
from tests.support.cutting_client import Condition, CuttingClient, StreamReader
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.reference_eventsource import Dispatched

BEFORE: Final = (0, 1, 2)
SEAM: Final = 3
LIVE: Final = (4, 5)
AFTER: Final = (6, 7)
SECOND_SEAM: Final = 8
LAST: Final = 9
"""When a fact is published: before the first connection, as it opens, while it is open, after
its end, as the second opens, while that is open."""

MOST_EVENTS: Final = len(("connected", "snapshot", *BEFORE, SEAM, *LIVE))
"""What a first connection brings that is cut behind everything."""

CUTS_TOGETHER: Final = 128
"""Cut points whose connections are open at the same time."""

SYMBOLS: Final = ("AAPL", "GOOG", "MSFT")

Outcome = TypeVar("Outcome")

SETTINGS: Final = {"log.level": "warning"}


def request(path: str, user: str, encoding: str, last_event_id: str = "") -> bytes:
    """Return the request for a stream, of the same length for every user."""
    last = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: session={user}\r\n"
        f"Accept-Encoding: {encoding}\r\nX-Correlation-ID: cut-test\r\n{last}\r\n"
    ).encode()


def order(user: str, number: int) -> dict[str, Any]:
    """Return the message that publishes a numbered fact."""
    data = {"orderId": "ord-1", "symbol": "AAPL", "side": "buy", "qty": 1, "status": "new"}
    return {"type": "order:update", "userId": user, "data": data | {"n": number}}


def sort_key(event_id: str) -> tuple[int, str]:
    """Return what IDs compare by (contract section 4)."""
    milliseconds, _, suffix = event_id.partition("-")
    assert len(suffix) == 9, event_id
    return int(milliseconds), suffix


def increase_strictly(events: list[Dispatched]) -> bool:
    """Tell whether the IDs of events increase strictly."""
    return all(
        sort_key(one.last_event_id) < sort_key(next_one.last_event_id)
        for one, next_one in pairwise(events)
    )


async def at_every_byte(
    cut: Callable[[range], Awaitable[dict[int, tuple[StreamReader, Outcome]]]],
) -> dict[int, tuple[StreamReader, Outcome]]:
    """Cut at every size, batch by batch, until responses end before they can be cut."""
    results: dict[int, tuple[StreamReader, Outcome]] = {}
    for start in count(0, CUTS_TOGETHER):
        results |= await cut(range(start, start + CUTS_TOGETHER))
        last, _ = results[start + CUTS_TOGETHER - 1]
        if last.size < start + CUTS_TOGETHER - 1:
            break
    return results


def cutting_options(size: int) -> dict[str, bool]:
    """Return how the connection of a cut point ends: all four ways, one after the other."""
    return {"resets": bool(size & 1), "cuts_at_once": bool(size & 2)}


class Numbered:
    """Facts of many users, and what their two connections made of them."""

    def __init__(self, feed: FeedClient) -> None:
        self._feed = feed
        self._ids: dict[str, list[str]] = {}

    async def introduce(self, users: list[str]) -> None:
        """Make the sessions valid."""
        await self._feed.publish_many(
            [{"op": "session.put", "sessionId": user, "userId": user} for user in users]
        )

    async def publish(self, users: list[str], number: int) -> None:
        """Publish the fact of this number for every user."""
        answers = await self._feed.publish_many([order(user, number) for user in users])
        for user, answer in zip(users, answers, strict=True):
            self._ids.setdefault(user, []).append(answer["id"])

    def faults(self, user: str, first: StreamReader, second: StreamReader) -> list[str]:
        """Return what is wrong with what a user has received over two connections."""
        events = first.source.events + second.source.events
        facts: list[tuple[int, str]] = []
        wrong_snapshots = []
        for event in events:
            data = json.loads(event.data)
            if event.type != "order:update":
                continue
            if "snapshot" not in data:
                facts.append((data["n"], event.last_event_id))
            elif [one["n"] for one in data["orders"]] != [len(facts) - 1]:
                wrong_snapshots.append(data)
        types = Counter(event.type for event in events)
        checks = {
            f"facts {facts}": facts == list(enumerate(self._ids[user])),
            f"snapshots {wrong_snapshots}": not wrong_snapshots,
            f"types {types}": types.keys() == {"connected", "order:update"},
            "IDs do not increase": increase_strictly(events),
        }
        return [fault for fault, is_fine in checks.items() if not is_fine]


async def until_all(clients: list[CuttingClient], condition: Condition) -> None:
    """Wait until it holds of what each client has read, or no more can come."""
    await asyncio.gather(*(client.until(condition) for client in clients))


def has_come_to(number: int) -> Condition:
    """Return whether the newest event, fact or snapshot, is of this number."""
    return lambda source: bool(source.events) and f'"n":{number}' in source.events[-1].data


def has_events(count: int) -> Condition:
    """Return whether there are so many events."""
    return lambda source: len(source.events) >= count


async def cut_and_resume(
    server: Daemon, numbered: Numbered, sizes: range, encoding: str
) -> dict[int, tuple[StreamReader, list[str]]]:
    """Cut one connection after each of these sizes, and resume it.

    Returns:
        For each size what the cut connection had brought, and what is wrong in the end.
    """
    users = {size: f"u{size:05}" for size in sizes}
    names = list(users.values())
    await numbered.introduce(names)
    for number in BEFORE:
        await numbered.publish(names, number)
    async with asyncio.TaskGroup() as group:
        group.create_task(numbered.publish(names, SEAM))
        firsts = await asyncio.gather(
            *(
                CuttingClient.connect(
                    server.port,
                    request("/api/stream/orders", user, encoding),
                    size,
                    **cutting_options(size),
                )
                for size, user in users.items()
            )
        )
    await until_all(firsts, has_come_to(SEAM))
    for number in LIVE:
        await numbered.publish(names, number)
        await until_all(firsts, has_come_to(number))
    for client in firsts:
        client.cut()
    for number in AFTER:
        await numbered.publish(names, number)
    async with asyncio.TaskGroup() as group:
        group.create_task(numbered.publish(names, SECOND_SEAM))
        seconds = await asyncio.gather(
            *(
                CuttingClient.connect(
                    server.port,
                    request(
                        "/api/stream/orders", user, encoding, first.reader.source.last_event_id
                    ),
                )
                for user, first in zip(names, firsts, strict=True)
            )
        )
    await until_all(seconds, has_come_to(SECOND_SEAM))
    await numbered.publish(names, LAST)
    await until_all(seconds, has_come_to(LAST))
    for client in seconds:
        client.cut()
    await asyncio.gather(*(client.lost for client in (*firsts, *seconds)))
    return {
        size: (first.reader, numbered.faults(user, first.reader, second.reader))
        for (size, user), first, second in zip(users.items(), firsts, seconds, strict=True)
    }


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
async def test_every_fact_arrives_once_and_in_order_whatever_byte_is_the_last(
    tmp_path: Path, encoding: str
) -> None:
    """Cut after each byte and resumed with the last ID: every fact once, IDs increasing."""
    async with await daemon.start(tmp_path, SETTINGS) as server, server.feed() as feed:
        numbered = Numbered(feed)
        results = await at_every_byte(
            lambda sizes: cut_and_resume(server, numbered, sizes, encoding)
        )

    assert {size: faults for size, (_, faults) in results.items() if faults} == {}
    cuts = {len(reader.source.events) for reader, _ in results.values()}
    # A zstd frame says all or nothing, and an opening is one, with or without the seam's fact.
    inside = {1, 2, 3, 4, 5} if encoding == "zstd" else set()
    assert cuts | inside == set(range(MOST_EVENTS + 1)), "every section was cut"


async def publish_price(feed: FeedClient, symbol: str, price: int) -> None:
    """Give a symbol a new price."""
    await feed.publish("price:update", {"symbol": symbol, "price": price})


def prices_of(reader: StreamReader) -> list[Any]:
    """Return snapshots as lists of prices, updates as symbol and price."""
    prices: list[Any] = []
    for event in reader.source.events:
        data = json.loads(event.data)
        if "initializing" in data:
            prices.append([one["price"] for one in data["prices"]])
        elif event.type == "price:update":
            prices.append((data["symbol"], data["price"]))
    return prices


async def cut_prices(
    server: Daemon, feed: FeedClient, sizes: range, encoding: str
) -> dict[int, tuple[StreamReader, StreamReader]]:
    """Cut one price stream after each of these sizes and resume it; return what was read."""
    path = "/api/stream/prices"
    for symbol in SYMBOLS:
        await publish_price(feed, symbol, 1)
    firsts = await asyncio.gather(
        *(
            CuttingClient.connect(
                server.port, request(path, "", encoding), size, **cutting_options(size)
            )
            for size in sizes
        )
    )
    for place, symbol in enumerate(SYMBOLS):
        await until_all(firsts, has_events(2 + place))  # each price is a write of its own
        await publish_price(feed, symbol, 2)
    await until_all(firsts, has_events(2 + len(SYMBOLS)))
    for client in firsts:
        client.cut()
    await asyncio.gather(*(client.lost for client in firsts))
    for symbol in SYMBOLS:
        await publish_price(feed, symbol, 3)
    seconds = await asyncio.gather(
        *(
            CuttingClient.connect(
                server.port, request(path, "", encoding, client.reader.source.last_event_id)
            )
            for client in firsts
        )
    )
    await until_all(seconds, has_events(2))
    for client in seconds:
        client.cut()
    await asyncio.gather(*(client.lost for client in seconds))
    return {
        size: (first.reader, second.reader)
        for size, first, second in zip(sizes, firsts, seconds, strict=True)
    }


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
async def test_a_price_stream_cut_after_any_byte_is_whole_as_far_as_it_goes(
    tmp_path: Path, encoding: str
) -> None:
    """What was decoded is a beginning of what was sent; the next snapshot has the newest."""
    async with await daemon.start(tmp_path, SETTINGS) as server, server.feed() as feed:
        results = await at_every_byte(lambda sizes: cut_prices(server, feed, sizes, encoding))

    whole = [[1] * len(SYMBOLS), *((symbol, 2) for symbol in SYMBOLS)]
    newest = [[3] * len(SYMBOLS)]
    for size, (first, second) in results.items():
        assert prices_of(first) == whole[: len(prices_of(first))], size
        assert prices_of(second) == newest, size
        assert increase_strictly(first.source.events + second.source.events), size
    cuts = {len(first.source.events) for first, _ in results.values()}
    inside = {1} if encoding == "zstd" else set()  # the frame of an opening says all or nothing
    assert cuts | inside == set(range(1 + len(whole) + 1)), "every section was cut"
