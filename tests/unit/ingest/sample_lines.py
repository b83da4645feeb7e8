"""Lines of a feed that are right, to be taken as they are or broken in one place."""

from collections.abc import Mapping
from typing import Final

import msgspec
import pytest

from sseserver.errors import FeedError
from sseserver.events import EVENT_TYPES, JsonObject
from sseserver.ingest import messages

TIMESTAMP: Final = "2026-01-02T10:30:00.123Z"

PAYLOADS: Final[Mapping[str, JsonObject]] = {
    "order:update": {
        "orderId": "ord-123",
        "symbol": "AAPL",
        "side": "buy",
        "qty": 10,
        "status": "filled",
        "filledQty": 10,
        "filledAvgPrice": 150.25,
        "limitPrice": "151.00",
        "reason": "limit\nreached",
        "timestamp": TIMESTAMP,
    },
    "order:fill": {
        "orderId": "ord-123",
        "filledQty": 0,
        "filledAvgPrice": "150.25",
        "symbol": "AAPL",
        "side": "sell",
        "qty": 10,
        "timestamp": TIMESTAMP,
    },
    "trade:new": {
        "tradeId": "t-1",
        "symbol": "AAPL",
        "side": "sell",
        "qty": "0.5",
        "price": 0,
        "orderId": "ord-123",
        "timestamp": TIMESTAMP,
    },
    "position:update": {
        "symbol": "AAPL",
        "quantity": -10,
        "entryPrice": "150.00",
        "currentPrice": 152.5,
        "exitPrice": 153,
        "realizedPnL": "-12.50",
        "timestamp": TIMESTAMP,
    },
    "price:update": {
        "symbol": "AAPL",
        "price": 152.5,
        "bid": 152.48,
        "ask": "152.52",
        "volume": 1000,
        "timestamp": TIMESTAMP,
    },
    "ai:decision": {
        "decisionId": "d-1",
        "action": "hold",
        "symbol": "AAPL",
        "confidence": 0.85,
        "reasoning": "nothing moves",
        "details": {"signals": [1, None, {"name": "rsi"}]},
        "timestamp": TIMESTAMP,
    },
    "agent:status": {
        "agentId": "a-1",
        "status": "running",
        "message": "",
        "timestamp": TIMESTAMP,
    },
    "strategy:update": {
        "strategyId": "s-1",
        "status": "started",
        "signalType": "entry",
        "symbol": "AAPL",
        "action": "buy",
        "confidence": 1,
        "details": None,
        "reasoning": "volume",
        "error": "",
        "timestamp": TIMESTAMP,
    },
    "alert:new": {
        "alertId": "al-1",
        "level": "warning",
        "message": "margin at 80 %",
        "timestamp": TIMESTAMP,
    },
}
"""For each event type a `data` with every field that the contract knows."""


def envelope(event_type: str, data: object) -> JsonObject:
    """Return a publish message with a reference, and a user where the type needs one."""
    fields: JsonObject = {"op": "publish", "ref": 1, "type": event_type}
    if not EVENT_TYPES[event_type].is_broadcast:
        fields["userId"] = "user-1"
    return fields | {"data": data, "correlationId": "c-1"}


def line(fields: object) -> bytes:
    """Return the line of a message."""
    return msgspec.json.encode(fields)


def price_line(**data: object) -> bytes:
    """Return the line of a `price:update`; `data` replaces or adds fields of its payload."""
    return line({"type": "price:update", "data": {"symbol": "AAPL", "price": 1} | data})


def refused(bad_line: bytes) -> FeedError:
    """Return the error with which a line is refused; it has to be."""
    with pytest.raises(FeedError) as refusal:
        messages.decode(bad_line)
    return refusal.value


def fault(bad_line: bytes) -> tuple[str, str | None]:
    """Return code and path of the error with which a line is refused."""
    error = refused(bad_line)
    return error.code, error.path
