"""State files that are damaged in every way, with a checksum that fits and with one that does not.

Reading one either works or says that it cannot be used, and what it restores is a server like
any other: streams open and parse, feeds are answered, the next save and start work. Bounded
here; `SSESERVER_FUZZ_MINUTES` lets it go on.
"""

import hashlib
import random
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sseserver.checkpoint import Stores, decode, records_of, restore
from sseserver.errors import StateFileError
from sseserver.event_id import SUFFIX_SPAN
from sseserver.restart.state_file import read
from sseserver.saved import pack_id
from tests.support.core import request_for
from tests.support.ingest_corpus import lines
from tests.support.long_run import TIMEOUT_SECONDS, rounds
from tests.support.watched_ingest import STREAMS, events_of
from tests.unit.ingest.ingest_core import IngestCore

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

SETTINGS: Final = {
    "buffer.events_per_user": 3,
    "buffer.max_users": 6,
    "limits.max_orders_per_user": 3,
    "limits.max_positions_per_user": 3,
    "limits.max_keys": 4,
}
HEAD: Final = b"sseserver state\nD"
DIGEST_BYTES: Final = 32

HOSTILE: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 0.5, 1e308, -1e308,
    5e-324, float("nan"), float("inf"), float("-inf"),
    "", "\0", "\r\n", "\n\nevent: x", "\u2028", "x" * 300, "user-1", "user-2", "AAPL", "orders",
    "strategies/s-1", "alert:new", "connected", "NaN", "Infinity", "1E+9999", "-0", "1e3",
    "9" * 400, "0." + "1" * 500, "expired", "too_slow", "admin", "root", "closing", "opening",
    "buffer", "position",
    b"", b"\0" * 16, b"\xff" * 16, b"\0" * 15, b"\1" * 17, b"\0" * 15 + b"\1", b"\xff" * 400,
    pack_id(1735819800000 * SUFFIX_SPAN), pack_id(9999999999999 * SUFFIX_SPAN),
    b"{}", b"[]", b"null", b"{", b'{"a":1}\n', b'{"a":"\r"}', b'{"a":"\xff"}', b'{"price":[]}',
    b'{"price":"NaN"}', b'{"price":1e400}', b'{"price":"1e9"}', b'{"price":true}',
    b'[{"orderId":"o-1","status":[]}]', b'[{"orderId":1,"status":"filled"}]',
    b'[{"orderId":"o-1","status":"new","qty":"x"}]', b"[" * 300 + b"]" * 300,
    b'{"price":1,"x":' + b"[" * 985 + b"]" * 985 + b"}", b'{"x":' * 990 + b"1" + b"}" * 990,
    b'[{"orderId":"o-1","status":"new","qty":1,"x":' + b"[" * 985 + b"]" * 985 + b"}]",
    [], {}, [[]], {"orders": b"\xff" * 16}, [None], [b"\0" * 16, b"\xff" * 16],
)  # fmt: skip


def stores_of(core: IngestCore) -> Stores:
    """Return what of a core survives."""
    return Stores(core.hub, core.projection, core.sessions, core.strategies, core.keys, core.clock)


@cache
def written() -> tuple[tuple[bytes, ...], ...]:
    """Return the records of some servers that have had the lines of the corpus."""
    moments = random.Random(1)
    files = []
    for _ in range(6):
        core = IngestCore(SETTINGS)
        for line in moments.sample(lines(), 150):
            core.answers(line.replace(b'"user-1"', b'"user-%d"' % moments.randint(1, 3)))
        for number in range(8):
            core.publish("alert:new", {"alertId": "a", "level": "info", "message": "m"}, "user-1")
            position = {"symbol": f"S{number}", "quantity": 1, "entryPrice": "1.5"}
            core.publish("position:update", position)
            core.publish("price:update", {"symbol": f"S{number}", "price": 2, "x": 1}, None)
            message = {"alertId": f"k{number}", "level": "info", "message": "m"}
            core.ask(type="alert:new", userId=f"user-{number}", key="k", data=message)
            core.do("session.put", sessionId=f"s{number}", userId="user-1", expiresAt=4e9)
        connection = core.connect(request_for("trading"))
        core.hub.flush()
        connection.cut()
        files.append(tuple(records_of(stores_of(core))))
    return tuple(files)


def packed(plain: bytes) -> bytes:
    """Return a whole file around framed records."""
    return sealed(HEAD + zstandard.compress(plain))


def sealed(content: bytes) -> bytes:
    """Return a file with the checksum that fits."""
    return content + hashlib.sha256(content[len(HEAD) :]).digest()


def framed(records: Sequence[bytes]) -> bytes:
    """Return records behind their lengths."""
    return b"".join(len(record).to_bytes(4) + record for record in records)


