"""One line of a feed: from bytes to a typed message. Nothing behind it sees an unchecked dict.

A publish line with known fields only costs one msgspec decode. Whatever that refuses is read
again as plain JSON and decided by the book: it is an operation, it holds unknown fields or
nulls, or it is wrong and the feed is told where. Both ways validate with the same structs.

What the contract leaves open: `null` in an optional field means that it was left out (not in
`details`, which is any JSON value); of duplicate keys the last counts; unknown fields beside
`data` are ignored, inside it they pass through. Those that only the snapshot of the topic has
(`_SNAPSHOT_FIELDS`) are left out, as internal ones are: an order must not pose as all orders.

Source: contract section 3.
"""

# ruff: noqa: N815 - fields are named as on the wire

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import EVENT_TYPES, JsonObject, Topic
from sseserver.ingest.fields import Name, Reference, is_plain
from sseserver.ingest.operations import Operation, OperationMessage, operation_message
from sseserver.ingest.payloads import (
    AgentStatus,
    AiDecision,
    AlertNew,
    OrderFill,
    OrderUpdate,
    PositionUpdate,
    PriceUpdate,
    StrategyUpdate,
    TradeNew,
)
from sseserver.ingest.validation import (
    check_names,
    convert,
    known_part,
    read_object,
    shape_of,
    too_deep,
)

if TYPE_CHECKING:
    _Extra: TypeAlias = JsonObject | None
else:
    _Extra = None  # for msgspec: a field `extra` on the line is as unknown as any other

_ENVELOPE: Final = ("ref", "userId", "data", "correlationId", "key")

_SNAPSHOT_FIELDS: Final[Mapping[Topic, tuple[str, ...]]] = {
    Topic.ORDERS: ("snapshot", "orders"),
    Topic.POSITIONS: ("snapshot",),
    Topic.PRICES: ("initializing", "prices"),
}
"""What only the snapshot of a topic has (contract section 4, step 4); no event of the topic
passes it through. `positions` and `totalValue` are in every `position:update`: those of a feed
pass into the entry of the position, where they stand for nothing."""


class Publish(Struct, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="type"):
    """What all publish lines have.

    `extra` is the whole `data` as it came, where it holds fields that its struct does not know.
    """

    event_type: ClassVar[str]

    op: Literal["publish"] = "publish"
    ref: Reference | None = None
    correlationId: Name | None = None
    key: Name | None = None
    extra: _Extra = None


class PublishOrderUpdate(Publish, tag="order:update"):
    """An `order:update`."""

    event_type: ClassVar[str] = "order:update"
    data: OrderUpdate
    userId: Name


class PublishOrderFill(Publish, tag="order:fill"):
    """An `order:fill`."""

    event_type: ClassVar[str] = "order:fill"
    data: OrderFill
    userId: Name


class PublishTradeNew(Publish, tag="trade:new"):
    """A `trade:new`."""

    event_type: ClassVar[str] = "trade:new"
    data: TradeNew
    userId: Name


class PublishPositionUpdate(Publish, tag="position:update"):
    """A `position:update`."""

    event_type: ClassVar[str] = "position:update"
    data: PositionUpdate
    userId: Name


class PublishPriceUpdate(Publish, tag="price:update"):
    """A `price:update`, for everybody."""

    event_type: ClassVar[str] = "price:update"
    data: PriceUpdate
    userId: None = None


class PublishAiDecision(Publish, tag="ai:decision"):
    """An `ai:decision`."""

    event_type: ClassVar[str] = "ai:decision"
    data: AiDecision
    userId: Name


class PublishAgentStatus(Publish, tag="agent:status"):
    """An `agent:status`, for everybody."""

    event_type: ClassVar[str] = "agent:status"
    data: AgentStatus
    userId: None = None


