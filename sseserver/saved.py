"""What a state file holds: its records, as plain values.

Each store gives out records of its own and takes them back; nothing here knows a store or a
file. Times are ages, for monotonic clocks do not survive a restart. JSON is kept as the bytes
that went out, so that no number changes on the way.

Source: contract section 7.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

VERSION: Final = 1
"""Of the records. Another one is not read: it is set aside like a damaged file."""

_ID_BYTES: Final = 16
_MAX_ID: Final = 1 << 96
"""Of the year 26,000. Far below what `pack_id` can hold, so that a server can go on from any."""


def pack_id(event_id: int) -> bytes:
    """Return the bytes of an event ID: it has more bits than a number of msgpack."""
    return event_id.to_bytes(_ID_BYTES, "big")


def unpack_id(data: bytes) -> int:
    """Return the event ID of these bytes.

    Raises:
        ValueError: `pack_id` makes no such bytes of an ID.
    """
    event_id = int.from_bytes(data, "big")
    if len(data) != _ID_BYTES or event_id > _MAX_ID:
        raise ValueError("it is no event ID")
    return event_id


class _Record(Struct, array_like=True, gc=False):
    """One record; its fields in the order in which they are written."""


class Opening(_Record, tag="opening"):
    """The first record."""

    version: int
    saved_at_ms: int


class SavedSession(_Record, tag="session"):
    """A session, under the digest of its ID."""

    key: bytes
    user_id: str
    role: Literal["user", "admin"]
    expires_at_ms: int | None


class SavedStrategy(_Record, tag="strategy"):
    """Whose a strategy is."""

    strategy_id: str
    user_id: str


class SavedQuote(_Record, tag="quote"):
    """The last price of an instrument; `data` is its JSON payload."""

    event_id: bytes
    symbol: str
    data: bytes


class SavedOrders(_Record, tag="orders"):
    """A user's orders as a JSON list, and the IDs of the finished ones, the longest first."""

    user_id: str
    orders: bytes
    finished: list[str]


class SavedPosition(_Record, tag="position"):
    """A position. Where `is_quoted` the price is the last quote's, else the feed's own.

    `knows_quote` says that the feed gave that price after the last quote; `extra` is JSON.
    """

    user_id: str
    symbol: str
    quantity: str
    entry: str
    price: str
    is_quoted: bool
    knows_quote: bool
    extra: bytes


class SavedLoss(_Record, tag="loss"):
    """That a user's events up to an ID are gone; of a user of None, anybody's."""

    user_id: str | None
    last_id: bytes
    reason: str


class SavedEvent(Struct, array_like=True, gc=False):
    """A fact in a replay buffer."""

    event_id: bytes
    type: str
    data: bytes
    route: str
    correlation_id: str | None


class SavedBuffer(_Record, tag="buffer"):
    """A user's replay buffer, and what is known of what left it.

    `evicted` has the newest ID lost of each topic, `slow_spans` pairs of IDs.
    """

    user_id: str
    idle_seconds: float
    was_connected: bool
    events: list[SavedEvent]
    evicted: dict[str, bytes]
    slow_spans: list[tuple[bytes, bytes]]
    limit_ids: list[bytes]


class SavedKey(_Record, tag="key"):
    """A publish that may still be repeated."""

    key: str
    event_type: str
    user_id: str | None
    event_id: bytes
    digest: bytes
    age_seconds: float


class Closing(_Record, tag="closing"):
    """The last record: IDs up to `start_id` are from before anything was known.

    After a crash IDs go on after `reserved_id`: those up to it may have been given out.
    """

    last_id: bytes
    start_id: bytes
    reserved_id: bytes


Record: TypeAlias = (
    Opening
    | SavedSession
    | SavedStrategy
    | SavedQuote
    | SavedOrders
    | SavedPosition
    | SavedLoss
    | SavedBuffer
    | SavedKey
    | Closing
)