def damaged(data: bytes, moments: random.Random) -> bytes:
    """Return bytes with some of them changed, gone, twice or new."""
    changed = bytearray(data)
    for _ in range(moments.choice((1, 1, 1, 2, 5, 30))):
        place = moments.randrange(len(changed) + 1)
        size = moments.choice((1, 1, 2, 4, 16, 200))
        match moments.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << moments.randrange(8)
            case 1:
                changed[place : place + size] = moments.randbytes(size)
            case 2:
                del changed[place : place + size]
            case 3:
                changed[place:place] = changed[place : place + size]
            case 4:
                changed[place:place] = moments.randbytes(size)
            case _:
                del changed[place:]
    return bytes(changed)


def places_of(value: Any) -> list[tuple[Any, Any]]:
    """Return every container and key in a value."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [
        place for key in keys for place in places_of(value[key])
    ]


def rewritten(records: Sequence[bytes], moments: random.Random) -> list[bytes]:
    """Return records of which some say something else, or stand somewhere else."""
    values = [msgspec.msgpack.decode(record) for record in records]
    for _ in range(moments.choice((1, 1, 1, 2, 4))):
        place = moments.randrange(len(values))
        match moments.randrange(8):
            case 0:
                values.insert(moments.randrange(len(values) + 1), moments.choice(values))
            case 1 if len(values) > 1:
                del values[place]
            case 2:
                values.append(values.pop(place))
            case 3:
                container, key = moments.choice(places_of(values[place]) or [([0], 0)])
                if isinstance(container, list):
                    container.insert(key, moments.choice(HOSTILE))
            case 4 | 5:
                container, key = moments.choice(places_of(values[place]) or [([0], 0)])
                one = container[key]
                container[key] = damaged(one, moments) if isinstance(one, bytes) else one
            case _:
                container, key = moments.choice(places_of(values[place]) or [([0], 0)])
                container[key] = moments.choice(HOSTILE)
    return [msgspec.msgpack.encode(value) for value in values]


def file_of(seed: int) -> bytes:
    """Return a file that is damaged in one way or another."""
    moments = random.Random(seed)
    records = moments.choice(written())
    match moments.randrange(6):
        case 0:
            return damaged(packed(framed(records)), moments)
        case 1:
            whole = packed(framed(records))
            return sealed(damaged(whole[:-DIGEST_BYTES], moments))
        case 2:
            return packed(damaged(framed(records), moments))
        case 3:
            place = moments.randrange(len(records))
            one = damaged(records[place], moments)
            return packed(framed([*records[:place], one, *records[place + 1 :]]))
        case _:
            return packed(framed(rewritten(records, moments)))


def restored(data: bytes, path: Path) -> IngestCore | None:
    """Return the server that starts with a file; None where the file is refused."""
    path.write_bytes(data)
    core = IngestCore(SETTINGS)
    try:
        saved = read(path)
        assert saved is not None
        restore(stores_of(core), decode(saved.records), is_drained=saved.is_drained)
    except StateFileError:
        return None
    return core


def use(core: IngestCore) -> None:
    """Open streams, publish, let time pass: what a server that has started does."""
    connections = []
    for user_id in ("user-1", "user-2"):
        for stream in STREAMS:
            for last_event_id in (None, core.hub.ids.last, 1):
                request = request_for(
                    stream, user_id, is_counted=False, last_event_id=last_event_id
                )
                connection = core.connect(request)
                core.hub.flush()
                connections.append(connection)
                ids = [event_id for *_, event_id in events_of(connection.plain()) if event_id]
                assert ids == sorted(set(ids))
    answers = [answer for line in lines()[::13] for answer in core.answers(line)]
    answers += [
        core.ask(type="order:fill", userId="user-1", data=fill)
        for fill in ({"orderId": f"o-{n}", "filledQty": 1, "filledAvgPrice": 1} for n in range(3))
    ]
    core.hub.flush()
    core.hub.end_window()
    core.hub.flush()
    core.pass_time(1000)
    assert "unavailable" not in {answer.get("error", {}).get("code") for answer in answers}
    for connection in connections:
        events_of(connection.plain())


@given(st.integers(0, 2**64))
@settings(max_examples=250)
def damage(seed: int) -> None:
    """Start with one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        core = restored(file_of(seed), path)
        if core is None:
            return
        use(core)
        again = restored(packed(framed(list(records_of(stores_of(core))))), path)
    assert again is not None


def test_a_damaged_file_is_refused_or_harmless() -> None:
    """Whatever it says, no start fails in another way, and no stream suffers from it."""
    rounds(damage)


def test_what_is_not_damaged_is_taken() -> None:
    """The files that are damaged are good ones before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state")
        cores = [restored(packed(framed(records)), path) for records in written()]

    assert None not in cores
