"""The ten integration scenarios of the specification ("Testing"), against the real process."""

import json
from pathlib import Path

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon

ORDER = {
    "orderId": "ord-1",
    "symbol": "AAPL",
    "side": "buy",
    "qty": 10,
    "status": "new",
}


async def ready_user(server: Daemon, user_id: str = "user-1") -> None:
    """Give a user the session `s-{user_id}`."""
    async with server.feed() as feed:
        await feed.session(f"s-{user_id}", user_id)


async def test_1_connection_establishment_with_valid_and_invalid_session(tmp_path: Path) -> None:
    """A valid session opens a stream with the specified headers; none and a wrong one get 401."""
    async with await daemon.start(tmp_path) as server:
        await ready_user(server)
        async with server.stream("/api/stream/orders", session="s-user-1") as stream:
            connected = await stream.expect("connected")
            opened = (stream.status, connected.data["stream"], connected.data["replay"])
            client_id = connected.data["clientId"]
            headers = stream.headers
        refused = await server.request("GET", "/api/stream/orders")
        wrong = await server.request(
            "GET", "/api/stream/orders", headers={"Cookie": "session=nobody"}
        )

    assert opened == (200, "orders", 0)
    assert client_id.startswith("user-1-orders-")
    assert client_id.removeprefix("user-1-orders-").isdigit()
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["connection"] == "keep-alive"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-correlation-id"] == connected.data["correlationId"]
    unauthorized = {
        "error": "Unauthorized",
        "message": "No valid session found",
        "statusCode": 401,
    }
    assert (refused[0], json.loads(refused[2])) == (401, unauthorized)
    assert (wrong[0], json.loads(wrong[2])) == (401, unauthorized)


