"""What the records of a state file must be, beyond their form, before anything is made of them.

A checksum tells a damaged file from a whole one, not a sensible one from one that somebody
edited, or that another program wrote. What is looked at is what would do harm later, when no
file can be set aside any more: in the bytes of a stream, in a computation, at the next save.

Source: contract section 7, "a damaged file is reported, set aside and not fatal".
"""

import math
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sseserver.errors import StateFileError
from sseserver.events import EVENT_TYPES, JsonObject
from sseserver.ingest.fields import Name, Price, Size
from sseserver.ingest.redaction import MAX_LEVELS
from sseserver.saved import (
    Closing,
    Opening,
    Record,
    SavedBuffer,
    SavedEvent,
    SavedKey,
    SavedLoss,
    SavedOrders,
    SavedPosition,
    SavedQuote,
    SavedSession,
    SavedStrategy,
    unpack_id,
)

_decode_object: Final = msgspec.json.Decoder(JsonObject).decode
_decode_objects: Final = msgspec.json.Decoder(list[JsonObject]).decode

_Decimal: TypeAlias = Annotated[str, Meta(pattern=r"^-?[0-9]{1,16}(?:\.[0-9]{1,400})?\Z")]
"""As `state.decimals` writes them; the smallest float has 324 digits behind the point."""


class _Quote(Struct, gc=False):
    """What is computed with of a quote's payload."""

    price: Price


class _Order(Struct, gc=False):
    """What is computed with of an order."""

    orderId: Name  # noqa: N815 - fields are named as on the wire
    status: Name
    qty: Size | UnsetType = UNSET


class _Position(Struct, gc=False):
    """What is computed with of a position."""

    quantity: _Decimal
    entry: _Decimal
    price: _Decimal


def check(records: Sequence[Record], closing: Closing) -> None:
    """Look at the records between the first and the last one.

    Raises:
        StateFileError: One says what no server has written.
    """
    users = [record.user_id for record in records if isinstance(record, SavedBuffer)]
    if len(set(users)) < len(users):
        raise StateFileError("a user has two buffers")
    try:
        last_id = unpack_id(closing.last_id)
        _check_id(closing.start_id, last_id)
        _check_id(closing.last_id, unpack_id(closing.reserved_id))
        for record in records:
            _check_record(record, last_id)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise StateFileError(f"a record is none that a server has written: {error}") from error


def _check_record(record: Record, last_id: int) -> None:
    match record:
        case Opening() | Closing():
            raise ValueError("it begins or ends twice")
        case SavedQuote():
            _check_id(record.event_id, last_id)
            msgspec.convert(_shallow(_decode_object(record.data)), _Quote)
        case SavedOrders():
            msgspec.convert(list(map(_shallow, _decode_objects(record.orders))), list[_Order])
        case SavedPosition():
            given = {name: getattr(record, name) for name in _Position.__struct_fields__}
            msgspec.convert(given, _Position)
            _shallow(_decode_object(record.extra))
        case SavedLoss():
            _check_id(record.last_id, last_id)
        case SavedBuffer():
            _check_buffer(record, last_id)
        case SavedKey():
            _check_id(record.event_id, last_id)
            _check_finite(record.age_seconds)
        case SavedSession() | SavedStrategy():
            pass


def _check_buffer(buffer: SavedBuffer, last_id: int) -> None:
    _check_finite(buffer.idle_seconds)
    for evicted in buffer.evicted.values():
        _check_id(evicted, last_id)
    newest_id = 0
    for event in buffer.events:
        event_id = _check_id(event.event_id, last_id)
        if event_id <= newest_id:
            raise ValueError("the IDs of a buffer do not rise")
        newest_id = event_id
        _check_event(event)


def _check_event(event: SavedEvent) -> None:
    """Refuse what is not one line of a stream."""
    if event.type not in EVENT_TYPES or b"\n" in event.data or b"\r" in event.data:
        raise ValueError("an event is none that is kept")
    _decode_object(event.data)


def _check_id(packed: bytes, last_id: int) -> int:
    event_id = unpack_id(packed)
    if event_id > last_id:
        raise ValueError("an ID is later than the last one")
    return event_id


def _check_finite(seconds: float) -> None:
    if not math.isfinite(seconds):
        raise ValueError("a time is endless")


def _shallow(value: JsonObject) -> JsonObject:
    """Return an object whose nesting redaction lets through; it can be encoded again."""
    containers: list[JsonObject | list[object]] = [value]
    for _ in range(MAX_LEVELS):
        containers = [
            item
            for one in containers
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, (dict, list))
        ]
        if not containers:
            return value
    raise ValueError("it is nested too deep")
