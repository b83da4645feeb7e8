"""Feeds that send what nobody foresaw: lines of the corpus, broken further at random.

No line is a bug to the server, a refused one changes nothing, answers come in order, every
frame is one event, no secret passes, and what is known afterwards survives a restart. Bounded
here; `SSESERVER_FUZZ_MINUTES` lets it go on.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sseserver.checkpoint import Stores, decode, records_of, restore
from sseserver.errors import FeedErrorCode
from tests.support.ingest_corpus import MAX_LINE_BYTES, lines, summary
from tests.support.long_run import TIMEOUT_SECONDS, rounds
from tests.support.watched_ingest import WatchedIngest
from tests.unit.ingest.ingest_core import IngestCore

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

SECRET: Final = "hunter2"
SECRET_KEYS: Final = (
    "token", "apiKey", "API-KEY", "user_password", "Set-Cookie", "x.secret", "private key",
    "pass\u200bword", "\uff54oken", "credentials", "ACCESS__TOKENS", "_token", "sec\nret",
)  # fmt: skip
CODES: Final = set(FeedErrorCode) - {FeedErrorCode.UNAVAILABLE, FeedErrorCode.TOO_LARGE}

VALUES: Final = (
    b"null", b"true", b"false", b"0", b"-0", b"-0.0", b"1", b"-1", b"0.1", b"1e15", b"1e16",
    b"1e-320", b"1e308", b"1e309", b"NaN", b"-Infinity", b"9007199254740993", b"9" * 40,
    b"9" * 4400, b"0." + b"3" * 60, b'""', b'" "', b'"1"', b'"-1.50"', b'"+.5"', b'"1e3"', b'"NaN"',
    b'"\\ud800"', b'"\\udc00x"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\r\\n\\n"', b'"\\u2028"',
    b'"\xe2\x80\xa8"', b'"\x7f"', b'"\xc2\x85"', b'"\xff"', b'"\xed\xa0\x80"', b'"a\rb"',
    b'"user-1"', b'"user-2"', b'"AAPL"', b'"o-1"', b'"s-1"', b'"filled"', b'"error"', b'"buy"',
    b'"alert:new"', b'"position:update"', b'"orders.put"', b'"2026-01-02T10:30:00Z"',
    b'"2100-01-01T00:00:00+14:00"', b"[]", b"{}", b"[null]", b'{"a":{"a":[]}}',
    b'"' + b"x" * 128 + b'"', b'"' + b"\xc3\xa9" * 129 + b'"', b'"' + b"x" * 5000 + b'"',
)  # fmt: skip
KEYS: Final = (
    "ref", "op", "type", "userId", "data", "key", "correlationId", "notify", "role", "expiresAt",
    "orders", "positions", "prices", "snapshot", "initializing", "totalValue", "timestamp",
    "details", "status", "qty", "filledQty", "quantity", "entryPrice", "currentPrice", "symbol",
    "extra", "priority", "_x", "", "a\r\nb", "\0", "__proto__", "\u2028",
)  # fmt: skip
DEPTHS: Final = (1, 5, 197, 198, 199, 200, 201, 500, *range(960, 1000), 1500, 2600)
MARK: Final = "\ue000"


@cache
def seeds() -> tuple[bytes, ...]:
    """Return the lines that are broken; the secrets in them are those of the test's alone."""
    return tuple(line.replace(SECRET.encode(), b"x") for line in lines() if len(line) < 2000)


def containers_of(message: dict[str, Any]) -> list[Any]:
    """Return every object and list in an object, itself first."""
    found: list[Any] = [message]
    for one in found:  # which grows on the way
        inner = one.values() if isinstance(one, dict) else one
        found.extend(item for item in inner if isinstance(item, (dict, list)))
    return found


def hostile_value(moments: random.Random) -> bytes:
    """Return a JSON value, or what only looks like one."""
    if moments.random() < 0.15:
        depth: int = moments.choice(DEPTHS)
        inner: bytes = moments.choice((b"", b"1", b'{"token":"%b"}' % SECRET.encode()))
        if moments.random() < 0.5:
            return b"[" * depth + inner + b"]" * depth
        return b'{"a":' * depth + (inner or b"0") + b"}" * depth
    return moments.choice(VALUES)


def change(container: Any, value: Any, moments: random.Random) -> None:
    """Put a value into an object or a list, for another or beside it, or take one out."""
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    match moments.randrange(5):
        case 0 | 1 if keys:
            container[moments.choice(keys)] = value
        case 2 if keys:
            del container[moments.choice(keys)]
        case 3 if isinstance(container, list):
            container.append(moments.choice(container or [1]))
        case _ if isinstance(container, dict):
            container[moments.choice(KEYS)] = value
        case _:
            container.insert(0, value)


