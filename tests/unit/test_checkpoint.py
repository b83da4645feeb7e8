"""Tests of `sseserver.checkpoint`: one core saved, another restored."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from sseserver.checkpoint import Stores, decode, records_of, restore
from sseserver.errors import StateFileError
from sseserver.event_id import format_event_id, parse_event_id
from sseserver.saved import (
    VERSION,
    Closing,
    Opening,
    Record,
    SavedBuffer,
    SavedEvent,
    SavedOrders,
    SavedPosition,
    SavedQuote,
    pack_id,
)
from sseserver.state.sessions import session_key
from tests.unit.ingest.ingest_core import IngestCore, live, received

AWAY_SECONDS = 5.0


def stores_of(core: IngestCore) -> Stores:
    """Return what of a core survives."""
    return Stores(core.hub, core.projection, core.sessions, core.strategies, core.keys, core.clock)


def restarted(
    core: IngestCore,
    settings: Mapping[str, Any] | None = None,
    *,
    is_drained: bool = True,
    away_seconds: float = AWAY_SECONDS,
) -> IngestCore:
    """Return a new core that took over what another one left."""
    saved = list(records_of(stores_of(core)))
    new = IngestCore(settings, wall_ms=core.clock.wall_ms() + round(away_seconds * 1000))
    restore(stores_of(new), decode(saved), is_drained=is_drained)
    return new


def order(core: IngestCore, number: int, user_id: str = "user-1", **data: Any) -> str:
    """Publish a change of an order and return its ID."""
    given = {"orderId": f"o-{number}", "symbol": "A", "side": "buy", "qty": 1, "status": "new"}
    return core.publish("order:update", given | data, user_id)


def snapshot(core: IngestCore, stream: str) -> list[Any]:
    """Return the snapshots of a stream of user-1, without their times."""
    opened = [
        data
        for _, data in received(live(core, stream))
        if "snapshot" in data or "initializing" in data
    ]
    for data in opened:
        del data["timestamp"]
    return opened


def replayed(core: IngestCore, last_event_id: str) -> list[Any]:
    """Return what a stream of user-1's orders says from an ID on: gaps and orders."""
    events = received(live(core, "orders", last_event_id=parse_event_id(last_event_id)))
    return [data.get("reason") or data.get("orderId") or name for name, data in events]


def test_after_a_drain_nothing_is_missing_and_no_gap_is_told() -> None:
    """A client goes on where it was."""
    core = IngestCore()
    first, *_ = [order(core, number) for number in range(4)]

    assert ["connected", "o-1", "o-2", "o-3", "order:update"] == replayed(restarted(core), first)


def test_after_a_crash_everybody_is_told_and_then_has_what_is_left() -> None:
    """What was acknowledged since the last save is gone, and nobody knows whose it was."""
    core = IngestCore()
    first, *_ = [order(core, number) for number in range(3)]
    new = restarted(core, is_drained=False)

    assert ["connected", "restarted", "o-1", "o-2", "order:update"] == replayed(new, first)


@pytest.mark.parametrize("is_drained", [True, False])
@pytest.mark.parametrize("clock_step_seconds", [AWAY_SECONDS, -3600.0])
def test_ids_go_on_rising_whatever_the_clock_says(
    *, is_drained: bool, clock_step_seconds: float
) -> None:
    """Along one connection too: what is replayed is older than what the server says anew."""
    core = IngestCore()
    first = order(core, 0)
    order(core, 1)
    last = core.hub.ids.last
    new = restarted(core, is_drained=is_drained, away_seconds=clock_step_seconds)
    connection = live(new, "orders", last_event_id=parse_event_id(first))
    order(new, 2)
    new.hub.flush()
    ids = [parse_event_id(event.last_event_id) or 0 for event in connection.source().events]

    assert ids == sorted(set(ids))
    assert new.hub.ids.last > last


def test_an_id_from_before_all_that_is_known_is_still_told_its_gap() -> None:
    """A drain makes nobody whole who was not before."""
    core = IngestCore()
    before = format_event_id(core.hub.ids.last - 1)
    order(core, 1)

    assert ["connected", "restarted", "o-1", "order:update"] == replayed(restarted(core), before)


