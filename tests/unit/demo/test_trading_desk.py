"""Tests for `sseserver.demo.trading_desk`."""

import random
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

import pytest

from sseserver.demo.accounts import TRADERS
from sseserver.demo.market import MarketQuote, MarketSimulator
from sseserver.demo.trading_desk import TradingDesk
from sseserver.events import EVENT_TYPES, JsonObject

D = Decimal


def trade(seed: int, seconds: int) -> Iterator[tuple[float, JsonObject, MarketQuote]]:
    """Yield time, message and the quote of its symbol over some seconds of trading."""
    rng = random.Random(seed)
    market = MarketSimulator(rng)
    desk = TradingDesk(rng, TRADERS, "run")
    quotes = {quote.symbol: quote for quote in market.opening()}
    for line in desk.opening():
        yield 0.0, line, quotes["SPY"]
    for second in range(seconds):
        quotes |= {quote.symbol: quote for quote in market.advance(1.0)}
        for quote in quotes.values():
            desk.on_quote(quote)
        for line in desk.act(float(second)):
            yield float(second), line, quotes[line["data"].get("symbol", "SPY")]


@cache
def session(seed: int) -> tuple[tuple[float, JsonObject, MarketQuote], ...]:
    """Return a session of trading, made once for all tests that look at it."""
    return tuple(trade(seed, 1500))


def messages(seed: int) -> list[JsonObject]:
    """Return what the desk said in a session."""
    return [line for _, line, _ in session(seed)]


def data_of(lines: list[JsonObject], *types: str) -> list[dict[str, Any]]:
    """Return the payloads of some types, each with its type and user."""
    return [
        line["data"] | {"type": line["type"], "user": line.get("userId")}
        for line in lines
        if line["type"] in types
    ]


def test_the_same_seed_gives_the_same_session() -> None:
    """Randomness and time come from the arguments alone."""
    assert list(trade(1, 60)) == list(trade(1, 60))
    assert list(trade(1, 60)) != list(trade(2, 60))


@pytest.mark.parametrize("seed", range(3))
def test_everything_the_contract_knows_is_said(seed: int) -> None:
    """A session has every event type, order status, level and kind of position change."""
    lines = messages(seed)
    statuses = {data["status"] for data in data_of(lines, "order:update")}
    levels = {data["level"] for data in data_of(lines, "alert:new")}
    positions = data_of(lines, "position:update")

    assert {line["type"] for line in lines} == set(EVENT_TYPES) - {"price:update"}
    assert statuses == {"new", "accepted", "canceled", "rejected"}
    assert levels == {"info", "warning", "error"}
    assert {data["quantity"] < 0 for data in positions} == {True, False}
    assert any(data["quantity"] == 0 for data in positions)
    assert any("realizedPnL" in data and data["quantity"] for data in positions)


@pytest.mark.parametrize("seed", range(3))
def test_positions_are_the_sums_of_fills(seed: int) -> None:
    """After each fill the position published for it is the sum of all its owner's trades."""
    held: dict[tuple[str, str], int] = defaultdict(int)
    lines = [line for line in messages(seed) if line["type"] in {"trade:new", "position:update"}]

    for trade, position in zip(lines[::2], lines[1::2], strict=True):
        sign = 1 if trade["data"]["side"] == "buy" else -1
        key = (trade["userId"], trade["data"]["symbol"])
        held[key] += sign * trade["data"]["qty"]
        assert key == (position["userId"], position["data"]["symbol"])
        assert held[key] == position["data"]["quantity"]
        assert ("entryPrice" in position["data"]) == (held[key] != 0)


@pytest.mark.parametrize("seed", range(3))
def test_an_order_goes_its_way_in_order(seed: int) -> None:
    """New, accepted, fills that add up to its trades; canceled only while not filled."""
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for data in data_of(messages(seed), "order:update", "order:fill", "trade:new"):
        seen[data["orderId"]].append(data)

    for first, *events in seen.values():
        if first["status"] == "rejected":
            assert events == []
            continue
        assert first["status"] == "new"
        traded = 0
        for number, data in enumerate(events):
            if data["type"] == "order:fill":
                filled_before, filled = traded, data["filledQty"]
                assert filled_before < filled <= first["qty"]
            elif data["type"] == "trade:new":
                traded += data["qty"]
                assert traded == events[number - 1]["filledQty"]
            elif data["status"] == "accepted":
                assert number == 0
            else:
                assert ("canceled", traded, number) == (
                    data["status"],
                    data["filledQty"],
                    len(events) - 1,
                )
                assert traded < first["qty"]
                assert data["reason"]


@pytest.mark.parametrize("seed", range(3))
def test_fills_are_at_the_market_and_never_worse_than_the_limit(seed: int) -> None:
    """A buy fills at the ask, a sale at the bid, and a limit holds."""
    limits: dict[str, Decimal] = {}
    for _, line, quote in session(seed):
        data = line["data"]
        if line["type"] == "order:update" and "limitPrice" in data:
            limits[data["orderId"]] = data["limitPrice"]
        if line["type"] == "trade:new":
            assert data["price"] == (quote.ask if data["side"] == "buy" else quote.bid)
            limit = limits.get(data["orderId"], data["price"])
            worse = data["price"] - limit if data["side"] == "buy" else limit - data["price"]
            assert worse <= 0


