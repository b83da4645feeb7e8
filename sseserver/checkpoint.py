"""From the stores to the records of a state file, and back.

Saving is cut into as many pieces as there are records, so that whoever drives it can let events
through in between. What a file says of one user is of one moment all the same; and what is
newer than a file is lost with a crash anyway, of which clients are told.

Source: contract section 7.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from sseserver.clock import Clock
from sseserver.errors import StateFileError
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


def records_of(stores: Stores) -> Iterator[bytes]:
    """Return the records of a file, one by one; the stores may change in between."""
    return map(_encode, _records_of(stores))


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
    now, wall_ms = stores.clock.monotonic(), stores.clock.wall_ms()
    away_seconds = 0.0
    for record in records:
        match record:
            case Opening():
                away_seconds = max(0.0, (wall_ms - record.saved_at_ms) / 1000)
            case SavedSession():
                stores.sessions.put(
                    record.key, record.user_id, record.role, record.expires_at_ms, wall_ms
                )
            case SavedStrategy():
                stores.strategies.put(record.strategy_id, record.user_id)
            case SavedQuote() | SavedOrders() | SavedPosition():
                stores.projection.restore(record)
            case SavedLoss() | SavedBuffer():
                events = record.events if isinstance(record, SavedBuffer) else ()
                user_id = record.user_id
                stores.hub.users.restore(
                    record, (_event(event, user_id) for event in events), now - away_seconds
                )
            case SavedKey():
                stores.keys.restore(record, now - away_seconds)
            case Closing():
                start_id = unpack_id(record.start_id) if is_drained else None
                stores.hub.go_on_after(unpack_id(record.last_id), start_id)
    stores.sessions.take_evicted()
    stores.strategies.take_evicted()


def _records_of(stores: Stores) -> Iterator[Record]:
    now = stores.clock.monotonic()
    yield Opening(VERSION, stores.clock.wall_ms())
    yield from stores.sessions.saved()
    yield from stores.strategies.saved()
    yield from stores.projection.saved()
    yield from stores.hub.users.saved(now)
    yield from stores.keys.saved(now)
    yield Closing(pack_id(stores.hub.ids.last), pack_id(stores.hub.streams.start_id))


def _event(saved: SavedEvent, user_id: str | None) -> Event:
    return Event(
        unpack_id(saved.event_id),
        saved.type,
        saved.data,
        route=saved.route,
        user_id=user_id,
        correlation_id=saved.correlation_id,
    )