class PublishStrategyUpdate(Publish, tag="strategy:update"):
    """A `strategy:update`; a registered strategy says itself whose it is."""

    event_type: ClassVar[str] = "strategy:update"
    data: StrategyUpdate
    userId: Name | None = None


class PublishAlertNew(Publish, tag="alert:new"):
    """An `alert:new`."""

    event_type: ClassVar[str] = "alert:new"
    data: AlertNew
    userId: Name


PublishMessage: TypeAlias = (
    PublishOrderUpdate
    | PublishOrderFill
    | PublishTradeNew
    | PublishPositionUpdate
    | PublishPriceUpdate
    | PublishAiDecision
    | PublishAgentStatus
    | PublishStrategyUpdate
    | PublishAlertNew
)
"""Whatever a feed publishes; a new event type is one more here and in `ingest.payloads`."""

Message: TypeAlias = PublishMessage | OperationMessage

_SHAPES: Final[Mapping[str, type[PublishMessage]]] = {
    shape.event_type: shape for shape in get_args(PublishMessage)
}

_decode_usual: Final[Callable[[bytes], PublishMessage]] = msgspec.json.Decoder(
    PublishMessage
).decode
_decode_reference: Final = msgspec.json.Decoder(Operation).decode


def decode(line: bytes) -> Message:
    """Return the message of one line.

    Args:
        line: One JSON object without its newline.

    Raises:
        FeedError: The line is wrong; with the path of the fault where there is one, and the
            line's `ref` where that could be read.
    """
    try:
        message = _decode_usual(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_with_care(line)
    if not is_plain(line):
        try:
            _check_all_names(message)
        except FeedError as error:
            error.ref = message.ref
            raise
    return message


def data_object(message: PublishMessage) -> JsonObject:
    """Return the payload as a plain object, the caller's to change; what was left out is not in it.

    Unknown fields are.

    Raises:
        FeedError: It is nested so deep that it could just be read.
    """
    if message.extra is not None:
        return message.extra
    try:
        data: JsonObject = msgspec.to_builtins(message.data)
    except RecursionError as error:  # more calls stand above this one than above the decoder
        raise too_deep("$.data") from error
    return data


def _decode_with_care(line: bytes) -> Message:
    """Decode what is not a usual publish line, or say what is wrong with it."""
    try:
        given = read_object(line)
    except FeedError as error:
        if error.code is not FeedErrorCode.INVALID_JSON:
            error.ref = _read_reference(line)
        raise
    ref = convert(given, Operation).ref
    try:
        op = given.get("op")
        if op is None or op == "publish":
            return _publish_message(given)
        return operation_message(given, op)
    except FeedError as error:
        error.ref = ref
        raise


def _read_reference(line: bytes) -> str | int | None:
    """Return the `ref` of a line of which nothing else can be read, None where that fails too."""
    try:
        return _decode_reference(line).ref
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _publish_message(given: JsonObject) -> PublishMessage:
    shape = shape_of(_SHAPES, "type", given.get("type"), FeedErrorCode.UNKNOWN_TYPE)
    if EVENT_TYPES[shape.event_type].is_broadcast and given.get("userId") is not None:
        words = f"`{shape.event_type}` goes to everybody and takes no `userId`"
        raise FeedError(FeedErrorCode.INVALID_MESSAGE, words, path="$.userId")
    envelope = {name: given[name] for name in _ENVELOPE if name in given}
    data = envelope.get("data")
    if not isinstance(data, dict):
        return convert(envelope, shape)  # which says what it has to be
    for name in _SNAPSHOT_FIELDS.get(EVENT_TYPES[shape.event_type].topic, ()):
        data.pop(name, None)
    known = known_part(data, shape.__annotations__["data"])
    message = convert(envelope | {"data": known}, shape)
    _check_all_names(message)
    if len(known) < len(data):
        message.extra = data
    return message


def _check_all_names(message: PublishMessage) -> None:
    check_names(message, "$")
    check_names(message.data, "$.data")
