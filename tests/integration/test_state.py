"""Orders, positions, prices, alerts and strategies on the real process, scenario by scenario.

The names are those of the specification's scenarios; what the contract adds to one follows it.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.stream_client import Received, StreamClient

ORDER = {"orderId": "ord-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@asynccontextmanager
async def started(
    folder: Path, settings: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Daemon, FeedClient]]:
    """Start a server with two users and a strategy of the first."""
    async with await daemon.start(folder, settings) as server, server.feed() as feed:
        for user in ("user-1", "user-2"):
            await feed.session(user, user)
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        yield server, feed


@asynccontextmanager
async def live(
    server: Daemon, stream: str, user: str = "user-1", *, skip: int = 1
) -> AsyncIterator[StreamClient]:
    """Open a stream past its opening: `skip` events, `connected` included."""
    separator = "&" if "?" in stream else "?"
    async with server.stream(f"/api/stream/{stream}{separator}replay=0", session=user) as client:
        assert client.status == 200
        for _ in range(skip):
            await client.next()
        yield client


async def snapshot(server: Daemon, stream: str, user: str = "user-1") -> dict[str, Any]:
    """Return what a stream opens with after `connected`, without its timestamp."""
    async with server.stream(f"/api/stream/{stream}", session=user) as client:
        connected = await client.expect("connected")
        for _ in range(connected.data["replay"]):
            await client.next()
        payload: dict[str, Any] = (await client.next()).data
    assert TIMESTAMP.fullmatch(payload.pop("timestamp"))
    return payload


async def order_of(server: Daemon) -> dict[str, Any]:
    """Return the one order of user-1."""
    (order,) = (await snapshot(server, "orders"))["orders"]
    del order["timestamp"]
    return dict(order)


def untimed(event: Received) -> dict[str, Any]:
    """Return a payload without its timestamp, which must be one."""
    payload: dict[str, Any] = dict(event.data)
    assert TIMESTAMP.fullmatch(payload.pop("timestamp"))
    return payload


class Book:
    """The positions of user-1 as the positions stream tells them.

    Attributes:
        feed: Where they are published.
    """

    def __init__(self, feed: FeedClient, stream: StreamClient) -> None:
        self.feed = feed
        self._stream = stream

    async def update(self, symbol: str, quantity: object, **fields: object) -> dict[str, Any]:
        """Publish a `position:update` and return its payload on the wire."""
        data = {"symbol": symbol, "quantity": quantity, **fields}
        event_id = await self.feed.publish("position:update", data, userId="user-1")
        event = await self._stream.expect("position:update")
        assert (event.id, event.retry_ms) == (event_id, 5000)
        return untimed(event)

    async def price(self, symbol: str, price: object) -> dict[str, Any]:
        """Publish a price of something held and return the re-valuation."""
        await self.feed.publish("price:update", {"symbol": symbol, "price": price})
        return untimed(await self._stream.expect("position:update"))


@asynccontextmanager
async def book(folder: Path) -> AsyncIterator[tuple[Daemon, Book]]:
    """Start a server and follow the positions of user-1."""
    async with started(folder) as (server, feed), live(server, "positions", skip=2) as stream:
        yield server, Book(feed, stream)


def position(
    symbol: str, quantity: str, entry: str, current: str, unrealized: float
) -> dict[str, Any]:
    """Return one entry of `positions`."""
    return {
        "symbol": symbol,
        "quantity": quantity,
        "entryPrice": entry,
        "currentPrice": current,
        "unrealizedPnL": unrealized,
    }


# ---- Requirement: Order Updates Stream --------------------------------------------------


async def test_orders_initial_snapshot_on_connection(tmp_path: Path) -> None:
    """A new connection gets all orders of its user, flagged, with a timestamp."""
    async with started(tmp_path) as (server, feed):
        for number in range(3):
            await feed.publish(
                "order:update", {**ORDER, "orderId": f"ord-{number}"}, userId="user-1"
            )
        await feed.publish("order:update", ORDER, userId="user-2")
        async with server.stream("/api/stream/orders?replay=0", session="user-1") as stream:
            await stream.expect("connected")
            opening = await stream.expect("order:update")
    payload = untimed(opening)
    for order in payload["orders"]:
        assert TIMESTAMP.fullmatch(order.pop("timestamp"))

    assert payload == {
        "snapshot": True,
        "orders": [{**ORDER, "orderId": f"ord-{number}"} for number in range(3)],
    }


async def test_orders_order_creation_event(tmp_path: Path) -> None:
    """A new order goes to its user with all its fields, a unique ID and a retry of 5000 ms."""
    async with started(tmp_path) as (server, feed), live(server, "orders", skip=2) as stream:
        event_id = await feed.publish("order:update", ORDER, userId="user-1")
        event = await stream.expect("order:update")

    assert (event.id, event.retry_ms, untimed(event)) == (event_id, 5000, ORDER)


async def test_orders_order_fill_event(tmp_path: Path) -> None:
    """Fills say `partially_filled` until the order's size is reached, then `filled`."""
    async with started(tmp_path) as (server, feed), live(server, "orders", skip=2) as stream:
        await feed.publish("order:update", ORDER, userId="user-1")
        await stream.expect("order:update")
        seen = []
        for filled, average in ((4, "150.10"), (9.5, 150.2), ("10.0", 150.25)):
            fill = {"orderId": "ord-1", "filledQty": filled, "filledAvgPrice": average}
            await feed.publish("order:fill", fill, userId="user-1")
            event = untimed(await stream.expect("order:fill"))
            seen.append((event == {**fill, "status": event["status"]}, event["status"]))
            seen.append((await order_of(server))["status"])
        order = await order_of(server)

    assert seen == [
        (True, "partially_filled"), "partially_filled",
        (True, "partially_filled"), "partially_filled",
        (True, "filled"), "filled",
    ]  # fmt: skip
    assert order == {**ORDER, "status": "filled", "filledQty": "10.0", "filledAvgPrice": 150.25}