async def test_2_initial_snapshot_delivery_on_connection(tmp_path: Path) -> None:
    """Orders, positions, trading and prices open with a snapshot of what is true."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.do("orders.put", userId="user-1", orders=[ORDER])
        await feed.do(
            "positions.put",
            userId="user-1",
            positions=[{"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"}],
        )
        await feed.publish(
            "price:update", {"symbol": "AAPL", "price": 152.5, "bid": 152.48, "ask": 152.52}
        )
        async with (
            server.stream("/api/stream/orders", session="s-1") as orders,
            server.stream("/api/stream/positions", session="s-1") as positions,
            server.stream("/api/stream/trading?userId=user-1") as trading,
            server.stream("/api/stream/prices") as prices,
        ):
            for stream in (orders, positions, trading, prices):
                await stream.expect("connected")
            orders_snapshot = (await orders.expect("order:update")).data
            positions_snapshot = (await positions.expect("position:update")).data
            prices_snapshot = (await prices.expect("price:update")).data
            both = [(await trading.next()).type, (await trading.next()).type]

    assert orders_snapshot["snapshot"] is True
    assert [order["orderId"] for order in orders_snapshot["orders"]] == ["ord-1"]
    assert orders_snapshot["timestamp"].endswith("Z")
    assert positions_snapshot["snapshot"] is True
    assert positions_snapshot["totalValue"] == 1525.0
    assert positions_snapshot["positions"] == [
        {
            "symbol": "AAPL",
            "quantity": "10",
            "entryPrice": "150.00",
            "currentPrice": "152.5",
            "unrealizedPnL": 25.0,
        }
    ]
    assert prices_snapshot["initializing"] is True
    assert [
        (price["symbol"], price["price"], price["bid"], price["ask"])
        for price in prices_snapshot["prices"]
    ] == [("AAPL", 152.5, 152.48, 152.52)]
    assert both == ["order:update", "position:update"]


async def test_3_real_time_event_delivery(tmp_path: Path) -> None:
    """Orders, fills, positions and prices arrive as they are published, with the answered ID."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with (
            server.stream("/api/stream/trading?userId=user-1", session="s-1") as trading,
            server.stream("/api/stream/prices?symbols=AAPL") as prices,
        ):
            await trading.expect("connected")
            await trading.expect("order:update")
            await trading.expect("position:update")
            await prices.expect("connected")
            await prices.expect("price:update")
            order_id = await feed.publish("order:update", ORDER, userId="user-1")
            fill_id = await feed.publish(
                "order:fill",
                {"orderId": "ord-1", "filledQty": 10, "filledAvgPrice": 150.25},
                userId="user-1",
            )
            position_id = await feed.publish(
                "position:update",
                {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.25"},
                userId="user-1",
            )
            await feed.publish("price:update", {"symbol": "MSFT", "price": 400})
            price_id = await feed.publish("price:update", {"symbol": "AAPL", "price": 152.5})
            order, fill, position, revaluation = [await trading.next() for _ in range(4)]
            price = await prices.expect("price:update")

    assert (order.type, order.id, order.retry_ms) == ("order:update", order_id, 5000)
    assert {key: order.data[key] for key in ORDER} == ORDER
    assert (fill.type, fill.id, fill.data["status"]) == ("order:fill", fill_id, "filled")
    assert (position.type, position.id) == ("position:update", position_id)
    assert position.data["positions"][0]["currentPrice"] == "150.25"
    assert revaluation.data["positions"][0]["currentPrice"] == "152.5"
    assert revaluation.data["totalValue"] == 1525.0
    assert (price.id, price.data["symbol"]) == (price_id, "AAPL")


async def test_4_event_deduplication_with_event_ids(tmp_path: Path) -> None:
    """Every ID is unique, and the same event has the same ID on every connection and replay."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="s-1") as first,
            server.stream("/api/stream/alerts", session="s-1") as second,
        ):
            connected = {
                (await first.expect("connected")).id,
                (await second.expect("connected")).id,
            }
            published = [
                await feed.publish(
                    "alert:new",
                    {"alertId": f"a-{number}", "level": "info", "message": "m"},
                    userId="user-1",
                )
                for number in range(20)
            ]
            on_first = [(await first.next()).id for _ in published]
            on_second = [(await second.next()).id for _ in published]
        async with server.stream("/api/stream/alerts", session="s-1") as later:
            replayed_from = (await later.expect("connected")).id
            replayed = [(await later.next()).id for _ in published]

    assert on_first == on_second == replayed == published
    assert len({*connected, replayed_from, *published}) == 23


async def test_5_reconnection_with_last_event_id(tmp_path: Path) -> None:
    """A client that comes back with its last ID gets what it missed, once, in order."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")

        async def alert(number: int) -> str:
            return await feed.publish(
                "alert:new",
                {"alertId": f"a-{number}", "level": "info", "message": "m"},
                userId="user-1",
            )

        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            await alert(0)
            last = (await stream.expect("alert:new")).id
        missed = [await alert(number) for number in range(1, 6)]
        async with server.stream(
            "/api/stream/alerts", session="s-1", last_event_id=last
        ) as by_header:
            connected = await by_header.expect("connected")
            header_ids = [(await by_header.expect("alert:new")).id for _ in missed]
            live = await alert(6)
            live_id = (await by_header.expect("alert:new")).id
        async with server.stream(
            f"/api/stream/alerts?lastEventId={last}", session="s-1"
        ) as by_query:
            await by_query.expect("connected")
            query_ids = [(await by_query.expect("alert:new")).id for _ in missed]

    assert connected.data["replay"] == 5
    assert header_ids == query_ids == missed
    assert live_id == live