@pytest.mark.parametrize("seed", range(3))
def test_the_average_price_is_that_of_the_trades(seed: int) -> None:
    """`filledAvgPrice` is the trades' average, rounded to a hundredth of a cent."""
    lines = messages(seed)
    trades: dict[str, list[tuple[int, Decimal]]] = defaultdict(list)
    for data in data_of(lines, "trade:new"):
        trades[data["orderId"]].append((data["qty"], data["price"]))
    last = {data["orderId"]: data for data in data_of(lines, "order:fill")}

    for order_id, fill in last.items():
        cost = sum((qty * price for qty, price in trades[order_id]), D(0))
        assert abs(fill["filledAvgPrice"] - cost / fill["filledQty"]) <= D("0.00005")


def test_canceled_orders_had_their_time() -> None:
    """A limit order waits at least its fifteen seconds."""
    placed: dict[str, float] = {}
    waits = []
    for now, line, _ in session(1):
        if line["type"] == "order:update":
            if line["data"]["status"] == "new":
                placed[line["data"]["orderId"]] = now
            elif line["data"]["status"] == "canceled":
                waits.append(now - placed[line["data"]["orderId"]])

    assert waits
    assert 15 <= min(waits) <= max(waits) <= 61


def test_a_canceled_order_with_fills_says_at_what_price() -> None:
    """What was filled before the end stays true."""
    canceled = [
        data
        for seed in range(3)
        for data in data_of(messages(seed), "order:update")
        if data["status"] == "canceled"
    ]

    assert {("filledAvgPrice" in data) == (data["filledQty"] > 0) for data in canceled} == {True}
    assert {data["filledQty"] > 0 for data in canceled} == {True, False}


def test_a_user_has_only_so_many_working_orders() -> None:
    """Orders do not pile up when the market moves away."""
    working: dict[str, set[str]] = defaultdict(set)
    for data in data_of(messages(1), "order:update", "order:fill"):
        orders = working[data["user"]]
        if data["type"] == "order:fill":
            if data["filledQty"] == data["qty"]:
                orders.discard(data["orderId"])
        elif data["status"] == "new":
            orders.add(data["orderId"])
        elif data["status"] == "canceled":
            orders.discard(data["orderId"])
        assert len(orders) <= 4


def test_ids_are_never_given_out_twice() -> None:
    """Across orders, trades, decisions and alerts; the run is part of each."""
    lines = messages(1)
    ids = [
        data[name]
        for name, types in {
            "tradeId": ("trade:new",),
            "decisionId": ("ai:decision",),
            "alertId": ("alert:new",),
        }.items()
        for data in data_of(lines, *types)
    ]
    orders = {data["orderId"] for data in data_of(lines, "order:update")}

    assert len(ids) == len(set(ids))
    assert all("-run-" in each for each in orders.union(ids))


def test_a_user_hears_something_every_second_or_two() -> None:
    """Enough to see it live, little enough to read."""
    lines = messages(1)

    assert 0.3 < len(lines) / 1500 / len(TRADERS) < 2


def test_nothing_is_traded_without_quotes() -> None:
    """Before the first quote there is no price to trade at, nor on a one-sided one."""
    desk = TradingDesk(random.Random(1), TRADERS, "run")
    desk.on_quote(MarketQuote("ONE", D("1.00"), D(0), D("1.00")))
    desk.on_quote(MarketQuote("OTHER", D("1.00"), D("1.00"), D(0)))
    said = [line["type"] for second in range(300) for line in desk.act(float(second))]

    assert {"agent:status", "strategy:update"} == set(said)


@pytest.mark.parametrize(
    ("price", "bid", "ask"),
    [
        ("1.392295", "1.39224", "1.39235"),  # foreign exchange
        ("0.000000001", "0.000000001", "0.000000001"),  # the smallest that is taken, locked
        ("1e15", "1e15", "1e15"),  # the largest
        ("10.00", "10.05", "10.00"),  # crossed
        ("100", "100", "101"),  # no decimals
    ],
)
def test_any_quote_that_is_taken_can_be_traded_on(price: str, bid: str, ask: str) -> None:
    """No price that a recording may hold makes the books fail."""
    desk = TradingDesk(random.Random(1), TRADERS, "run")
    said = set()
    for second in range(600):
        desk.on_quote(MarketQuote("X", D(price), D(bid), D(ask)))
        said |= {line["type"] for line in desk.act(float(second))}

    assert {"order:fill", "position:update"} <= said


def test_a_price_may_jump_from_the_smallest_to_the_largest() -> None:
    """The books hold as many digits as that can give rise to."""
    desk = TradingDesk(random.Random(1), TRADERS, "run")
    sums: dict[str, int] = defaultdict(int)
    for second in range(600):
        price = D("0.000000001") if second % 40 < 20 else D("1e15")
        desk.on_quote(MarketQuote("X", price, price, price))
        for line in desk.act(float(second)):
            if line["type"] == "trade:new":
                sign = 1 if line["data"]["side"] == "buy" else -1
                sums[line["userId"]] += sign * line["data"]["qty"]

    held = {user_id: holding.quantity for (user_id, _), holding in desk.holdings.items()}
    assert {user_id: quantity for user_id, quantity in sums.items() if quantity} == held