async def test_orders_fill_of_an_order_not_seen_before(tmp_path: Path) -> None:
    """Without a stored order the fill's own `qty` decides, else it is partial; it is stored."""
    fills = {"a": {}, "b": {"qty": 5}, "c": {"qty": 6}}
    async with started(tmp_path) as (server, feed), live(server, "orders", skip=2) as stream:
        seen = []
        for order_id, qty in fills.items():
            fill = {"orderId": order_id, "filledQty": 5, "filledAvgPrice": 150, **qty}
            await feed.publish("order:fill", fill, userId="user-1")
            seen.append((await stream.expect("order:fill")).data)
        orders = (await snapshot(server, "orders"))["orders"]

    assert seen == orders
    assert [order["status"] for order in orders] == [
        "partially_filled",
        "filled",
        "partially_filled",
    ]


async def test_orders_order_cancellation_event(tmp_path: Path) -> None:
    """A cancellation has its reason, and the history stays in the replay buffer."""
    async with started(tmp_path) as (server, feed), live(server, "orders", skip=2) as stream:
        await feed.publish("order:update", ORDER, userId="user-1")
        canceled = {**ORDER, "status": "canceled", "reason": "end of day"}
        await feed.publish("order:update", canceled, userId="user-1")
        events = [untimed(await stream.expect("order:update")) for _ in range(2)]
        async with server.stream("/api/stream/orders", session="user-1") as later:
            connected = await later.expect("connected")
            history = [untimed(await later.expect("order:update")) for _ in range(2)]
            opening = (await later.expect("order:update")).data["orders"]

    assert events == history == [ORDER, canceled]
    assert connected.data["replay"] == 2
    assert [(order["status"], order["reason"]) for order in opening] == [("canceled", "end of day")]


async def test_orders_updates_are_merged(tmp_path: Path) -> None:
    """What an update does not give stays as it was, in the snapshot."""
    async with started(tmp_path) as (server, feed):
        await feed.publish(
            "order:update", {**ORDER, "limitPrice": "151.50", "venue": "XNAS"}, userId="user-1"
        )
        await feed.publish("order:update", {**ORDER, "status": "accepted"}, userId="user-1")
        order = await order_of(server)

    assert order == {**ORDER, "status": "accepted", "limitPrice": "151.50", "venue": "XNAS"}


