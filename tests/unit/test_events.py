"""Tests of `sseserver.events`."""

import pytest

from sseserver.events import EVENT_TYPES, STREAM_TOPICS, Event, Quote

DELIVERED_ON = {
    "order:update": {"orders", "trading"},
    "order:fill": {"orders", "trading"},
    "trade:new": {"orders", "trading"},
    "position:update": {"positions", "trading"},
    "price:update": {"prices"},
    "ai:decision": {"ai-decisions"},
    "agent:status": {"ai-decisions"},
    "strategy:update": {"strategies"},
    "alert:new": {"alerts"},
}
"""The column "delivered on" of the contract, section 3."""


def test_each_type_is_delivered_on_the_streams_of_the_contract() -> None:
    """Types and streams meet in topics exactly as the contract's table says."""
    delivered_on = {
        name: {stream for stream, topics in STREAM_TOPICS.items() if row.topic in topics}
        for name, row in EVENT_TYPES.items()
    }

    assert DELIVERED_ON == delivered_on


def test_a_type_is_found_by_its_name() -> None:
    """The key of a row is its name."""
    assert list(EVENT_TYPES) == [row.name for row in EVENT_TYPES.values()]


@pytest.mark.parametrize("kind", ["is_broadcast", "is_state"])
def test_prices_and_agents_are_broadcast_state(kind: str) -> None:
    """Broadcasts are prices and agent status; both only say what is true now."""
    marked = {name for name, row in EVENT_TYPES.items() if getattr(row, kind)}

    assert {"price:update", "agent:status"} == marked


def test_an_event_keeps_what_it_was_made_of() -> None:
    """Every field comes back as it was given."""
    event = Event(
        4, "alert:new", b"{}", route="alerts", user_id="u", correlation_id="c", received=1.5
    )

    assert {
        "id": 4,
        "type": "alert:new",
        "data": b"{}",
        "route": "alerts",
        "user_id": "u",
        "correlation_id": "c",
        "received": 1.5,
        "frame": None,
    } == {name: getattr(event, name) for name in Event.__slots__}


def test_an_event_needs_neither_user_nor_feed() -> None:
    """What the server makes itself concerns nobody by name and was never received."""
    event = Event(4, "test", b"{}", route="")

    assert (None, None, 0.0) == (event.user_id, event.correlation_id, event.received)


def test_an_event_shows_what_tells_it_apart() -> None:
    """The representation names type, ID, route and user, and no payload."""
    event = Event(4, "alert:new", b'{"secret":1}', route="alerts", user_id="u")

    assert "<Event alert:new id=4 route=alerts user=u>" == repr(event)


def test_a_quote_keeps_what_it_was_made_of() -> None:
    """Every field comes back as it was given; its data is not encoded yet."""
    data = {"symbol": "AAPL"}
    quote = Quote(4, "AAPL", "187.5", data, correlation_id="c", received=1.5)

    assert {
        "id": 4,
        "symbol": "AAPL",
        "price": "187.5",
        "data": data,
        "correlation_id": "c",
        "received": 1.5,
        "frame": None,
    } == {name: getattr(quote, name) for name in Quote.__slots__}


def test_a_quote_shows_its_price() -> None:
    """The representation names symbol, price and ID."""
    assert "<Quote AAPL 187.5 id=4>" == repr(Quote(4, "AAPL", 187.5, {}))
