"""Tests of `sseserver.ingest.state_view`."""

import json
from typing import Any

import pytest

from sseserver.config import LimitsConfig
from sseserver.events import Event, Quote
from sseserver.hub.state_source import Payload
from sseserver.ingest.state_view import StateView
from sseserver.state.projection import Projection
from tests.support.core import request_for

ORDER = {"orderId": "o-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
HELD = {"symbol": "AAPL", "quantity": "10", "entryPrice": "150"}


def quote(event_id: int, symbol: str = "AAPL", price: float = 160) -> Quote:
    """Return a price update."""
    return Quote(event_id, symbol, price, {"symbol": symbol, "price": price})


def filled() -> Projection:
    """Return a state with an order, a position and two prices."""
    projection = Projection(LimitsConfig(), 100)
    projection.update_order("user-1", ORDER)
    projection.put_positions("user-1", [HELD], 1)
    projection.set_price(quote(2))
    projection.set_price(quote(3, "MSFT", 400))
    return projection


def read(payload: Payload) -> tuple[str, Any]:
    """Return event type and decoded payload."""
    event_type, data = payload
    return event_type, json.loads(data)


ORDERS_SNAPSHOT = ("order:update", {"snapshot": True, "orders": [ORDER], "timestamp": "now"})
POSITIONS_SNAPSHOT = (
    "position:update",
    {
        "snapshot": True,
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "150",
                "currentPrice": "160",
                "unrealizedPnL": 100.0,
            }
        ],
        "totalValue": 1600.0,
        "timestamp": "now",
    },
)
APPLE = {"symbol": "AAPL", "price": 160}
MICROSOFT = {"symbol": "MSFT", "price": 400}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("orders", [ORDERS_SNAPSHOT]),
        ("positions", [POSITIONS_SNAPSHOT]),
        ("trading", [ORDERS_SNAPSHOT, POSITIONS_SNAPSHOT]),
        ("alerts", []),
        ("ai-decisions", []),
        ("strategies/s-1", []),
    ],
)
def test_private_streams_open_with_their_state(
    stream: str, expected: list[tuple[str, Any]]
) -> None:
    """Orders and positions have a snapshot, trading both in this order, the others none."""
    view = StateView(filled())

    assert list(map(read, view.snapshot(request_for(stream), "now"))) == expected


@pytest.mark.parametrize(
    ("symbols", "prices"),
    [
        (None, [APPLE, MICROSOFT]),
        (frozenset({"MSFT"}), [MICROSOFT]),
        (frozenset({"TSLA"}), []),
        (frozenset[str](), []),
    ],
)
def test_the_price_stream_opens_with_what_was_asked_for(
    symbols: frozenset[str] | None, prices: list[dict[str, Any]]
) -> None:
    """The snapshot of prices holds all, or the symbols that were named."""
    request = request_for("prices", symbols=symbols)
    (snapshot,) = StateView(filled()).snapshot(request, "now")

    assert read(snapshot) == (
        "price:update",
        {"initializing": True, "prices": prices, "timestamp": "now"},
    )


def test_quotes_after_an_id_come_in_the_order_of_ids() -> None:
    """What moved since is asked of the projection."""
    view = StateView(filled())

    assert [one.symbol for one in view.quotes_after(None, 0)] == ["AAPL", "MSFT"]
    assert [one.symbol for one in view.quotes_after(frozenset({"AAPL", "MSFT"}), 2)] == ["MSFT"]


@pytest.mark.parametrize(
    ("stream", "last_id", "expected"),
    [
        ("positions", 1, ["position:update"]),
        ("trading", 1, ["position:update"]),
        ("positions", 2, []),
        ("ai-decisions", 3, ["agent:status"]),
        ("ai-decisions", 4, []),
        ("orders", 0, []),
        ("alerts", 0, []),
        ("strategies/s-1", 0, []),
    ],
)
def test_news_are_the_state_events_of_a_stream(
    stream: str, last_id: int, expected: list[str]
) -> None:
    """Re-valuations for positions, statuses for decisions, nothing for streams of facts."""
    projection = filled()
    projection.set_agent_status(
        "agent-1", Event(4, "agent:status", b'{"agentId":"agent-1"}', route="ai-decisions")
    )
    news = StateView(projection).news(request_for(stream), last_id, "now")

    assert [event_type for event_type, _ in news] == expected


def test_statuses_are_passed_on_as_they_were_encoded() -> None:
    """Each agent's newest status comes as the bytes that everybody was sent."""
    projection = Projection(LimitsConfig(), 100)
    for event_id, agent in ((5, "b"), (6, "a"), (7, "b")):
        data = json.dumps({"agentId": agent, "n": event_id}).encode()
        projection.set_agent_status(
            agent, Event(event_id, "agent:status", data, route="ai-decisions")
        )
    news = StateView(projection).news(request_for("ai-decisions"), 0, "now")

    assert [read(payload) for payload in news] == [
        ("agent:status", {"agentId": "a", "n": 6}),
        ("agent:status", {"agentId": "b", "n": 7}),
    ]


def test_a_revaluation_holds_what_moved() -> None:
    """It is built of the positions whose quote is newer; None where none is."""
    view = StateView(filled())
    payload = view.revaluation("user-1", 1, "now")
    assert payload is not None
    _, expected = POSITIONS_SNAPSHOT

    assert json.loads(payload) | {"snapshot": True} == expected
    assert view.revaluation("user-1", 2, "now") is None
    assert view.revaluation("nobody", 0, "now") is None


def test_watched_users_are_named_when_a_price_moves_what_they_hold() -> None:
    """Only while somebody watches, and once per call."""
    projection = filled()
    view = StateView(projection)
    view.watch("user-1")
    projection.set_price(quote(4))
    moved = list(view.take_revalued())
    again = list(view.take_revalued())
    view.unwatch("user-1")
    projection.set_price(quote(5))

    assert (moved, again, list(view.take_revalued())) == (["user-1"], [], [])