async def test_6_multiple_concurrent_connections_per_user(tmp_path: Path) -> None:
    """Ten tabs of a user all get every event; the eleventh closes the oldest, which is told."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        streams = []
        try:
            for _ in range(11):
                manager = server.stream("/api/stream/alerts", session="s-1")
                stream = await manager.__aenter__()
                streams.append((manager, stream))
                await stream.expect("connected")
            farewell, *rest = await streams[0][1].until_end()
            published = await feed.publish(
                "alert:new",
                {"alertId": "a-1", "level": "warning", "message": "m"},
                userId="user-1",
            )
            received = [(await stream.expect("alert:new")).id for _, stream in streams[1:]]
            back = await server.request(
                "GET",
                "/api/stream/alerts",
                headers={"Cookie": "session=s-1", "Last-Event-ID": farewell.id},
            )
        finally:
            for manager, _ in streams:
                await manager.__aexit__(None, None, None)
        warning = await server.logged("connection_limit")

    assert (farewell.type, farewell.data["limit"], rest) == ("connection:limit", 10, [])
    assert received == [published] * 10
    assert back[0] == 204
    assert warning["level"] == "warning"


async def test_7_keepalive_message_delivery(tmp_path: Path) -> None:
    """A quiet stream carries the comment `: keepalive` again and again."""
    settings = {"stream.keepalive_seconds": 0.1}
    async with (
        await daemon.start(tmp_path, settings) as server,
        server.stream("/api/stream/prices") as stream,
    ):
        await stream.expect("connected")
        await stream.until_comment(3)
        text = stream.plain

    assert text.count(b": keepalive\n\n") >= 3
    assert set(stream.source.comments) == {"keepalive"}


async def test_8_cors_preflight_handling(tmp_path: Path) -> None:
    """OPTIONS is answered 200 with the specified headers, on every stream."""
    async with await daemon.start(tmp_path) as server:
        answers = [
            await server.request(
                "OPTIONS",
                f"/api/stream/{name}",
                headers={
                    "Origin": "https://app.example",
                    "Access-Control-Request-Method": "GET",
                },
            )
            for name in ("orders", "positions", "prices", "trading", "ai-decisions", "alerts")
        ]

    for status, headers, _ in answers:
        assert status == 200
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "GET, OPTIONS"
        assert headers["access-control-allow-headers"] == "Content-Type, Authorization"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_9_compression_support(tmp_path: Path, encoding: str) -> None:
    """A compressed stream delivers each event at once, and saves at least 60 %."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        path = "/api/stream/orders" if encoding == "gzip" else "/api/stream/prices"
        options = {"session": "s-1", "headers": {"Accept-Encoding": encoding}}
        async with server.stream(path, **options) as stream:
            await stream.expect("connected")
            await stream.next()
            body, plain = stream.body_bytes, stream.plain_bytes
            if encoding == "gzip":
                for number in range(50):
                    order = {**ORDER, "orderId": f"ord-{number}", "qty": number + 1}
                    published = await feed.publish("order:update", order, userId="user-1")
                    assert (await stream.next()).id == published
            else:
                messages = [
                    {"type": "price:update", "data": {"symbol": f"S{number}", "price": 10 + number}}
                    for number in range(50)
                ]
                await feed.publish_many(messages)
                for _ in messages:
                    await stream.next()
            saved = 1 - (stream.body_bytes - body) / (stream.plain_bytes - plain)
            content_encoding = stream.headers["content-encoding"]

    assert content_encoding == encoding
    assert saved >= 0.6


async def test_10_stale_connection_cleanup(tmp_path: Path) -> None:
    """A peer that takes nothing while something waits is closed, and nobody else is."""
    settings = {
        "stream.idle_timeout_seconds": 0.4,
        "stream.keepalive_seconds": 0.2,
        "limits.max_backlog_bytes": 32 << 20,  # far more than is sent: not closed for that
    }
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="s-1", limit=1 << 12) as stalled,
            server.stream("/api/stream/prices") as reading,
        ):
            await stalled.expect("connected")
            await reading.expect("connected")
            alert = {"alertId": "a", "level": "info", "message": "x" * 60_000}
            await feed.publish_many(
                [{"type": "alert:new", "userId": "user-1", "data": alert}] * 100
            )
            closed = await server.logged("client_disconnected")
            comments = len(reading.source.comments)
            await reading.until_comment(comments + 3)
            gone = [line for line in server.log if line["event"] == "client_disconnected"]

    assert closed["client_id"].startswith("user-1-alerts-")
    assert closed["reason"] == "idle"
    assert gone == [closed]
