"""The operations of contract section 3 on the real process, and what they do to open streams."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.stream_client import Received, StreamClient

ORDER = {"orderId": "o-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
HELD = {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"}
ALERT = {"alertId": "a-1", "level": "info", "message": "m"}
SHORT_SECONDS = 0.4


async def status_of(server: Daemon, path: str, session: str | None = None) -> int:
    """Return the status with which a stream is answered."""
    async with server.stream(path, session=session) as stream:
        return stream.status


async def ending(stream: StreamClient) -> tuple[list[str], bool]:
    """Return what comes until the server ends a stream, and whether it ended properly."""
    rest = [event.type for event in await stream.until_end()]
    return rest, stream.is_ended_properly


async def opened(stream: StreamClient, count: int) -> list[Received]:
    """Return the first events of a stream."""
    return [await stream.next() for _ in range(count)]


# ---- ping -------------------------------------------------------------------------------


async def test_ping_is_answered(tmp_path: Path) -> None:
    """`ping` has no effect but its answer."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        assert await feed.ask({"op": "ping"}) == {"ref": 1, "ok": True}


# ---- sessions ---------------------------------------------------------------------------


async def test_a_session_becomes_valid_and_is_revoked(tmp_path: Path) -> None:
    """`session.put` lets a cookie in, for its user; `session.delete` ends its streams at once."""
    key = "session-id-that-nobody-may-see"
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        before = await status_of(server, "/api/stream/alerts", key)
        await feed.session(key, "user-1")
        await feed.session("other", "user-1")
        async with (
            server.stream("/api/stream/alerts", session=key) as alerts,
            server.stream("/api/stream/orders", session=key) as orders,
            server.stream("/api/stream/trading?userId=user-1", session=key) as trading,
            server.stream("/api/stream/alerts", session="other") as stays,
        ):
            revoked = (alerts, orders, trading)
            client_ids = [(await stream.expect("connected")).data["clientId"] for stream in revoked]
            await feed.do("session.delete", sessionId=key)
            endings = [await ending(stream) for stream in revoked]
            await stays.expect("connected")
            published = await feed.publish("alert:new", ALERT, userId="user-1")
            received = await stays.expect("alert:new")
        after = await status_of(server, "/api/stream/alerts", key)
        again = await feed.ask({"op": "session.delete", "sessionId": key})
        for client_id in client_ids:
            await server.logged(
                "client_disconnected", client_id=client_id, reason="session_expired"
            )
        is_logged = key in json.dumps(server.log)

    assert (before, after, again["ok"], is_logged) == (401, 401, True, False)
    assert [client_id.rpartition("-")[0] for client_id in client_ids] == [
        "user-1-alerts",
        "user-1-orders",
        "user-1-trading",
    ]
    assert endings == [
        (["session:expired"], True),
        (["order:update", "session:expired"], True),
        (["order:update", "position:update", "session:expired"], True),
    ]
    assert received.id == published


async def test_the_expiry_may_be_a_date_or_seconds(tmp_path: Path) -> None:
    """ISO 8601 and epoch seconds mean the same; what has passed, or no expiry, likewise."""
    now = time.time()
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        expected = {}
        for name, expires, status in (
            ("seconds", now + 60, 200),
            ("whole seconds", int(now) + 60, 200),
            ("date", datetime.fromtimestamp(now + 60, UTC).isoformat(), 200),
            ("zulu", datetime.fromtimestamp(now + 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), 200),
            ("never", None, 200),
            ("past seconds", now - 1, 401),
            ("past date", "2020-01-01T00:00:00+02:00", 401),
        ):
            await feed.session(name.replace(" ", "-"), "user-1", expiresAt=expires)
            expected[name] = status
        found = {
            name: await status_of(server, "/api/stream/alerts", name.replace(" ", "-"))
            for name in expected
        }

    assert found == expected


async def test_a_session_that_expires_ends_its_streams(tmp_path: Path) -> None:
    """At its time the stream is told `session:expired`, and closed; the cookie is worth nothing."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1", expiresAt=time.time() + SHORT_SECONDS)
        async with server.stream("/api/stream/alerts", session="k") as stream:
            await stream.expect("connected")
            rest = await ending(stream)
        after = await status_of(server, "/api/stream/alerts", "k")

    assert (rest, after) == ((["session:expired"], True), 401)


@pytest.mark.parametrize("first", [None, 3600])
async def test_an_earlier_expiry_applies_to_open_streams(tmp_path: Path, first: int | None) -> None:
    """A renewal with an earlier end cuts the life of streams that are open already."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        expires = None if first is None else time.time() + first
        await feed.session("k", "user-1", expiresAt=expires)
        async with server.stream("/api/stream/alerts", session="k") as stream:
            await stream.expect("connected")
            await feed.session("k", "user-1", expiresAt=time.time() + SHORT_SECONDS)
            event_id = await feed.publish("alert:new", ALERT, userId="user-1")
            still_there = await stream.expect("alert:new")
            rest = await ending(stream)

    assert (still_there.id, rest) == (event_id, (["session:expired"], True))