def test_what_was_lost_before_is_still_known_to_be_lost() -> None:
    """Evicted events, and a whole buffer that was dropped."""
    core = IngestCore({"buffer.events_per_user": 2})
    first, *_ = [order(core, number) for number in range(4)]
    evicted = replayed(restarted(core), first)
    gone = IngestCore({"buffer.ttl_seconds": 1})
    other = order(gone, 0)
    order(gone, 1)
    gone.pass_time(2)

    assert ["connected", "evicted", "o-2", "o-3", "order:update"] == evicted
    assert ["connected", "expired", "order:update"] == replayed(restarted(gone), other)


def test_a_buffers_time_to_live_goes_on_while_nobody_runs() -> None:
    """300 s after the last client left are 300 s."""
    core = IngestCore({"buffer.ttl_seconds": 100})
    first = order(core, 0)
    order(core, 1)
    core.pass_time(60)
    new = restarted(core, {"buffer.ttl_seconds": 100}, away_seconds=30)
    new.pass_time(5)
    kept = replayed(restarted(new, {"buffer.ttl_seconds": 100}, away_seconds=0), first)
    new.pass_time(10)

    assert ["connected", "o-1", "order:update"] == kept
    assert ["connected", "expired", "order:update"] == replayed(new, first)


def test_snapshots_are_what_they_were() -> None:
    """Orders, positions at the price the feed or a quote gave, prices; numbers as they came."""
    core = IngestCore()
    order(core, 1, limitPrice="1.50", mine={"deep": [1.5, None, 10**15]})
    order(core, 2, status="filled")
    core.publish("price:update", {"symbol": "A", "price": "10.10", "bid": 9.5}, None)
    core.publish("price:update", {"symbol": "B", "price": -3, "mine": 1}, None)
    for symbol, given in {"A": {}, "B": {"currentPrice": "7.0"}, "C": {}}.items():
        position = {"symbol": symbol, "quantity": "2.50", "entryPrice": "4", "note": "n"}
        core.publish("position:update", position | given)
    new = restarted(core)

    for stream in ("orders", "positions", "prices"):
        assert snapshot(core, stream) == snapshot(new, stream)


def test_prices_move_positions_as_before() -> None:
    """A price of the feed holds until the next quote."""
    core = IngestCore()
    core.publish("price:update", {"symbol": "A", "price": 10}, None)
    position = {"symbol": "A", "quantity": 1, "entryPrice": 1, "currentPrice": 12}
    core.publish("position:update", position)
    new = restarted(core)
    before = snapshot(new, "positions")[0]["positions"][0]["currentPrice"]
    new.publish("price:update", {"symbol": "A", "price": 11}, None)

    assert ("12", "11") == (before, snapshot(new, "positions")[0]["positions"][0]["currentPrice"])


def test_the_longest_finished_order_is_still_the_first_to_go() -> None:
    """In the order in which they finished, not in which they were opened."""
    settings = {"limits.max_orders_per_user": 3}
    core = IngestCore(settings)
    for number in (1, 2, 3):
        order(core, number)
    for number in (3, 1):
        order(core, number, status="filled")
    new = restarted(core, settings)
    order(new, 4)

    assert ["o-1", "o-2", "o-4"] == [one["orderId"] for one in snapshot(new, "orders")[0]["orders"]]


def test_sessions_and_strategies_are_there() -> None:
    """With role and expiry; one that expired meanwhile is not."""
    core = IngestCore()
    now = core.clock.wall_ms() / 1000
    core.do("session.put", sessionId="s", userId="user-1", role="admin")
    core.do("session.put", sessionId="short", userId="user-1", expiresAt=now + 1)
    core.do("session.put", sessionId="long", userId="user-1", expiresAt=now + 100)
    core.do("strategy.put", strategyId="st", userId="user-1")
    new = restarted(core)
    found = {
        name: new.sessions.get(session_key(name), new.clock.wall_ms())
        for name in ("s", "short", "long")
    }

    assert found["s"] is not None
    assert found["long"] is not None
    assert ("admin", None, None) == (found["s"].role, found["s"].expires_at_ms, found["short"])
    assert round((now + 100) * 1000) == found["long"].expires_at_ms
    assert "user-1" == new.strategies.owner("st")


