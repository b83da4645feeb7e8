"""The lines of a feed that publish nothing: sessions, strategies, state from elsewhere, ping.

They are rare beside what is published, so they are read as plain JSON first and need no decoder
of their own. Unknown fields are ignored, but those of an order or a position pass through.

Source: contract section 3, the table of operations.
"""

# ruff: noqa: N815 - fields are named as on the wire

from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct

from sseserver.errors import FeedErrorCode
from sseserver.events import JsonObject
from sseserver.ingest.fields import CheckedName, Expiry, Reference
from sseserver.ingest.payloads import HeldPosition, OrderUpdate
from sseserver.ingest.validation import check_names, convert, known_part, shape_of
from sseserver.state.sessions import Role


class Operation(Struct, kw_only=True, frozen=True, gc=False):
    """What all other lines have."""

    ref: Reference | None = None


class SessionPut(Operation, frozen=True):
    """`session.put`: a session becomes valid, or changes."""

    sessionId: CheckedName
    userId: CheckedName
    expiresAt: Expiry | None = None
    role: Role = "user"

    @property
    def expires_at_ms(self) -> int | None:
        """When it ends, in Unix milliseconds; None for never."""
        if self.expiresAt is None:
            return None
        moment = self.expiresAt
        seconds = moment.timestamp() if isinstance(moment, datetime) else moment
        return round(seconds * 1000)


class SessionDelete(Operation, frozen=True):
    """`session.delete`: a session is revoked."""

    sessionId: CheckedName


class StrategyPut(Operation, frozen=True):
    """`strategy.put`: a strategy belongs to a user."""

    strategyId: CheckedName
    userId: CheckedName


class StrategyDelete(Operation, frozen=True):
    """`strategy.delete`: a strategy is forgotten."""

    strategyId: CheckedName
    userId: CheckedName | None = None


class OrdersPut(Operation, frozen=True):
    """`orders.put`: these are a user's orders; each is valid as `order:update` data."""

    userId: CheckedName
    orders: list[JsonObject]
    notify: bool = False


class PositionsPut(Operation, frozen=True):
    """`positions.put`: these are a user's positions; each is a valid `HeldPosition`."""

    userId: CheckedName
    positions: list[JsonObject]
    notify: bool = False


class Ping(Operation, frozen=True):
    """`ping`: asks for an answer."""


OperationMessage: TypeAlias = (
    SessionPut | SessionDelete | StrategyPut | StrategyDelete | OrdersPut | PositionsPut | Ping
)

_SHAPES: Final[Mapping[str, type[OperationMessage]]] = {
    "session.put": SessionPut,
    "session.delete": SessionDelete,
    "strategy.put": StrategyPut,
    "strategy.delete": StrategyDelete,
    "orders.put": OrdersPut,
    "positions.put": PositionsPut,
    "ping": Ping,
}


def operation_message(given: JsonObject, op: object) -> OperationMessage:
    """Return the operation `op` of a line that was read as plain JSON.

    Raises:
        FeedError: There is no such operation, or its fields do not fit.
    """
    shape = shape_of(_SHAPES, "op", op, FeedErrorCode.UNKNOWN_OP)
    message = convert(known_part(given, shape), shape)
    match message:
        case OrdersPut():
            orders = [known_part(order, OrderUpdate) for order in message.orders]
            for place, order in enumerate(convert(orders, list[OrderUpdate], "$.orders")):
                check_names(order, f"$.orders[{place}]")
        case PositionsPut():
            positions = [known_part(position, HeldPosition) for position in message.positions]
            for place, held in enumerate(convert(positions, list[HeldPosition], "$.positions")):
                check_names(held, f"$.positions[{place}]")
        case _:
            pass
    return message