@pytest.mark.parametrize("renewed", [None, 3600])
async def test_a_later_expiry_applies_to_open_streams(tmp_path: Path, renewed: int | None) -> None:
    """A renewed session's streams live past the end they had when they were opened."""
    settings = {"stream.keepalive_seconds": 0.1}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        end = time.time() + SHORT_SECONDS
        await feed.session("k", "user-1", expiresAt=end)
        async with server.stream("/api/stream/alerts", session="k") as stream:
            await stream.expect("connected")
            later = None if renewed is None else time.time() + renewed
            await feed.session("k", "user-1", expiresAt=later)
            while time.time() < end + 0.2:
                await stream.until_comment(len(stream.source.comments) + 1)
            event_id = await feed.publish("alert:new", ALERT, userId="user-1")

            assert (await stream.expect("alert:new")).id == event_id


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": "user-2"},
        {"userId": "user-1", "role": "admin"},
        {"userId": "user-1", "expiresAt": 1},
    ],
)
async def test_a_session_that_changes_ends_its_streams(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Another user, another role or an end in the past: streams opened before are over."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        async with server.stream("/api/stream/alerts", session="k") as stream:
            await stream.expect("connected")
            await feed.do("session.put", sessionId="k", **changes)
            rest = await ending(stream)
        if changes["userId"] == "user-2":
            async with server.stream("/api/stream/alerts", session="k") as stream:
                client_id = (await stream.expect("connected")).data["clientId"]

            assert client_id.startswith("user-2-")

    assert rest == (["session:expired"], True)


async def test_a_role_decides_who_may_send_the_test_event(tmp_path: Path) -> None:
    """`admin` may, `user` (the default) may not."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("a", "user-1", role="admin")
        await feed.session("b", "user-1", role="user")
        await feed.session("c", "user-1")
        found = [
            (
                await server.request(
                    "POST", "/api/stream/test", headers={"Cookie": f"session={session}"}
                )
            )[0]
            for session in "abc"
        ]

    assert found == [200, 403, 403]


# ---- strategies -------------------------------------------------------------------------


async def test_a_strategy_is_registered_and_forgotten(tmp_path: Path) -> None:
    """Its stream is there for its owner from `strategy.put` until `strategy.delete`."""
    path = "/api/stream/strategies/s-1"
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.session("other", "user-2")
        before = await status_of(server, path, "k")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        await feed.do("strategy.put", strategyId="s-2", userId="user-1")
        foreign = await status_of(server, path, "other")
        async with (
            server.stream(path, session="k") as stream,
            server.stream("/api/stream/strategies/s-2", session="k") as sibling,
        ):
            await stream.expect("connected")
            await sibling.expect("connected")
            await feed.do("strategy.put", strategyId="s-1", userId="user-1")
            signal = {"strategyId": "s-1", "signalType": "entry"}
            event_id = await feed.publish("strategy:update", signal)
            received = await stream.expect("strategy:update")
            await feed.do("strategy.delete", strategyId="s-1")
            rest = await ending(stream)
            other_id = await feed.publish("strategy:update", {**signal, "strategyId": "s-2"})
            sibling_id = (await sibling.expect("strategy:update")).id
        after = await status_of(server, path, "k")
        ownerless = await feed.ask({"type": "strategy:update", "data": signal})

    assert (before, foreign, after) == (404, 404, 404)
    assert (received.id, sibling_id) == (event_id, other_id)
    assert rest == ([], True)
    assert ownerless["error"]["path"] == "$.userId"


async def test_a_strategy_can_change_hands(tmp_path: Path) -> None:
    """The old owner's streams end, the new owner's open, and events go to the new one."""
    path = "/api/stream/strategies/s-1"
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k-1", "user-1")
        await feed.session("k-2", "user-2")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        async with server.stream(path, session="k-1") as old:
            await old.expect("connected")
            await feed.do("strategy.put", strategyId="s-1", userId="user-2")
            rest = await ending(old)
        async with server.stream(path, session="k-2") as new:
            await new.expect("connected")
            signal = {"strategyId": "s-1", "signalType": "exit"}
            event_id = await feed.publish("strategy:update", signal)
            received = await new.expect("strategy:update")
        refused = await status_of(server, path, "k-1")

    assert (rest, received.id, refused) == (([], True), event_id, 404)


async def test_who_makes_room_is_told_at_once(tmp_path: Path) -> None:
    """A strategy or a session that goes past its limit ends its streams, as a delete does."""
    settings = {"limits.max_strategies": 1, "limits.max_sessions": 1}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        async with (
            server.stream("/api/stream/strategies/s-1", session="k") as strategy,
            server.stream("/api/stream/alerts", session="k") as alerts,
        ):
            await strategy.expect("connected")
            await alerts.expect("connected")
            await feed.do("strategy.put", strategyId="s-2", userId="user-2")
            endings = [await ending(strategy)]
            still_there = await feed.publish("alert:new", ALERT, userId="user-1")
            received = await alerts.expect("alert:new")
            await feed.session("newer", "user-2")
            endings.append(await ending(alerts))

    assert endings == [([], True), (["session:expired"], True)]
    assert received.id == still_there


# ---- state from elsewhere ---------------------------------------------------------------


async def test_orders_are_put(tmp_path: Path) -> None:
    """`orders.put` replaces all orders and emits nothing; with `notify` streams get them."""
    other = {**ORDER, "orderId": "o-2", "venue": "XNAS", "token": "t", "_row": 1}
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.publish("order:update", {**ORDER, "orderId": "o-0"}, userId="user-1")
        async with (
            server.stream("/api/stream/orders?replay=0", session="k") as orders,
            server.stream("/api/stream/trading?userId=user-1&replay=0") as trading,
            server.stream("/api/stream/positions", session="k") as positions,
        ):
            await opened(orders, 2)
            await opened(trading, 3)
            await opened(positions, 2)
            await feed.do("orders.put", userId="user-1", orders=[ORDER])
            await feed.do("orders.put", userId="user-1", orders=[ORDER, other], notify=True)
            marker = await feed.publish(
                "position:update", {**HELD, "entryPrice": 1}, userId="user-1"
            )
            notified = [await orders.next(), await trading.next()]
            after = [await trading.next(), await positions.next()]
        async with server.stream("/api/stream/orders", session="k") as later:
            connected, replayed, snapshot = await opened(later, 3)

    stored = {**ORDER, "orderId": "o-2", "venue": "XNAS", "token": "[REDACTED]"}
    for event in (*notified, snapshot):
        assert event.type == "order:update"
        assert event.data.pop("timestamp").endswith("Z")
        assert event.data == {"snapshot": True, "orders": [ORDER, stored]}
    assert [event.id for event in after] == [marker, marker]
    assert (connected.data["replay"], replayed.data["orderId"]) == (1, "o-0")


async def test_positions_are_put(tmp_path: Path) -> None:
    """`positions.put` replaces the portfolio; with `notify` streams get it, valued."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.publish("price:update", {"symbol": "AAPL", "price": 152.5})
        await feed.do("positions.put", userId="user-1", positions=[{**HELD, "symbol": "MSFT"}])
        async with (
            server.stream("/api/stream/positions", session="k") as positions,
            server.stream("/api/stream/trading?userId=user-1") as trading,
            server.stream("/api/stream/orders", session="k") as orders,
        ):
            first = (await opened(positions, 2))[1]
            await opened(trading, 3)
            await opened(orders, 2)
            await feed.do("positions.put", userId="user-1", positions=[])
            await feed.do("positions.put", userId="user-1", positions=[HELD], notify=True)
            marker = await feed.publish("order:update", ORDER, userId="user-1")
            notified = [await positions.next(), await trading.next()]
            after = [await trading.next(), await orders.next()]

    assert [one["symbol"] for one in first.data["positions"]] == ["MSFT"]
    for event in notified:
        assert event.type == "position:update"
        assert event.data.pop("timestamp").endswith("Z")
        assert event.data == {
            "snapshot": True,
            "positions": [{**HELD, "currentPrice": "152.5", "unrealizedPnL": 25.0}],
            "totalValue": 1525.0,
        }
    assert [event.id for event in after] == [marker, marker]


async def test_state_can_be_put_at_any_size(tmp_path: Path) -> None:
    """Past the limit of orders the finished ones go first; the line is bounded by its bytes."""
    finished = [{**ORDER, "orderId": f"f-{n}", "status": "filled"} for n in range(300)]
    working = [{**ORDER, "orderId": f"w-{n}"} for n in range(300)]
    settings = {"limits.max_orders_per_user": 400}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        await feed.do("orders.put", userId="user-1", orders=working + finished)
        async with server.stream("/api/stream/orders", session="k") as stream:
            orders = (await opened(stream, 2))[1].data["orders"]

    assert [order["orderId"] for order in orders] == [
        *(f"w-{n}" for n in range(300)),
        *(f"f-{n}" for n in range(200, 300)),
    ]


async def test_a_user_nobody_knows_has_empty_snapshots(tmp_path: Path) -> None:
    """Putting nothing leaves nothing; a stream opens with empty lists."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.do("orders.put", userId="user-1", orders=[], notify=True)
        await feed.do("positions.put", userId="user-1", positions=[], notify=True)
        async with server.stream("/api/stream/trading?userId=user-1") as stream:
            _, orders, positions = await opened(stream, 3)

    assert (orders.data["orders"], positions.data["positions"]) == ([], [])
    assert positions.data["totalValue"] == 0
