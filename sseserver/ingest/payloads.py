"""The `data` of each event type a feed may publish: one struct per row of the contract's table.

Fields have the names they have on the wire. What a feed left out is `UNSET` and is left out
again when a struct is encoded. `timestamp` comes last everywhere, as in the specification.

The characters of names are not checked here (`ingest.validation.check_names`), timestamps are.
Structs refuse unknown fields, so that the one decode of the usual line also tells that it holds
nothing else. The garbage collector need not look at them: what was decoded from JSON is a tree.

Prices may be negative (`Price`); what is ordered, filled or traded may not (`Size`, `Volume`).

Source: contract section 3.
"""

# ruff: noqa: N815 - fields are named as on the wire

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from sseserver.ingest.fields import (
    AlertLevel,
    Confidence,
    FieldError,
    Name,
    Number,
    Price,
    Side,
    Size,
    StrategyStatus,
    Text,
    UncheckedTimestamp,
    Volume,
    check_timestamp,
)


class Payload(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What all payloads have: a timestamp, filled in by the pipeline where it is missing."""

    timestamp: UncheckedTimestamp | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.timestamp is not UNSET:
            check_timestamp(self.timestamp)


class OrderUpdate(Payload):
    """`order:update`, and one order of `orders.put`."""

    orderId: Name
    symbol: Name
    side: Side
    qty: Size
    status: Name
    filledQty: Volume | UnsetType = UNSET
    filledAvgPrice: Price | UnsetType = UNSET
    limitPrice: Price | UnsetType = UNSET
    reason: Text | UnsetType = UNSET


class OrderFill(Payload):
    """`order:fill`; `filledQty` is cumulative."""

    orderId: Name
    filledQty: Volume
    filledAvgPrice: Price
    symbol: Name | UnsetType = UNSET
    side: Side | UnsetType = UNSET
    qty: Size | UnsetType = UNSET


class TradeNew(Payload):
    """`trade:new`."""

    tradeId: Name
    symbol: Name
    side: Side
    qty: Size
    price: Price
    orderId: Name | UnsetType = UNSET


class PositionUpdate(Payload):
    """`position:update`; `quantity` is what is held from now on, 0 closes."""

    symbol: Name
    quantity: Number
    entryPrice: Price | UnsetType = UNSET
    currentPrice: Price | UnsetType = UNSET
    exitPrice: Price | UnsetType = UNSET
    realizedPnL: Number | UnsetType = UNSET


class HeldPosition(Payload):
    """One position of `positions.put`."""

    symbol: Name
    quantity: Number
    entryPrice: Price
    currentPrice: Price | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if not float(self.quantity):
            raise FieldError("quantity", "Expected a quantity other than 0")


class PriceUpdate(Payload):
    """`price:update`."""

    symbol: Name
    price: Price
    bid: Price | UnsetType = UNSET
    ask: Price | UnsetType = UNSET
    volume: Volume | UnsetType = UNSET


class AiDecision(Payload):
    """`ai:decision`; `details` is any JSON value."""

    decisionId: Name
    action: Text
    symbol: Name | UnsetType = UNSET
    confidence: Confidence | UnsetType = UNSET
    reasoning: Text | UnsetType = UNSET
    details: Any = UNSET


class AgentStatus(Payload):
    """`agent:status`."""

    agentId: Name
    status: Text
    message: Text | UnsetType = UNSET


class StrategyUpdate(Payload):
    """`strategy:update`: a change of status, a signal, or both."""

    strategyId: Name
    status: StrategyStatus | UnsetType = UNSET
    signalType: Text | UnsetType = UNSET
    symbol: Name | UnsetType = UNSET
    action: Text | UnsetType = UNSET
    confidence: Confidence | UnsetType = UNSET
    details: Any = UNSET
    reasoning: Text | UnsetType = UNSET
    error: Text | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.status is UNSET and self.signalType is UNSET:
            raise ValueError("Object missing `status` or `signalType`")


class AlertNew(Payload):
    """`alert:new`."""

    alertId: Name
    level: AlertLevel
    message: Text