def test_a_retry_across_a_restart_is_recognised() -> None:
    """Until two minutes have passed since the first, those of the restart too."""
    message = {
        "type": "alert:new",
        "userId": "user-1",
        "data": {"alertId": "a", "level": "info", "message": "m"},
        "key": "k-1",
    }
    core = IngestCore()
    first = core.ask(**message)
    soon, late = restarted(core), restarted(core, away_seconds=120)

    assert first == soon.ask(**message)
    assert first != late.ask(**message)


def test_the_tab_that_the_limit_closed_is_known_when_it_returns() -> None:
    """Its farewell's ID is remembered with the user."""
    core = IngestCore()
    order(core, 1)
    user = core.hub.users.get("user-1")
    assert user is not None
    user.remember_limit_id(7)
    restored = restarted(core).hub.users.get("user-1")

    assert restored is not None
    assert restored.limit_ids is not None
    assert [7] == list(restored.limit_ids)


def test_limits_that_were_lowered_hold() -> None:
    """What is too much goes as it would have gone, and is told."""
    core = IngestCore()
    first, *_ = [order(core, number) for number in range(4)]
    order(core, 0, "user-2")
    few = restarted(core, {"buffer.events_per_user": 1})
    small = restarted(core, {"buffer.max_users": 1})

    assert ["connected", "evicted", "o-3", "order:update"] == replayed(few, first)
    assert 1 == len(small.hub.users)


def test_who_is_connected_while_it_is_saved_has_just_left_when_it_is_loaded() -> None:
    """The time to live begins at the save."""
    core = IngestCore({"buffer.ttl_seconds": 100})
    live(core, "orders")
    first = order(core, 0)
    order(core, 1)
    core.pass_time(1000)
    new = restarted(core, {"buffer.ttl_seconds": 100})
    new.pass_time(80)

    assert ["connected", "o-1", "order:update"] == replayed(new, first)


def test_stores_may_change_between_two_records() -> None:
    """What came or went meanwhile is in the file or not, and the file is whole."""
    core = IngestCore()
    for number in range(20):
        order(core, number, f"user-{number}")
        core.do("session.put", sessionId=f"s-{number}", userId=f"user-{number}")
        core.do("strategy.put", strategyId=f"st-{number}", userId=f"user-{number}")
    records = []
    for number, record in enumerate(records_of(stores_of(core))):
        records.append(record)
        core.do("session.delete", sessionId=f"s-{number % 20}")
        core.do("strategy.delete", strategyId=f"st-{number % 20}")
        order(core, number, f"new-{number}")
        core.ask(type="order:update", userId="user-1", data={"orderId": "x"}, key=f"k-{number}")
    new = IngestCore()
    restore(stores_of(new), decode(records), is_drained=False)

    assert 20 <= len(new.hub.users)


# ---- what no server has written ---------------------------------------------------------

OPENING = Opening(VERSION, 0)
CLOSING = Closing(pack_id(1), pack_id(0), pack_id(1))
EVENT = SavedEvent(pack_id(2), "order:update", b"{}", "orders", None)


def buffer(event: SavedEvent) -> SavedBuffer:
    """Return a buffer with one event."""
    return SavedBuffer("user-1", 0.0, False, [event], {}, [], [])


@pytest.mark.parametrize(
    "records",
    [
        [],
        [OPENING],
        [CLOSING],
        [CLOSING, OPENING],
        [Opening(VERSION + 1, 0), CLOSING],
        [OPENING, buffer(msgspec.structs.replace(EVENT, type="stream:gap")), CLOSING],
        [OPENING, buffer(msgspec.structs.replace(EVENT, data=b"{}\n\nevent: x")), CLOSING],
        [OPENING, buffer(msgspec.structs.replace(EVENT, data=b"{}\rdata: x")), CLOSING],
    ],
)
def test_what_is_incomplete_or_foreign_is_refused(records: Sequence[Record]) -> None:
    """And nothing that could end a line of a stream passes."""
    with pytest.raises(StateFileError):
        decode(map(msgspec.msgpack.encode, records))


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xc1",
        b"\x93",
        msgspec.msgpack.encode(["none", 1]),
        b"\x93\xa8strategy\xa1\xff\xa1u",
        b"\x94\xa8strategy\xa1s\xa1u" + b"\x91" * 100_000,
    ],
)
def test_what_is_no_record_is_refused(record: bytes) -> None:
    """Whatever is behind a length."""
    encoded = [msgspec.msgpack.encode(OPENING), record, msgspec.msgpack.encode(CLOSING)]
    with pytest.raises(StateFileError):
        decode(encoded)