async def test_orders_finished_ones_go_first_past_the_limit(tmp_path: Path) -> None:
    """Past `max_orders_per_user` the order finished for longest goes, else the oldest."""
    statuses = {"a": "new", "b": "filled", "c": "canceled", "d": "rejected", "e": "expired"}
    async with started(tmp_path, {"limits.max_orders_per_user": 3}) as (server, feed):
        for order_id, status in statuses.items():
            await feed.publish(
                "order:update", {**ORDER, "orderId": order_id, "status": status}, userId="user-1"
            )
        kept = [order["orderId"] for order in (await snapshot(server, "orders"))["orders"]]
        for order_id in ("f", "g", "h"):
            await feed.publish("order:update", {**ORDER, "orderId": order_id}, userId="user-1")
        later = [order["orderId"] for order in (await snapshot(server, "orders"))["orders"]]

    assert (kept, later) == (["a", "d", "e"], ["f", "g", "h"])


# ---- Requirement: Position Changes Stream -----------------------------------------------


async def test_positions_position_opened(tmp_path: Path) -> None:
    """An opening has all prices, the unrealised result, and the portfolio's total."""
    async with book(tmp_path) as (server, positions):
        opened = await positions.update("AAPL", 10, entryPrice="150.00", currentPrice="152.50")
        second = await positions.update("MSFT", "2.5", entryPrice=400)
        both = await snapshot(server, "positions")

    apple = position("AAPL", "10", "150.00", "152.50", 25.0)
    microsoft = position("MSFT", "2.5", "400", "400", 0.0)
    assert opened == {"positions": [apple], "totalValue": 1525.0}
    assert second == {"positions": [microsoft], "totalValue": 2525.0}
    assert both == {"snapshot": True, "positions": [apple, microsoft], "totalValue": 2525.0}


async def test_positions_opened_at_the_last_known_price(tmp_path: Path) -> None:
    """Without `currentPrice` the last price counts, where there is one."""
    async with book(tmp_path) as (_, positions):
        await positions.feed.publish("price:update", {"symbol": "AAPL", "price": "151.0"})
        opened = await positions.update("AAPL", 10, entryPrice=150)

    assert opened == {
        "positions": [position("AAPL", "10", "150", "151.0", 10.0)],
        "totalValue": 1510.0,
    }


async def test_positions_position_closed(tmp_path: Path) -> None:
    """A close goes out once, with quantity 0 and its result, and leaves the list."""
    async with book(tmp_path) as (server, positions):
        await positions.update("AAPL", 10, entryPrice="150.00")
        await positions.update("MSFT", 1, entryPrice=400)
        closed = await positions.update("AAPL", 0, exitPrice="155.25")
        left = await snapshot(server, "positions")

    assert closed["positions"][0] == {
        **position("AAPL", "0", "150.00", "150.00", 0.0),
        "realizedPnL": 52.5,
    }
    assert closed["totalValue"] == 400.0
    assert left == {
        "snapshot": True,
        "positions": [position("MSFT", "1", "400", "400", 0.0)],
        "totalValue": 400.0,
    }


async def test_positions_what_a_close_realises(tmp_path: Path) -> None:
    """The feed's own figure counts, else the exit price, else the last known price."""
    closes: list[tuple[dict[str, Any], float]] = [
        ({"realizedPnL": "-7.125"}, -7.12),
        ({"realizedPnL": 3, "exitPrice": 1}, 3.0),
        ({"exitPrice": 140}, -100.0),
        ({}, 20.0),
    ]
    async with book(tmp_path) as (_, positions):
        realized = []
        for fields, _ in closes:
            await positions.update("AAPL", 10, entryPrice=150, currentPrice=152)
            closed = await positions.update("AAPL", 0, **fields)
            assert closed["totalValue"] == 0.0
            realized.append(closed["positions"][0]["realizedPnL"])

    assert realized == [expected for _, expected in closes]


