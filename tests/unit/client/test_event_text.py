"""Tests for `sseserver.client.event_text`."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseserver.client.event_text import _DESCRIPTIONS, event_line, parse_json

NOW = datetime(2026, 1, 2, 10, 30, 0, 250_000, UTC)


def text_of(event_type: str, data: Any) -> str:
    """Return what stands behind time and type."""
    line = event_line(event_type, json.dumps(data), NOW, has_colour=False)
    before = f"10:30:00.250 {event_type:<18} "
    assert line.startswith(before)
    return line.removeprefix(before)


@pytest.mark.parametrize(
    ("event_type", "data", "text"),
    [
        (
            "connected",
            {"stream": "orders", "clientId": "u-orders-1", "correlationId": "c", "replay": 3},
            "orders as u-orders-1 replaying 3",
        ),
        (
            "stream:gap",
            {"lastEventId": "1-abc", "reason": "evicted"},
            "events may be lost after 1-abc - evicted",
        ),
        (
            "order:update",
            {
                "orderId": "o-1",
                "symbol": "AAPL",
                "side": "buy",
                "qty": 10,
                "limitPrice": 187.2,
                "status": "canceled",
                "reason": "expired",
            },
            "o-1 buy 10 AAPL limit 187.2 canceled because expired",
        ),
        (
            "order:update",
            {
                "snapshot": True,
                "orders": [{"status": "new"}, {"status": "filled"}, {"status": "new"}, {}],
            },
            "snapshot: 4 orders (2 new, 1 filled, 1 ?)",
        ),
        ("order:update", {"snapshot": True, "orders": []}, "snapshot: 0 orders"),
        (
            "order:fill",
            {
                "orderId": "o-1",
                "symbol": "AAPL",
                "side": "buy",
                "qty": 10,
                "filledQty": 4,
                "filledAvgPrice": "187.20",
                "status": "partially_filled",
            },
            "o-1 buy 4 of 10 AAPL at 187.20 partially_filled",
        ),
        (
            "trade:new",
            {"tradeId": "t-1", "symbol": "AAPL", "side": "sell", "qty": 4, "price": 187.2},
            "t-1 sell 4 AAPL at 187.2",
        ),
        (
            "position:update",
            {
                "positions": [
                    {
                        "symbol": "AAPL",
                        "quantity": "10",
                        "entryPrice": "150.00",
                        "currentPrice": "152.50",
                        "unrealizedPnL": 25.0,
                    },
                    {"symbol": "MSFT", "quantity": "0", "realizedPnL": -3.5},
                ],
                "totalValue": 1525.0,
            },
            "AAPL 10 at 150.00 now 152.50 P&L 25.0; MSFT 0 realised -3.5 total 1525.0",
        ),
        (
            "position:update",
            {"snapshot": True, "positions": [{"symbol": "AAPL"}, {}], "totalValue": 0},
            "snapshot: 2 positions AAPL ? total 0",
        ),
        (
            "price:update",
            {"symbol": "AAPL", "price": 585.62, "bid": 585.33, "ask": 585.94},
            "AAPL 585.33 x 585.94 last 585.62",
        ),
        ("price:update", {"symbol": "AAPL", "price": 585.62}, "AAPL last 585.62"),
        (
            "price:update",
            {"symbol": "CL", "price": -37.63, "bid": "-37.65", "ask": 0},
            "CL -37.65 x 0 last -37.63",
        ),
        (
            "price:update",
            {"initializing": True, "prices": [{"symbol": f"S{n}"} for n in range(10)]},
            "snapshot: 10 prices S0 S1 S2 S3 S4 S5 S6 S7 and 2 more",
        ),
        (
            "ai:decision",
            {
                "decisionId": "d-1",
                "action": "buy",
                "symbol": "AAPL",
                "confidence": 0.82,
                "reasoning": "cheap",
            },
            "buy AAPL confidence 0.82 - cheap",
        ),
        (
            "agent:status",
            {"agentId": "a-1", "status": "idle", "message": "nothing to do"},
            "a-1 idle - nothing to do",
        ),
        (
            "strategy:update",
            {"strategyId": "s-1", "status": "error", "error": "no data"},
            "s-1 error - no data",
        ),
        (
            "strategy:update",
            {"strategyId": "s-1", "signalType": "entry", "action": "buy", "symbol": "AAPL"},
            "s-1 entry buy AAPL",
        ),
        ("alert:new", {"alertId": "a", "level": "error", "message": "Stop"}, "ERROR Stop"),
        ("test", {"message": "hello"}, "hello"),
        ("connection:limit", {"limit": 10, "message": "Too many"}, "Too many limit 10"),
        (
            "connection:refused",
            {"reason": "draining", "retryAfterMs": 1500},
            "draining - next try in 1.5 s",
        ),
        (
            "connection:refused",
            {"reason": "attempt_limit", "retryAfterMs": 42_000},
            "attempt_limit - next try in 42 s",
        ),
        ("connection:refused", {"reason": "draining"}, "draining"),
        ("connection:refused", {"retryAfterMs": "soon"}, "- retry after ms soon"),
        ("session:expired", {"message": "Session ended"}, "Session ended"),
        ("server:shutdown", {"message": "Bye"}, "Bye"),
        ("custom", {"a": [1, "é"], "b": None}, '{"a": [1, "é"], "b": null}'),
        ("custom", [1, 2], "[1, 2]"),
    ],
)
def test_an_event_is_one_readable_line(event_type: str, data: Any, text: str) -> None:
    """Each type shows its key fields, snapshots are summed up, unknown types are shown whole."""
    assert text == text_of(event_type, data)


def test_a_wait_past_any_float_is_shown_as_it_is() -> None:
    """A peer may write any number."""
    assert text_of("connection:refused", {"retryAfterMs": 10**400}).endswith(f"ms {10**400}")


@pytest.mark.parametrize("event_type", _DESCRIPTIONS)
def test_what_events_say_begins_in_one_column(event_type: str) -> None:
    """No type is too long for the others to be aligned with it."""
    assert event_line(event_type, "text", NOW, has_colour=False)[32:] == "text"


def test_data_that_is_not_json_is_shown_as_it_is() -> None:
    """Any server's text is text."""
    assert event_line("news", "it rains", NOW, has_colour=False) == (
        "10:30:00.250 news               it rains"
    )


