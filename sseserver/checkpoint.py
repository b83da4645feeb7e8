"""From the stores to the records of a state file, and back.

Saving is cut into as many pieces as there are records, so that whoever drives it can let events
through in between. Replay buffers and keys are of one moment all the same, that of the first
record: a retry of what is not in a buffer is published, and of what is in one is not. What is
true now is of a later moment, so that a snapshot is never older than what was replayed before it.
What is newer than a file is lost with a crash, of which clients are told.

Source: contract section 7.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from sseserver.clock import Clock
from sseserver.errors import StateFileError
from sseserver.event_id import EventIdGenerator
from sseserver.events import Event
from sseserver.hub.hub import Hub
from sseserver.ingest.recent_keys import RecentKeys
from sseserver.record_checks import check
from sseserver.saved import (
    VERSION,
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
    pack_id,
    unpack_id,
)
from sseserver.state.projection import Projection
from sseserver.state.sessions import Sessions, StrategyOwners

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Record).decode


class Stores(NamedTuple):
    """Everything that survives a restart."""

    hub: Hub
    projection: Projection
    sessions: Sessions
    strategies: StrategyOwners
    keys: RecentKeys
    clock: Clock


def records_of(stores: Stores, reserve_ms: int = 0) -> Iterator[bytes]:
    """Return the records of a file, one by one; the stores may change in between.

    Args:
        stores: What is saved.
        reserve_ms: IDs of so many milliseconds may be given out before the next file is
            there; should the clock step back after a crash, they are not given out again.
    """
    return map(_encode, _records_of(stores, reserve_ms))


def decode(encoded: Iterable[bytes]) -> list[Record]:
    """Return the records of a file.

    Raises:
        StateFileError: One is malformed or says what no server has written, or the whole is of
            another version or incomplete.
    """
    try:
        records = list(map(_decode, encoded))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateFileError(f"a record is malformed: {error}") from error
    match records:
        case [Opening(version=version), *between, Closing() as closing]:
            if version != VERSION:
                raise StateFileError(f"its version is {version}, not {VERSION}")
        case _:
            raise StateFileError("it does not begin and end as a state file does")
    check(between, closing)
    return records


def restore(stores: Stores, records: Sequence[Record], *, is_drained: bool) -> None:
    """Take over what a server left, before anything is published or opened.

    Args:
        stores: Empty ones.
        records: From `decode`.
        is_drained: Whether they hold everything that was acknowledged.

    Raises:
        StateFileError: A record says what no server has written. The stores are half full.
    """
    try:
        _restore(stores, records, is_drained=is_drained)
    except (msgspec.DecodeError, ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise StateFileError(f"a record cannot be used: {error}") from error


def _restore(stores: Stores, records: Sequence[Record], *, is_drained: bool) -> None:
    opening, *between, closing = records
    assert isinstance(opening, Opening), "decode has looked"
    assert isinstance(closing, Closing), "decode has looked"
    wall_ms = stores.clock.wall_ms()
    away_seconds = max(0.0, (wall_ms - opening.saved_at_ms) / 1000)
    saved_at = stores.clock.monotonic() - away_seconds
    for record in between:
        _take_over(stores, record, wall_ms, saved_at)
    buffers = [record for record in between if isinstance(record, SavedBuffer)]
    for buffer in sorted(buffers, key=attrgetter("idle_seconds"), reverse=True):
        events = [_event(event, buffer.user_id) for event in buffer.events]
        stores.hub.users.restore(buffer, events, saved_at)
    if is_drained:
        stores.hub.go_on_after(unpack_id(closing.last_id), unpack_id(closing.start_id))
    else:
        stores.hub.go_on_after(unpack_id(closing.reserved_id), None)
    stores.sessions.take_evicted()
    stores.strategies.take_evicted()


def _take_over(stores: Stores, record: Record, wall_ms: int, saved_at: float) -> None:
    match record:
        case SavedSession():
            stores.sessions.put(
                record.key, record.user_id, record.role, record.expires_at_ms, wall_ms
            )
        case SavedStrategy():
            stores.strategies.put(record.strategy_id, record.user_id)
        case SavedQuote() | SavedOrders() | SavedPosition():
            stores.projection.restore(record)
        case SavedLoss():
            stores.hub.users.restore_loss(record)
        case SavedKey():
            stores.keys.restore(record, saved_at)
        case Opening() | SavedBuffer() | Closing():
            pass


def _records_of(stores: Stores, reserve_ms: int) -> Iterator[Record]:
    now, wall_ms = stores.clock.monotonic(), stores.clock.wall_ms()
    cut_id = stores.hub.ids.last
    yield Opening(VERSION, wall_ms)
    yield from stores.sessions.saved()
    yield from stores.strategies.saved()
    yield from stores.hub.users.saved(now, cut_id)
    yield from stores.keys.saved(now, cut_id)
    yield from stores.projection.saved()
    last_id = stores.hub.ids.last
    reserved_id = max(last_id, EventIdGenerator.first_of(wall_ms + reserve_ms))
    start_id = stores.hub.streams.start_id
    yield Closing(pack_id(last_id), pack_id(start_id), pack_id(reserved_id))


def _event(saved: SavedEvent, user_id: str | None) -> Event:
    return Event(
        unpack_id(saved.event_id),
        saved.type,
        saved.data,
        route=saved.route,
        user_id=user_id,
        correlation_id=saved.correlation_id,
    )