async def test_positions_an_addition_keeps_its_entry_price(tmp_path: Path) -> None:
    """More of the same keeps `entryPrice` unless the feed gives a new one; nothing is realised."""
    async with book(tmp_path) as (_, positions):
        await positions.update("AAPL", 10, entryPrice="150.00")
        kept = await positions.update("AAPL", 20, currentPrice=151)
        given = await positions.update("AAPL", 30, entryPrice="150.50")

    assert kept == {
        "positions": [position("AAPL", "20", "150.00", "151", 20.0)],
        "totalValue": 3020.0,
    }
    assert given == {
        "positions": [position("AAPL", "30", "150.50", "151", 15.0)],
        "totalValue": 4530.0,
    }


async def test_positions_a_partial_close_realises_its_part(tmp_path: Path) -> None:
    """Selling a part realises that part, and the rest keeps its entry price."""
    async with book(tmp_path) as (_, positions):
        await positions.update("AAPL", 10, entryPrice="150.00")
        part = await positions.update("AAPL", 4, exitPrice=153, currentPrice=153)

    assert part == {
        "positions": [{**position("AAPL", "4", "150.00", "153", 12.0), "realizedPnL": 18.0}],
        "totalValue": 612.0,
    }


async def test_positions_short(tmp_path: Path) -> None:
    """A short has a negative quantity and value, and wins when the price falls."""
    async with book(tmp_path) as (_, positions):
        opened = await positions.update("AAPL", -10, entryPrice=150)
        fallen = await positions.price("AAPL", 148)
        part = await positions.update("AAPL", -4, exitPrice=147)
        closed = await positions.update("AAPL", "0.00", exitPrice=151)

    assert opened == {
        "positions": [position("AAPL", "-10", "150", "150", 0.0)],
        "totalValue": -1500.0,
    }
    assert fallen == {
        "positions": [position("AAPL", "-10", "150", "148", 20.0)],
        "totalValue": -1480.0,
    }
    assert part["positions"][0]["realizedPnL"] == 18.0
    assert (closed["positions"][0]["quantity"], closed["positions"][0]["realizedPnL"]) == (
        "0",
        -4.0,
    )
    assert closed["totalValue"] == 0.0


async def test_positions_flip_of_sign(tmp_path: Path) -> None:
    """From long to short in one update: the long side is realised, the short one is new."""
    async with book(tmp_path) as (_, positions):
        await positions.update("AAPL", 10, entryPrice=150)
        flipped = await positions.update("AAPL", -5, exitPrice=152, currentPrice=152)
        back = await positions.update("AAPL", 1, exitPrice=151, entryPrice=151, currentPrice=151)

    assert flipped == {
        "positions": [{**position("AAPL", "-5", "152", "152", 0.0), "realizedPnL": 20.0}],
        "totalValue": -760.0,
    }
    assert back == {
        "positions": [{**position("AAPL", "1", "151", "151", 0.0), "realizedPnL": 5.0}],
        "totalValue": 151.0,
    }


async def test_positions_position_value_update(tmp_path: Path) -> None:
    """A price re-values what is held: current price, unrealised result, and the total."""
    async with book(tmp_path) as (server, positions):
        await positions.update("AAPL", 10, entryPrice="150.00")
        await positions.update("MSFT", -1, entryPrice=400)
        moved = await positions.price("AAPL", 152.5)
        other = await positions.price("MSFT", "399.5")
        both = await snapshot(server, "positions")

    apple = position("AAPL", "10", "150.00", "152.5", 25.0)
    microsoft = position("MSFT", "-1", "400", "399.5", 0.5)
    assert moved == {"positions": [apple], "totalValue": 1125.0}
    assert other == {"positions": [microsoft], "totalValue": 1125.5}
    assert both == {"snapshot": True, "positions": [apple, microsoft], "totalValue": 1125.5}


