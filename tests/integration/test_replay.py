"""Resuming with a last event ID, and what is told of what is gone (contract section 4)."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.stream_client import Received

FUTURE: Final = "9999999999999-zzzzzzzzz"


async def publish_alerts(feed: FeedClient, numbers: Sequence[int]) -> list[str]:
    """Publish numbered facts of `user-1`; return their IDs."""
    answers = await feed.publish_many(
        [
            {
                "type": "alert:new",
                "userId": "user-1",
                "data": {"alertId": f"a-{number}", "level": "info", "message": "m", "n": number},
            }
            for number in numbers
        ]
    )
    return [answer["id"] for answer in answers]


async def opening(
    server: Daemon, path: str = "/api/stream/alerts", **options: Any
) -> list[Received]:
    """Return what a stream of `user-1` says before a live event of `user-1` that marks its end."""
    async with (
        server.feed() as feed,
        server.stream(path, session="s-1", **options) as stream,
    ):
        events = [await stream.expect("connected")]
        marker = await feed.publish(
            "alert:new", {"alertId": "end", "level": "info", "message": "m"}, userId="user-1"
        )
        while (event := await stream.next()).id != marker:
            events.append(event)
    return events


def told(events: list[Received]) -> list[Any]:
    """Return what an opening says: numbers of facts, reasons of gaps, types of the rest."""
    return [
        event.data.get("n", event.data.get("reason", event.type))
        for event in events
        if event.data.get("alertId") != "end"
    ]


async def test_who_names_no_id_gets_all_that_is_buffered(tmp_path: Path) -> None:
    """The newest `events_per_user`, without a gap: nothing is missed that was ever seen."""
    async with await daemon.start(tmp_path, {"buffer.events_per_user": 3}) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            await publish_alerts(feed, range(5))
        events = await opening(server)

    assert ["connected", 2, 3, 4] == told(events)
    assert 3 == events[0].data["replay"]


async def test_an_evicted_event_is_a_gap(tmp_path: Path) -> None:
    """It names the ID and the reason; who has all that is gone is told of none.

    A stream that carries none of what is gone has none either.
    """
    async with await daemon.start(tmp_path, {"buffer.events_per_user": 3}) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            ids = await publish_alerts(feed, range(6))
        whole = await opening(server, last_event_id=ids[2])
        gone = await opening(server, last_event_id=ids[2])
        async with server.stream(
            "/api/stream/orders", session="s-1", last_event_id=ids[0]
        ) as stream:
            orders = [(await stream.next()).type for _ in range(2)]

    assert ["connected", 3, 4, 5] == told(whole)
    # What marked the end of that one has pushed the next out.
    assert ["connected", "evicted", 4, 5] == told(gone)
    assert {"lastEventId": ids[2], "reason": "evicted"} == {
        key: gone[1].data[key] for key in ("lastEventId", "reason")
    }
    assert 3 == gone[0].data["replay"]
    assert ["connected", "order:update"] == orders


async def test_a_client_that_breaks_before_the_gap_is_told_again(tmp_path: Path) -> None:
    """The ID of `connected` is from before the loss, that of the gap is a place behind it."""
    async with await daemon.start(tmp_path, {"buffer.events_per_user": 3}) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            ids = await publish_alerts(feed, range(5))
        async with server.stream(
            "/api/stream/alerts", session="s-1", last_event_id=ids[0]
        ) as stream:
            connected, gap = await stream.expect("connected"), await stream.expect("stream:gap")
        again = []
        for event in (connected, gap):
            async with server.stream(
                "/api/stream/alerts", session="s-1", last_event_id=event.id
            ) as stream:
                again.append(told([await stream.next() for _ in range(4)]))

    assert [["connected", "evicted", 2, 3], ["connected", 2, 3, 4]] == again


async def test_a_buffer_that_was_cleared_is_a_gap(tmp_path: Path) -> None:
    """`ttl_seconds` after the last client left, which is logged; not for who has all of it."""
    async with (
        await daemon.start(tmp_path, {"buffer.ttl_seconds": 0.2}) as server,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            ids = await publish_alerts(feed, range(2))
        line = await server.logged("buffer_cleared", user_id="user-1")
        async with (
            server.stream("/api/stream/alerts", session="s-1", last_event_id=ids[0]) as lacks,
            server.stream("/api/stream/alerts", session="s-1", last_event_id=ids[1]) as has_all,
        ):
            await publish_alerts(feed, [7])
            seen = [
                told([await lacks.next() for _ in range(3)]),
                told([await has_all.next() for _ in range(2)]),
            ]

    assert (2, "info") == (line["events"], line["level"])
    assert [["connected", "expired", 7], ["connected", 7]] == seen


async def test_an_id_from_before_a_start_is_a_gap(tmp_path: Path) -> None:
    """Without a saved state everything before it is gone."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    async with await daemon.start(tmp_path / "first") as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        [last_id] = await publish_alerts(feed, [0])
    async with await daemon.start(tmp_path / "second") as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            await publish_alerts(feed, [1])
        events = await opening(server, last_event_id=last_id)
        again = await opening(server, last_event_id=events[1].id)

    assert ["connected", "restarted", 1] == told(events)
    assert ["connected", 1] == told(again)


async def test_an_id_that_was_never_given_out_is_a_gap(tmp_path: Path) -> None:
    """Everything buffered follows, and the server's clock is not moved by what a client names."""
    async with await daemon.start(tmp_path) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            await publish_alerts(feed, range(2))
        events = await opening(server, last_event_id=FUTURE)
        async with server.feed() as feed:
            [next_id] = await publish_alerts(feed, [2])

    assert ["connected", "unknown", 0, 1] == told(events)
    assert FUTURE == events[1].data["lastEventId"]
    assert int(next_id.partition("-")[0]) <= time.time() * 1000 + 1000


