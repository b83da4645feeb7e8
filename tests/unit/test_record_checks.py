"""Tests of `sseserver.record_checks`."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from sseserver.errors import StateFileError
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
)

LAST_ID = 10
CLOSING = Closing(pack_id(LAST_ID), pack_id(1), pack_id(LAST_ID))
EVENT = SavedEvent(pack_id(2), "order:update", b'{"a":1}', "orders", None)
BUFFER = SavedBuffer(
    "user-1", 0.0, True, [EVENT], {"orders": pack_id(1)}, [(pack_id(1), pack_id(2))], [pack_id(3)]
)
QUOTE = SavedQuote(pack_id(1), "A", b'{"symbol":"A","price":"1.50"}')
ORDERS = SavedOrders("user-1", b'[{"orderId":"o","status":"new","qty":"1","x":[1]}]', ["o"])
POSITION = SavedPosition("user-1", "A", "-1.50", "0", "0.1", True, False, b'{"desk":{"a":[]}}')
KEY = SavedKey("k", "alert:new", None, pack_id(1), b"d", -0.5)
LATER = pack_id(LAST_ID + 1)

replace = msgspec.structs.replace


def nested(levels: int) -> bytes:
    """Return an object of so many levels."""
    return b'{"price":1,"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_what_servers_write_passes() -> None:
    """Every record at its usual, and what only looks odd."""
    smallest = replace(POSITION, price=f"0.{'0' * 323}5", quantity="1" + "0" * 15)
    deepest = replace(QUOTE, data=nested(200))
    fill = replace(ORDERS, orders=b'[{"orderId":"o","status":"filled"}]')

    check(
        [
            SavedSession(b"k", "user-1", "user", None),
            SavedStrategy("s-1", "user-1"),
            QUOTE,
            deepest,
            ORDERS,
            fill,
            POSITION,
            smallest,
            SavedLoss(None, pack_id(LAST_ID), "expired"),
            BUFFER,
            replace(BUFFER, user_id="user-2", events=[]),
            KEY,
        ],
        CLOSING,
    )


@pytest.mark.parametrize(
    "records",
    [
        [Opening(VERSION, 0)],
        [CLOSING],
        [BUFFER, BUFFER],
        [replace(QUOTE, event_id=LATER)],
        [replace(QUOTE, event_id=b"\1")],
        [replace(QUOTE, event_id=b"")],
        [replace(QUOTE, data=b'{"price":[]}')],
        [replace(QUOTE, data=b'{"price":"x"}')],
        [replace(QUOTE, data=b'{"price":1e999}')],
        [replace(QUOTE, data=b'{"price":1,"a":"\xff"}')],
        [replace(QUOTE, data=nested(201))],
        [replace(QUOTE, data=nested(100_000))],
        [replace(ORDERS, orders=b"{}")],
        [replace(ORDERS, orders=b'[{"orderId":"o"}]')],
        [replace(ORDERS, orders=b'[{"orderId":[],"status":"new"}]')],
        [replace(ORDERS, orders=b'[{"orderId":"o","status":{}}]')],
        [replace(ORDERS, orders=b'[{"orderId":"o","status":"new","qty":"x"}]')],
        [replace(ORDERS, orders=b'[{"orderId":"o","status":"new","x":%b}]' % nested(200))],
        *(
            [replace(POSITION, **{name: text})]
            for name in ("quantity", "entry", "price")
            for text in ("NaN", "Infinity", "1E+9999", "", "1\n", "1" * 17, "1." + "0" * 401)
        ),
        [replace(POSITION, extra=b"[]")],
        [replace(POSITION, extra=nested(201))],
        [SavedLoss("user-1", LATER, "expired")],
        [replace(BUFFER, idle_seconds=math.nan)],
        [replace(BUFFER, idle_seconds=math.inf)],
        [replace(BUFFER, evicted={"orders": LATER})],
        [replace(BUFFER, events=[replace(EVENT, event_id=LATER)])],
        [replace(BUFFER, events=[EVENT, EVENT])],
        [replace(BUFFER, events=[replace(EVENT, type="connected")])],
        [replace(BUFFER, events=[replace(EVENT, data=b"{}\n")])],
        [replace(BUFFER, events=[replace(EVENT, data=b"{\r}")])],
        [replace(BUFFER, events=[replace(EVENT, data=b"")])],
        [replace(BUFFER, events=[replace(EVENT, data=b"[]")])],
        [replace(BUFFER, events=[replace(EVENT, data=b'{"a":"\xff"}')])],
        [replace(BUFFER, events=[replace(EVENT, data=nested(100_000))])],
        [replace(KEY, event_id=LATER)],
        [replace(KEY, age_seconds=math.nan)],
    ],
)
def test_what_would_do_harm_later_is_refused(records: Sequence[Record]) -> None:
    """In a stream, in a computation, at the next save."""
    with pytest.raises(StateFileError):
        check(records, CLOSING)


@pytest.mark.parametrize(
    "closing",
    [
        Closing(b"\xff" * 16, pack_id(0), pack_id(1)),
        Closing(b"\0" * 17, pack_id(0), pack_id(1)),
        Closing(pack_id(1), pack_id(2), pack_id(2)),
        Closing(pack_id(2), pack_id(1), pack_id(1)),
    ],
)
def test_the_last_id_is_one_to_go_on_from(closing: Closing) -> None:
    """One that leaves no room for others, one of another size, one from before the start."""
    with pytest.raises(StateFileError):
        check([], closing)