async def test_positions_revaluations_are_gathered_and_not_kept(tmp_path: Path) -> None:
    """Many prices within a window make one update, with the newest; none is replayed."""
    async with started(tmp_path, {"batching.window_ms": 1000}) as (server, feed):
        for number in range(20):
            held = {"symbol": f"S{number}", "quantity": 1, "entryPrice": 1}
            await feed.publish("position:update", held, userId="user-1")
        async with live(server, "positions", skip=2) as stream:
            await feed.publish("price:update", {"symbol": "S0", "price": 2})
            at_once = untimed(await stream.expect("position:update"))
            prices = [
                {"type": "price:update", "data": {"symbol": f"S{number}", "price": price}}
                for price in (3, 4, 5)
                for number in range(20)
            ]
            await feed.publish_many(prices)
            gathered = untimed(await stream.expect("position:update"))
            after = await feed.publish(
                "position:update", {"symbol": "S0", "quantity": 2}, userId="user-1"
            )
            next_one = await stream.expect("position:update")
        async with server.stream("/api/stream/positions", session="user-1") as later:
            replay = (await later.expect("connected")).data["replay"]

    assert (len(at_once["positions"]), at_once["totalValue"]) == (1, 21.0)
    assert [one["currentPrice"] for one in gathered["positions"]] == ["5"] * 20
    assert gathered["totalValue"] == 100.0
    assert (next_one.id, replay) == (after, 21)