def regrown(line: bytes, moments: random.Random) -> bytes:
    """Return a line whose JSON says something else; one that is none as it is."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(message, dict):
        return line
    values: list[bytes] = []

    def mark(raw: bytes) -> str:
        values.append(raw)
        return f"{MARK}{len(values) - 1}{MARK}"

    for _ in range(moments.choice((1, 1, 2, 3))):
        change(moments.choice(containers_of(message)), mark(hostile_value(moments)), moments)
    if moments.random() < 0.4:
        secret = moments.choice((SECRET, [SECRET], {"a": [{"b": SECRET}]}))
        objects = [one for one in containers_of(message) if isinstance(one, dict)]
        moments.choice(objects)[moments.choice(SECRET_KEYS)] = secret
    try:
        text = json.dumps(message, ensure_ascii=moments.random() < 0.5)
    except RecursionError:
        return line
    encoded = text.encode("utf-8", "surrogatepass")
    for number, raw in enumerate(values):
        for written in (f"{MARK}{number}{MARK}", json.dumps(f"{MARK}{number}{MARK}")[1:-1]):
            encoded = encoded.replace(b'"%b"' % written.encode(), raw)
    return encoded


def battered(line: bytes, moments: random.Random) -> bytes:
    """Return a line with bytes changed, gone, twice, new, or those of another line."""
    changed = bytearray(line)
    for _ in range(moments.choice((1, 1, 2, 4))):
        place = moments.randrange(len(changed) + 1)
        size = moments.choice((1, 1, 2, 8, 40))
        match moments.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << moments.randrange(8)
            case 1:
                changed[place:place] = moments.choice((*VALUES[:30], b'"', b"\\", b"{", b"]", b","))
            case 2:
                del changed[place : place + size]
            case 3:
                changed[place:place] = changed[place : place + size]
            case 4:
                other = moments.choice(seeds())
                changed[place:] = other[moments.randrange(len(other)) :]
            case _:
                changed[place : place + size] = moments.randbytes(size)
    return bytes(changed)


def line_of(seed: int) -> bytes:
    """Return one line, without its newline."""
    moments = random.Random(seed)
    line = moments.choice(seeds())
    match moments.randrange(8):
        case 0:
            pass
        case 1 | 2:
            line = battered(line, moments)
        case _:
            line = regrown(line, moments)
    return line.replace(b"\n", b"")


def stores_of(core: IngestCore) -> Stores:
    """Return what of a core survives."""
    return Stores(core.hub, core.projection, core.sessions, core.strategies, core.keys, core.clock)


async def one_by_one(sent: Sequence[bytes]) -> tuple[WatchedIngest, list[list[dict[str, Any]]]]:
    """Send lines, look at what each of them does, and return what each is answered."""
    ingest = WatchedIngest()
    answers = []
    for line in sent:
        state, plain = ingest.state(), ingest.plain()
        await ingest.send([line + b"\n"])
        answered = [summary(answer) for answer in ingest.take_answers()]
        assert len(answered) <= 1
        for answer in answered:
            if not answer["ok"]:
                expected = CODES if len(line) <= MAX_LINE_BYTES else {FeedErrorCode.TOO_LARGE}
                assert answer["code"] in expected, answer
                assert ingest.state() == state, line
                assert ingest.plain() == plain, line
        answers.append(answered)
    return ingest, answers


async def all_at_once(sent: Sequence[bytes], moments: random.Random) -> list[dict[str, Any]]:
    """Send lines with a `ping` behind each, in random cuts, and return every answer."""
    ingest = WatchedIngest()
    whole = b"".join(
        b'%b\n{"op":"ping","ref":"mark %d"}\n' % (line, number) for number, line in enumerate(sent)
    )
    places = sorted(moments.sample(range(len(whole) + 1), 6))
    bounds = zip([0, *places], [*places, len(whole)], strict=True)
    await ingest.send([whole[start:end] for start, end in bounds])
    ingest.check_streams()
    return [summary(answer) for answer in ingest.take_answers()]


@given(st.lists(st.integers(0, 2**64), min_size=1, max_size=8))
@settings(max_examples=200)
def lines_of_a_feed(numbers: list[int]) -> None:
    """Send some lines to a server, and to another one all of them at once."""
    sent = list(map(line_of, numbers))
    ingest, answers = asyncio.run(one_by_one(sent))
    ingest.check_streams()
    news = ingest.plain()
    opened = ingest.reopen()
    records = list(records_of(stores_of(ingest.core)))
    new = IngestCore(wall_ms=ingest.core.clock.wall_ms())
    restore(stores_of(new), decode(records), is_drained=True)
    marked = asyncio.run(all_at_once(sent, random.Random(numbers[0])))

    assert marked == [
        one
        for number, answered in enumerate(answers)
        for one in (*answered, {"ref": f"mark {number}", "ok": True})
    ]
    assert SECRET not in repr(answers)
    assert SECRET.encode() not in news + opened
    for user_id in ("user-1", "user-2"):
        assert (
            new.projection.orders_snapshot(user_id, "now"),
            new.projection.positions_snapshot(user_id, "now"),
        ) == (
            ingest.core.projection.orders_snapshot(user_id, "now"),
            ingest.core.projection.positions_snapshot(user_id, "now"),
        )


def test_whatever_a_feed_sends_it_is_answered_and_harms_nobody() -> None:
    """Lines one by one and in any cut: the same answers, in order, and nothing else happens."""
    rounds(lines_of_a_feed)