def test_the_events_own_time_is_shown_in_the_readers_zone() -> None:
    """A replayed event shows when it happened, not when it came."""
    now = NOW.astimezone(timezone(timedelta(hours=2)))
    data = '{"symbol":"A","price":1,"timestamp":"2026-01-02T09:15:00.007Z"}'

    assert event_line("price:update", data, now, has_colour=False) == (
        "11:15:00.007 price:update       A last 1"
    )


@pytest.mark.parametrize("timestamp", ["yesterday", 12, None, "0001-01-01T00:00:00+23:00"])
def test_a_strange_time_is_replaced_by_now(timestamp: object) -> None:
    """A time that cannot be read or shown does not hide the event."""
    now = NOW.astimezone(timezone(-timedelta(hours=2)))
    data = json.dumps({"message": "x", "timestamp": timestamp})

    assert event_line("test", data, now, has_colour=False) == "08:30:00.250 test               x"


def test_colour_surrounds_the_padded_type_alone() -> None:
    """On a terminal the type is coloured, and columns stay aligned."""
    line = event_line("order:fill", '{"orderId":"o-1"}', NOW, has_colour=True)

    assert line == "10:30:00.250 \x1b[32morder:fill        \x1b[0m o-1"


@pytest.mark.parametrize("event_type", ["price:update", "unheard-of"])
def test_types_without_a_colour_have_none(event_type: str) -> None:
    """What comes most and what is unknown is not coloured."""
    assert "\x1b" not in event_line(event_type, "{}", NOW, has_colour=True)


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Neither type, nor fields, nor text of a peer can command the terminal."""
    line = event_line("evil\x1b[2J", r'{"message":"\u001b[2J\n"}', NOW, has_colour=False)

    assert line == r'10:30:00.250 evil\u001b[2J      {"message": "\u001b[2J\n"}'
    assert event_line("test", '{"message":"\\u001b[2J"}', NOW, has_colour=False).isprintable()
    assert event_line("test", "\x1b[2J", NOW, has_colour=False).isprintable()


def test_data_of_any_depth_is_shown() -> None:
    """Nesting at the limit of the parser, or past it, ends in text and not in an error."""
    for depth in range(800, 1100):
        data = '{"a":' * depth + "1" + "}" * depth
        assert event_line("custom", data, NOW, has_colour=False).endswith("}" * depth)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        ["snapshot", "orders", "positions", "prices", "initializing", "symbol", "timestamp"]
    ),
    JSON,
)


@given(st.sampled_from([*_DESCRIPTIONS, "other"]), FIELDS | JSON)
def test_no_data_makes_it_fail(event_type: str, data: Any) -> None:
    """Whatever the fields hold, the result is one printable line."""
    assert event_line(event_type, json.dumps(data), NOW, has_colour=False).isprintable()


@pytest.mark.parametrize(
    ("text", "value"), [('{"a":1}', {"a": 1}), ("", ""), ("{", "{"), ("[" * 9999, "[" * 9999)]
)
def test_json_is_parsed_and_all_else_is_text(text: str, value: object) -> None:
    """What is not JSON comes back as it was."""
    assert value == parse_json(text)
