"""The table of event types, the streams that carry them, and the event itself.

A new event type is one row in `EVENT_TYPES` here and one struct in `ingest.messages`.

Two kinds of event (contract section 5): a *fact* is delivered to everybody it concerns, in
order, and kept for replay; a *state event* only says what is true now, so a newer one may
replace an older one that has not been sent yet.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object after validation and redaction; its values are JSON values."""


class Topic(StrEnum):
    """What an event is about; a stream carries one topic or more."""

    ORDERS = "orders"
    POSITIONS = "positions"
    PRICES = "prices"
    AI_DECISIONS = "ai-decisions"
    STRATEGIES = "strategies"
    ALERTS = "alerts"


class EventType(NamedTuple):
    """One row of the specification's table of event types."""

    name: str
    topic: Topic
    is_broadcast: bool = False
    is_state: bool = False


EVENT_TYPES: Final[Mapping[str, EventType]] = {
    row.name: row
    for row in (
        EventType("order:update", Topic.ORDERS),
        EventType("order:fill", Topic.ORDERS),
        EventType("trade:new", Topic.ORDERS),
        EventType("position:update", Topic.POSITIONS),
        EventType("price:update", Topic.PRICES, is_broadcast=True, is_state=True),
        EventType("ai:decision", Topic.AI_DECISIONS),
        EventType("agent:status", Topic.AI_DECISIONS, is_broadcast=True, is_state=True),
        EventType("strategy:update", Topic.STRATEGIES),
        EventType("alert:new", Topic.ALERTS),
    )
}
"""Every event type a feed may publish, by name (contract section 3)."""

STREAM_TOPICS: Final[Mapping[str, frozenset[Topic]]] = {
    "orders": frozenset({Topic.ORDERS}),
    "positions": frozenset({Topic.POSITIONS}),
    "prices": frozenset({Topic.PRICES}),
    "trading": frozenset({Topic.ORDERS, Topic.POSITIONS}),
    "ai-decisions": frozenset({Topic.AI_DECISIONS}),
    "strategies": frozenset({Topic.STRATEGIES}),
    "alerts": frozenset({Topic.ALERTS}),
}
"""The topics each stream endpoint carries; `strategies` is narrowed to one strategy."""


class Event:
    """One event with its ID, encoded at most once.

    `data` is the encoded JSON payload (UTF-8, no raw CR or LF), `route` the topic's name or
    `strategies/{id}`, `received` the monotonic time in seconds at which its line was read
    (0.0 when it did not come from a feed), and `frame` the SSE frame once it has been made.
    """

    __slots__ = ("correlation_id", "data", "frame", "id", "received", "route", "type", "user_id")

    def __init__(  # noqa: PLR0913 - the fields of one record
        self,
        event_id: int,
        event_type: str,
        data: bytes,
        *,
        route: str,
        user_id: str | None = None,
        correlation_id: str | None = None,
        received: float = 0.0,
    ) -> None:
        self.id = event_id
        self.type = event_type
        self.data = data
        self.route = route
        self.user_id = user_id
        self.correlation_id = correlation_id
        self.received = received
        self.frame: bytes | None = None

    def __repr__(self) -> str:
        return f"<Event {self.type} id={self.id} route={self.route} user={self.user_id}>"


class Quote:
    """The newest price of one instrument, encoded only when somebody is sent it.

    `data` is whatever `msgspec.json.encode` turns into the event's payload; `price` is the
    number or decimal string of the feed. `id` starts as the ingest ID and becomes the ID on
    the wire where the update was held back (contract section 5).
    """

    __slots__ = ("correlation_id", "data", "frame", "id", "price", "received", "symbol")

    def __init__(
        self,
        event_id: int,
        symbol: str,
        price: float | str,
        data: Any,
        *,
        correlation_id: str | None = None,
        received: float = 0.0,
    ) -> None:
        self.id = event_id
        self.symbol = symbol
        self.price = price
        self.data = data
        self.correlation_id = correlation_id
        self.received = received
        self.frame: bytes | None = None

    def __repr__(self) -> str:
        return f"<Quote {self.symbol} {self.price} id={self.id}>"