@pytest.mark.parametrize(
    "record",
    [
        SavedQuote(pack_id(1), "A", b"[]"),
        SavedQuote(pack_id(1), "A", b"{"),
        SavedQuote(pack_id(1), "A", b"{}"),
        SavedOrders("user-1", b"[1]", []),
        SavedOrders("user-1", b"[{}]", []),
        SavedPosition("user-1", "A", "x", "1", "1", False, False, b"{}"),
        SavedPosition("user-1", "A", "1", "1", "1", False, False, b"1"),
    ],
)
def test_what_says_nothing_that_can_be_true_is_refused(record: Record) -> None:
    """A checksum that fits makes no sense of it."""
    with pytest.raises(StateFileError):
        restore(stores_of(IngestCore()), [OPENING, record, CLOSING], is_drained=True)


def test_a_file_says_no_secret_of_a_session() -> None:
    """Its ID is stored as a digest: a state file lets nobody in (contract section 6)."""
    core = IngestCore()
    core.do("session.put", sessionId="very-secret", userId="user-1")

    assert b"very-secret" not in b"".join(records_of(stores_of(core)))


def test_payloads_go_out_as_they_were() -> None:
    """Byte for byte, redacted as they were when they came."""
    core = IngestCore()
    order(core, 1)
    order(core, 2, mine={"token": "t", "n": 1.0})
    events = {
        name: [event.data for event in live(one, "orders").source().events if "o-2" in event.data]
        for name, one in (("before", core), ("after", restarted(core)))
    }

    assert json.loads(events["after"][0])["mine"]["token"] != "t"
    assert events["before"][0] == events["after"][0]


# ---- records of one moment --------------------------------------------------------------


def test_a_key_is_in_the_file_when_its_event_is() -> None:
    """What is published while the file is written is in none of both: its retry is published."""
    core = IngestCore()
    alert = {"alertId": "a", "level": "info", "message": "m"}
    records = []
    for number, record in enumerate(records_of(stores_of(core))):
        records.append(record)
        core.ask(type="alert:new", userId="user-1", data=alert, key=f"k-{number}")
    assert len(core.keys)
    new = IngestCore()
    restore(stores_of(new), decode(records), is_drained=False)

    assert (0, 0) == (len(new.keys), new.hub.users.buffered_events)


def test_a_snapshot_is_never_older_than_what_was_replayed_before_it() -> None:
    """An order that moves while the file is written."""
    core = IngestCore()
    first = order(core, 1, filledQty=0)
    records = []
    for number, record in enumerate(records_of(stores_of(core))):
        records.append(record)
        order(core, 1, filledQty=number + 1)
    new = IngestCore()
    restore(stores_of(new), decode(records), is_drained=False)
    events = received(live(new, "orders", last_event_id=parse_event_id(first)))
    replayed_to = max((data.get("filledQty", 0) for _, data in events), default=0)

    assert events[-1][1]["orders"][0]["filledQty"] >= replayed_to


def test_after_a_crash_no_id_is_given_out_again_though_the_clock_stepped_back() -> None:
    """Those of the time up to the next save are reserved."""
    core = IngestCore()
    saved = list(records_of(stores_of(core), 30_000))
    core.pass_time(20)
    order(core, 1)
    lost_id = core.hub.ids.last
    new = IngestCore(wall_ms=core.clock.wall_ms() - 3_600_000)
    restore(stores_of(new), decode(saved), is_drained=False)
    order(new, 2)

    assert new.hub.ids.last > lost_id
    assert ["connected", "restarted", "o-2", "order:update"] == replayed(
        new, format_event_id(lost_id)
    )


def test_the_longest_idle_user_is_still_the_first_to_go() -> None:
    """In the order in which they were left, not in which they came."""
    core = IngestCore()
    for number in (1, 2, 3):
        order(core, 1, f"user-{number}")
        core.pass_time(1)
    order(core, 2, "user-1")
    small = restarted(core, {"buffer.max_users": 2})

    assert small.hub.users.get("user-2") is None
    assert small.hub.users.get("user-1") is not None