async def test_a_malformed_id_is_ignored(tmp_path: Path) -> None:
    """Everything buffered is sent, and the log says so; a browser would give up on a 400."""
    texts = (
        "1735819800000-abc",
        "1735819800000-ABC123DEF",
        "1735819800000",
        "-abc123def",
        "1735819800000-abc123def0",
        "x" * 300,
    )
    path = "/api/stream/alerts"
    async with await daemon.start(tmp_path, {"limits.connections_per_user": 100}) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            await publish_alerts(feed, range(2))
        seen, logged = [], []
        for text in texts:
            for target, header in ((path, text), (f"{path}?lastEventId={text}", None)):
                async with server.stream(target, session="s-1", last_event_id=header) as stream:
                    seen.append(told([await stream.next() for _ in range(3)]))
            line = await server.logged("malformed_last_event_id", characters=len(text))
            logged.append(line["level"])

    assert [["connected", 0, 1]] * 2 * len(texts) == seen
    assert ["info"] * len(texts) == logged


async def test_of_header_and_query_the_later_counts(tmp_path: Path) -> None:
    """A malformed one does not count; an empty one is none."""
    async with await daemon.start(tmp_path) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            ids = await publish_alerts(feed, range(4))
        seen = {}
        for header, query in (
            (ids[0], ids[2]),
            (ids[2], ids[0]),
            ("cut-off", ids[1]),
            (ids[1], "cut-off"),
            ("", ids[2]),
        ):
            path = f"/api/stream/alerts?lastEventId={query}"
            seen[header, query] = told(await opening(server, path, last_event_id=header))

    assert {
        (ids[0], ids[2]): ["connected", 3],
        (ids[2], ids[0]): ["connected", 3],
        ("cut-off", ids[1]): ["connected", 2, 3],
        (ids[1], "cut-off"): ["connected", 2, 3],
        ("", ids[2]): ["connected", 3],
    } == seen


async def test_without_replay_only_who_resumes_gets_what_is_buffered(tmp_path: Path) -> None:
    """EventSource repeats its URL when it reconnects, and then must not lose anything."""
    path = "/api/stream/alerts?replay=0"
    async with await daemon.start(tmp_path) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            ids = await publish_alerts(feed, range(3))
        fresh = await opening(server, path)
        again = await opening(server, path, last_event_id=ids[0])
        other = await opening(server, "/api/stream/alerts?replay=1")

    assert (["connected"], 0) == (told(fresh), fresh[0].data["replay"])
    assert (["connected", 1, 2], 2) == (told(again)[:3], again[0].data["replay"] - 1)
    assert ["connected", 0, 1, 2] == told(other)


async def test_every_id_on_a_stream_is_a_place_to_resume_from(tmp_path: Path) -> None:
    """That of `connected`, of each fact and of a snapshot: what came after it, and no more."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        order = {"symbol": "AAPL", "side": "buy", "qty": 1, "status": "new"}

        async def publish(number: int) -> None:
            data = {"orderId": f"o-{number}", "n": number, **order}
            await feed.publish("order:update", data, userId="user-1")

        for number in range(3):
            await publish(number)
        async with server.stream("/api/stream/orders", session="s-1") as stream:
            events = [await stream.next() for _ in range(5)]
            await publish(3)
            events.append(await stream.next())
        after = []
        for event in events:
            async with server.stream(
                "/api/stream/orders", session="s-1", last_event_id=event.id
            ) as stream:
                numbers = []
                while "snapshot" not in (received := await stream.next()).data:
                    numbers.append(received.data.get("n"))
                after.append(numbers[1:])

    assert ["connected", 0, 1, 2, "order:update", 3] == told(events)
    assert [[0, 1, 2, 3], [1, 2, 3], [2, 3], [3], [3], []] == after


async def test_broadcasts_are_not_replayed_and_prices_have_no_gap(tmp_path: Path) -> None:
    """A price stream says all with its snapshot, whatever ID was named."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.publish("agent:status", {"agentId": "a-1", "status": "running"})
        await feed.publish("price:update", {"symbol": "AAPL", "price": 1})
        seen = {}
        for path in ("prices", "ai-decisions"):
            async with server.stream(
                f"/api/stream/{path}", session="s-1", last_event_id="1-000000000"
            ) as stream:
                events = [await stream.next(), await stream.next()]
                seen[path] = told(events)

    assert {
        "prices": ["connected", "price:update"],
        "ai-decisions": ["connected", "restarted"],
    } == seen


async def test_an_overflow_is_logged_once_a_user_and_minute(tmp_path: Path) -> None:
    """A burst of 50 evictions is one warning for each user."""
    async with (
        await daemon.start(tmp_path, {"buffer.events_per_user": 2}) as server,
        server.feed() as feed,
    ):
        await publish_alerts(feed, range(52))
        await feed.publish_many(
            [
                {
                    "type": "alert:new",
                    "userId": "user-2",
                    "data": {"alertId": "a", "level": "info", "message": "m"},
                }
            ]
            * 4
        )
        await server.logged("buffer_overflow", user_id="user-2")
        lines = [line for line in server.log if line["event"] == "buffer_overflow"]

    assert [("user-1", "warning", 1), ("user-2", "warning", 1)] == [
        (line["user_id"], line["level"], line["evicted_events"]) for line in lines
    ]