async def test_positions_portfolio_snapshot_on_connection(tmp_path: Path) -> None:
    """The opening lists every position, valued at the last price, with the sum of values."""
    async with started(tmp_path) as (server, feed):
        await feed.publish("price:update", {"symbol": "AAPL", "price": "152.50"})
        await feed.do(
            "positions.put",
            userId="user-1",
            positions=[
                {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"},
                {"symbol": "MSFT", "quantity": "-2", "entryPrice": "400", "currentPrice": "390"},
                {"symbol": "BTC", "quantity": "0.00000001", "entryPrice": "60000"},
            ],
        )
        opening = await snapshot(server, "positions")
        combined = await snapshot(server, "positions", "user-2")

    assert opening == {
        "snapshot": True,
        "positions": [
            position("AAPL", "10", "150.00", "152.50", 25.0),
            position("MSFT", "-2", "400", "390", 20.0),
            position("BTC", "0.00000001", "60000", "60000", 0.0),
        ],
        "totalValue": 745.0,
    }
    assert combined == {"snapshot": True, "positions": [], "totalValue": 0.0}


CENTS: list[tuple[object, float]] = [
    ("1.005", 1.0), ("1.015", 1.02), ("1.025", 1.02), ("1.0250000001", 1.03), ("0.005", 0.0),
    ("0.015", 0.02), (0.125, 0.12), (1e-07, 0.0), ("123456789012345.675", 123456789012345.68),
]  # fmt: skip


async def test_positions_money_is_rounded_half_to_even(tmp_path: Path) -> None:
    """Totals and results are cents, rounded half to even, computed in decimal; no negative 0."""
    async with book(tmp_path) as (_, positions):
        for price, cents in CENTS:
            opened = await positions.update("A", 1, entryPrice=0, currentPrice=price)
            turned = await positions.update(
                "A", -1, entryPrice=0, currentPrice=price, exitPrice=price
            )
            await positions.update("A", 0)

            assert (opened["totalValue"], opened["positions"][0]["unrealizedPnL"]) == (cents, cents)
            assert turned["positions"][0]["realizedPnL"] == cents
            assert turned["totalValue"] == -cents
            assert "-0.0" not in (json.dumps([opened, turned]) if not cents else "")


async def test_positions_no_number_is_in_exponent_form(tmp_path: Path) -> None:
    """Very small and very large numbers are written out, as the feed gave them."""
    async with book(tmp_path) as (server, positions):
        small = await positions.update("A", 1e-07, entryPrice="0.0000000001")
        large = await positions.update("B", 10**15, entryPrice=1e15)
        moved = await positions.price("A", 1.5e-10)
        async with server.stream("/api/stream/positions?replay=0", session="user-1") as stream:
            await stream.expect("connected")
            await stream.expect("position:update")
            texts = re.findall(rb'"(?:quantity|entryPrice|currentPrice)":"([^"]*)"', stream.plain)

    assert small["positions"] == [position("A", "0.0000001", "0.0000000001", "0.0000000001", 0.0)]
    assert large["positions"] == [
        position("B", "1000000000000000", "1000000000000000", "1000000000000000", 0.0)
    ]
    assert moved["positions"][0]["currentPrice"] == "0.00000000015"
    assert texts == [
        b"0.0000001", b"0.0000000001", b"0.00000000015",
        b"1000000000000000", b"1000000000000000", b"1000000000000000",
    ]  # fmt: skip


async def test_positions_past_the_limit_the_oldest_goes(tmp_path: Path) -> None:
    """`max_positions_per_user` bounds a portfolio, and with it the total."""
    async with started(tmp_path, {"limits.max_positions_per_user": 2}) as (server, feed):
        for symbol in ("A", "B", "C"):
            await feed.publish(
                "position:update",
                {"symbol": symbol, "quantity": 1, "entryPrice": 1},
                userId="user-1",
            )
        left = await snapshot(server, "positions")

    assert ([one["symbol"] for one in left["positions"]], left["totalValue"]) == (["B", "C"], 2.0)


# ---- Requirement: Price/Quote Updates Stream --------------------------------------------


async def test_prices_price_update_broadcast(tmp_path: Path) -> None:
    """A price goes to every price stream, with a session or without, with all its fields."""
    quote = {"symbol": "AAPL", "price": 152.50, "bid": 152.48, "ask": 152.52}
    async with (
        started(tmp_path) as (server, feed),
        live(server, "prices", skip=2) as with_session,
        server.stream("/api/stream/prices") as without,
    ):
        await without.expect("connected")
        await without.expect("price:update")
        event_id = await feed.publish("price:update", quote)
        events = [await with_session.expect("price:update"), await without.expect("price:update")]

    assert [(event.id, untimed(event)) for event in events] == [(event_id, quote)] * 2


async def test_prices_symbol_filtered_price_stream(tmp_path: Path) -> None:
    """`?symbols=` gives the last prices of these, flagged, and their updates only."""
    async with started(tmp_path) as (server, feed):
        for number, symbol in enumerate(("AAPL", "GOOGL", "MSFT")):
            await feed.publish("price:update", {"symbol": symbol, "price": number})
        async with server.stream("/api/stream/prices?symbols=AAPL,GOOGL,NONE") as stream:
            await stream.expect("connected")
            opening = untimed(await stream.expect("price:update"))
            for symbol in ("MSFT", "GOOGL", "MSFT", "NONE"):
                await feed.publish("price:update", {"symbol": symbol, "price": 9})
            updates = [untimed(await stream.expect("price:update")) for _ in range(2)]

    assert opening["initializing"] is True
    assert [(one["symbol"], one["price"]) for one in opening["prices"]] == [
        ("AAPL", 0),
        ("GOOGL", 1),
    ]
    assert updates == [{"symbol": "GOOGL", "price": 9}, {"symbol": "NONE", "price": 9}]


async def test_prices_price_update_throttling(tmp_path: Path) -> None:
    """Past the threshold updates are gathered: few writes, and the newest of each symbol."""
    settings = {"batching.threshold_per_second": 10, "batching.window_ms": 100}
    async with (
        started(tmp_path, settings) as (server, feed),
        live(server, "prices", skip=2) as stream,
    ):
        await feed.publish_many(
            [
                {"type": "price:update", "data": {"symbol": f"S{number % 5}", "price": number}}
                for number in range(2000)
            ]
        )
        newest: dict[str, int] = {}
        events = 0
        while newest != {f"S{number}": 1995 + number for number in range(5)}:
            event = await stream.expect("price:update")
            newest[event.data["symbol"]] = event.data["price"]
            events += 1

    assert events < 500


# ---- Requirement: Alert Notifications Stream --------------------------------------------


async def test_alerts_alert_triggered(tmp_path: Path) -> None:
    """An alert reaches all sessions of its user, and nobody else."""
    alert = {"alertId": "al-1", "level": "warning", "message": "margin at 80 %"}
    async with started(tmp_path) as (server, feed):
        await feed.session("second", "user-1")
        async with (
            live(server, "alerts") as one,
            live(server, "alerts", "second") as two,
            live(server, "alerts", "user-2") as other,
        ):
            event_id = await feed.publish("alert:new", alert, userId="user-1")
            events = [await one.expect("alert:new"), await two.expect("alert:new")]
            await feed.publish("alert:new", {**alert, "alertId": "al-2"}, userId="user-2")
            foreign = await other.expect("alert:new")

    assert [(event.id, untimed(event)) for event in events] == [(event_id, alert)] * 2
    assert foreign.data["alertId"] == "al-2"


async def test_alerts_critical_alert_priority(tmp_path: Path) -> None:
    """Level `error` is marked as high priority, is sent at once, and its delivery is logged."""
    alert = {"alertId": "al-1", "level": "error", "message": "margin call"}
    async with (
        started(tmp_path) as (server, feed),
        live(server, "alerts") as one,
        live(server, "alerts") as two,
    ):
        event_id = await feed.publish("alert:new", alert, userId="user-1", correlationId="c-1")
        events = [await one.expect("alert:new"), await two.expect("alert:new")]
        line = await server.logged("alert_delivered")

    assert [untimed(event) for event in events] == [{**alert, "priority": "high"}] * 2
    assert {key: line[key] for key in line.keys() - {"timestamp"}} == {
        "event": "alert_delivered",
        "level": "info",
        "event_id": event_id,
        "user_id": "user-1",
        "connections": 2,
        "correlation_id": "c-1",
    }


# ---- Requirement: Strategy Execution Events Stream --------------------------------------


async def test_strategies_strategy_signal_generated(tmp_path: Path) -> None:
    """A signal goes to the strategy's owner with its details and reasoning."""
    signal = {
        "strategyId": "s-1",
        "signalType": "entry",
        "symbol": "AAPL",
        "action": "buy",
        "confidence": 0.85,
        "details": {"window": [5, 20], "rsi": 31.5},
        "reasoning": "momentum turned\nvolume confirms",
    }
    async with started(tmp_path) as (server, feed), live(server, "strategies/s-1") as stream:
        event_id = await feed.publish("strategy:update", signal)
        event = await stream.expect("strategy:update")

    assert (event.id, untimed(event)) == (event_id, signal)


async def test_strategies_strategy_status_change(tmp_path: Path) -> None:
    """A change of status says which, and with `error` what went wrong."""
    changes = [
        {"strategyId": "s-1", "status": "started"},
        {"strategyId": "s-1", "status": "stopped"},
        {"strategyId": "s-1", "status": "error", "error": "no quotes"},
    ]
    async with started(tmp_path) as (server, feed), live(server, "strategies/s-1") as stream:
        for change in changes:
            await feed.publish("strategy:update", change)
        seen = [untimed(await stream.expect("strategy:update")) for _ in changes]

    assert seen == changes


async def test_strategies_strategy_specific_stream(tmp_path: Path) -> None:
    """The stream is the owner's alone, 404 for others and for none, and carries that strategy."""
    async with started(tmp_path) as (server, feed):
        await feed.do("strategy.put", strategyId="s-2", userId="user-1")
        answers = [
            await server.request(
                "GET", f"/api/stream/strategies/{name}", headers={"Cookie": f"session={user}"}
            )
            for name, user in (("s-1", "user-2"), ("none", "user-1"))
        ]
        async with live(server, "strategies/s-1") as stream:
            await feed.publish("strategy:update", {"strategyId": "s-2", "status": "started"})
            own = await feed.publish("strategy:update", {"strategyId": "s-1", "status": "started"})
            event = await stream.expect("strategy:update")

    not_found = {"error": "Not Found", "message": "Strategy not found", "statusCode": 404}
    assert [(status, json.loads(body)) for status, _, body in answers] == [(404, not_found)] * 2
    assert event.id == own
