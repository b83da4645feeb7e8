"""Tests of `sseserver.hub.hub`."""

import json
from typing import Any

import pytest

from sseserver.errors import CloseReason
from sseserver.event_id import format_event_id
from sseserver.hub.hub import MAX_SHUTDOWN_RETRY_MS, MIN_SHUTDOWN_RETRY_MS
from tests.support.core import Core, configured, request_for
from tests.support.fake_connection import FakeConnection

SMALL_BACKLOG = {"limits.max_backlog_bytes": 4096}
HIGH_WATER = 2048


def stalled(core: Core, stream: str, user_id: str = "user-1", **options: Any) -> FakeConnection:
    """Return a stream whose peer has its opening and then stops reading."""
    connection = core.connect(request_for(stream, user_id, **options), HIGH_WATER)
    connection.takes_all = False
    return connection


def parked(core: Core, stream: str, user_id: str = "user-1", **options: Any) -> FakeConnection:
    """Return a stream that is parked, in a core with `SMALL_BACKLOG`."""
    connection = stalled(core, stream, user_id, **options)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert connection.is_paused
    return connection


def told(connection: FakeConnection) -> list[tuple[str, Any]]:
    """Return what a stream said after its opening: types, and numbers or prices."""
    return [
        (event_type, payload.get("n", payload.get("price")))
        for event_type, payload in connection.events()
        if event_type not in {"connected", "test"} and "snapshot" not in payload
    ]


def test_a_fact_reaches_every_stream_that_carries_it() -> None:
    """Of its user, on its route, under its own ID; nothing is written before the flush."""
    core = Core()
    streams = [
        core.connect(request_for(*given))
        for given in (("orders",), ("trading",), ("alerts",), ("orders", "user-2"))
    ]
    fact = core.fact("user-1", 7, "order:fill")
    before = [told(stream) for stream in streams]
    core.hub.flush()

    assert [[], [], [], []] == before
    assert [[("order:fill", 7)], [("order:fill", 7)], [], []] == [told(s) for s in streams]
    assert fact.id == streams[0].ids()[-1] == streams[1].ids()[-1]


def test_publishing_tells_how_many_connections_a_fact_concerns() -> None:
    """Those that carry it, of one user."""
    core = Core()
    for given in (("alerts",), ("alerts",), ("orders",), ("alerts", "user-2")):
        core.connect(request_for(*given))
    fact = core.fact("user-1", 1)

    core.hub.publish(fact)
    assert 2 == core.hub.connections_of(fact)


def test_a_fact_without_a_connection_is_kept() -> None:
    """Who comes later is replayed it."""
    core = Core()
    core.fact("user-1", 1)
    stream = core.connect(request_for())

    assert [("alert:new", 1)] == told(stream)


def test_a_fact_is_encoded_once() -> None:
    """For every audience, and for the replay."""
    core = Core()
    core.connect(request_for())
    core.connect(request_for(is_chunked=False))
    fact = core.fact("user-1", 1)
    frame = fact.frame
    core.hub.flush()
    core.connect(request_for(encoding="gzip"))

    assert frame is not None
    assert frame is fact.frame


def test_an_urgent_fact_is_written_before_publish_returns() -> None:
    """Past any cork, after what was queued before it, on every audience."""
    core = Core()
    streams = [core.connect(request_for(is_chunked=is_chunked)) for is_chunked in (True, False)]
    core.fact("user-1", 1)
    core.fact("user-1", 2, is_urgent=True)

    assert [[("alert:new", 1), ("alert:new", 2)]] * 2 == [told(stream) for stream in streams]


def test_a_stream_that_an_urgent_fact_fills_is_parked_and_not_owed_it() -> None:
    """It has been handed the fact, so the next one is the one that may always be in flight."""
    core = Core(SMALL_BACKLOG)
    stream = stalled(core, "alerts")
    core.fact("user-1", 1, pad_bytes=3000, is_urgent=True)
    core.fact("user-1", 2, pad_bytes=9000)
    core.pass_time(0.5)
    is_there = stream.reason
    stream.take_until_drained()

    assert is_there is None
    assert [1, 2] == stream.numbers()


def test_an_urgent_fact_lets_those_who_wait_go_on() -> None:
    """They get it once."""
    core = Core()
    core.connect(request_for())
    core.fact("user-1", 1)
    newcomer = core.connect(request_for())
    core.fact("user-1", 2, is_urgent=True)
    core.fact("user-1", 3)
    core.hub.flush()

    assert [1, 2, 3] == newcomer.numbers()


def test_a_price_reaches_the_price_streams() -> None:
    """Whoever asked for its symbol."""
    core = Core()
    everything = core.connect(request_for("prices"))
    some = core.connect(request_for("prices", symbols=frozenset({"B"})))
    core.price("A", 1)
    core.price("B", 2)
    core.hub.flush()

    assert [("price:update", None), ("price:update", 1), ("price:update", 2)] == told(everything)
    assert [("price:update", None), ("price:update", 2)] == told(some)
    assert [] == core.window_wishes


def test_above_the_threshold_a_window_is_asked_for_once() -> None:
    """It opens at once after a quiet spell, and is spaced after that."""
    core = Core({"batching.threshold_per_second": 1, "batching.window_ms": 100})
    stream = core.connect(request_for("prices"))
    for price in range(4):
        core.price("A", price)
    first = list(core.window_wishes)
    core.hub.end_window()
    core.hub.flush()
    core.clock.advance(0.03)
    core.price("A", 4)

    assert [0.0] == first
    assert [0.0, pytest.approx(0.07)] == core.window_wishes
    assert [None, 0, 3] == [price for _, price in told(stream)]


def test_a_window_gives_one_write_to_each_connection() -> None:
    """With the newest of each symbol that moved."""
    core = Core({"batching.threshold_per_second": 1})
    stream = core.connect(request_for("prices"))
    core.price("A", 1)
    core.hub.flush()
    for price in range(2, 20):
        core.price("AB"[price % 2], price)
    writes = core.hub.counters.writes
    core.hub.end_window()
    core.hub.flush()

    assert 1 == core.hub.counters.writes - writes
    assert [18, 19] == [price for _, price in told(stream)][-2:]
    assert 16 == core.hub.prices.conflated


def test_a_status_reaches_every_stream_of_decisions() -> None:
    """Whosever; how many is told."""
    core = Core()
    streams = [
        core.connect(request_for(*given))
        for given in (("ai-decisions",), ("ai-decisions", "user-2"), ("alerts",))
    ]
    status = core.status("agent-1", 1)
    core.hub.flush()

    assert [[("agent:status", 1)], [("agent:status", 1)], []] == [told(s) for s in streams]
    assert status.id == streams[0].ids()[-1]
    assert 2 == core.hub.broadcast_status(status)


def test_a_status_is_not_replayed() -> None:
    """Broadcasts are not kept (contract section 4)."""
    core = Core()
    core.status("agent-1", 1)
    stream = core.connect(request_for("ai-decisions"))

    assert [] == told(stream)


def test_the_test_event_reaches_every_connection() -> None:
    """Parked ones are counted, though best effort is all they get."""
    core = Core(SMALL_BACKLOG)
    slow = parked(core, "alerts", "user-2")
    streams = [core.connect(request_for(stream)) for stream in ("alerts", "prices", "trading")]
    event = core.broadcast_test()
    count = core.hub.broadcast_test(event)
    core.hub.flush()
    slow.take_until_drained()

    assert 4 == count
    assert ["test", "test"] == [stream.types()[-1] for stream in streams[:2]]
    assert event.id == streams[2].ids()[-1]
    assert 1 == slow.types().count("test")


def test_a_test_event_that_only_waiting_streams_would_get_is_harmless() -> None:
    """Its last member left with frames queued; who waits joins after the flush."""
    core = Core()
    member = core.connect(request_for("orders"))
    core.fact("user-1", 1, "order:fill")
    waiting = core.connect(request_for("orders"))
    member.cut()
    core.broadcast_test()
    core.hub.flush()
    core.fact("user-1", 2, "order:fill")
    core.hub.flush()

    assert [1, 2] == waiting.numbers()
    assert ["connected", "order:fill", "order:update", "order:fill"] == waiting.types()


def test_a_new_snapshot_reaches_the_streams_that_show_it() -> None:
    """Under an ID of its own, and not into the replay buffer."""
    core = Core()
    streams = [core.connect(request_for(stream)) for stream in ("orders", "trading", "positions")]
    core.put_orders("user-1", ["o-1"])
    core.hub.flush()

    assert [[[], ["o-1"]], [[], ["o-1"]], []] == [
        [
            [order["orderId"] for order in payload["orders"]]
            for event_type, payload in stream.events()
            if event_type == "order:update"
        ]
        for stream in streams
    ]
    assert 0 == core.hub.users.buffered_events


def test_a_new_snapshot_of_a_user_who_is_not_here_is_nothing() -> None:
    """No user is made for it."""
    core = Core()
    core.put_orders("user-1", ["o-1"])

    assert 0 == len(core.hub.users)


def test_a_parked_stream_gets_the_new_snapshot_when_it_reads_again() -> None:
    """After the facts it lacks; one that shows something else does not."""
    core = Core(SMALL_BACKLOG)
    shows, other = parked(core, "orders"), parked(core, "alerts")
    core.put_orders("user-1", ["o-1"])
    core.fact("user-1", 1, "order:fill")
    core.hub.flush()
    for stream in (shows, other):
        stream.take_until_drained()

    assert ["connected", "order:update", "test", "order:fill", "order:update"] == shows.types()
    assert ["o-1"] == [order["orderId"] for order in shows.events()[-1][1]["orders"]]
    assert ["connected", "test"] == other.types()


def positions_told(connection: FakeConnection) -> list[dict[str, str]]:
    """Return the current prices in every `position:update`, by symbol."""
    return [
        {item["symbol"]: item["currentPrice"] for item in payload["positions"]}
        for event_type, payload in connection.events()
        if event_type == "position:update"
    ]


def test_a_price_revalues_the_positions_of_those_who_watch() -> None:
    """Once per window, with every symbol that moved; not kept for replay."""
    core = Core()
    streams = [core.connect(request_for(stream)) for stream in ("positions", "trading")]
    for symbol in ("A", "B", "C"):
        core.position("user-1", 0, symbol)
    core.hub.flush()
    known = [len(positions_told(stream)) for stream in streams]
    kept = core.hub.users.buffered_events
    for price in (2, 3):
        core.price("A", price)
        core.price("B", price + 1)
    core.hub.end_window()
    core.hub.flush()

    assert [[{"A": "3", "B": "4"}]] * 2 == [
        positions_told(stream)[count:] for stream, count in zip(streams, known, strict=True)
    ]
    assert kept == core.hub.users.buffered_events


def test_a_revaluation_lists_what_moved_since_the_last_one() -> None:
    """What moved before has been told."""
    core = Core()
    stream = core.connect(request_for("positions"))
    for symbol in ("A", "B"):
        core.position("user-1", 0, symbol)
    for symbol, price in (("A", 2), ("B", 3)):
        core.price(symbol, price)
        core.hub.end_window()
        core.hub.flush()

    assert [{"A": "2"}, {"B": "3"}] == positions_told(stream)[-2:]


def test_the_first_revaluation_lists_what_moved_since_the_snapshot() -> None:
    """Also of a user who was here before with another stream."""
    core = Core()
    core.connect(request_for("alerts"))
    for symbol in ("A", "B"):
        core.position("user-1", 0, symbol)
        core.price(symbol, 5)
    core.hub.end_window()
    stream = core.connect(request_for("positions", wants_replay=False))
    core.price("B", 6)
    core.hub.end_window()
    core.hub.flush()

    assert [{"A": "5", "B": "5"}, {"B": "6"}] == positions_told(stream)


def test_a_second_stream_takes_no_revaluation_from_the_first() -> None:
    """What moved before it opened is in its snapshot, and is still to be told to the other."""
    core = Core()
    core.position("user-1", 0, "A")
    first = core.connect(request_for("positions", wants_replay=False))
    core.price("A", 7)
    core.connect(request_for("trading"))
    core.hub.end_window()
    core.hub.flush()

    assert [{"A": "1"}, {"A": "7"}] == positions_told(first)


def test_nothing_is_revalued_for_a_user_without_positions_to_show() -> None:
    """One whose only such stream has gone, or is parked."""
    core = Core(SMALL_BACKLOG)
    core.position("user-1", 0, "A")
    core.position("user-2", 0, "A")
    slow = parked(core, "positions")
    gone = core.connect(request_for("positions", "user-2"))
    core.price("A", 2)
    gone.cut()
    last_id = core.hub.ids.last
    core.hub.end_window()

    assert last_id == core.hub.ids.last
    assert slow.reason is None


def test_a_price_that_the_feed_has_overtaken_revalues_nothing() -> None:
    """The fact that did so says it."""
    core = Core()
    stream = core.connect(request_for("positions"))
    core.position("user-1", 0, "A")
    core.price("A", 2)
    core.position("user-1", 0, "A", currentPrice="3")
    core.hub.end_window()
    core.hub.flush()

    assert "3" == positions_told(stream)[-1]["A"]
    assert 3 == len(positions_told(stream))


def test_a_flush_parks_who_does_not_take_it() -> None:
    """From then on the stream costs its audience nothing."""
    core = Core(SMALL_BACKLOG)
    reads = core.connect(request_for())
    slow = stalled(core, "alerts")
    core.fact("user-1", 1, pad_bytes=3000)
    both = core.hub.flush()
    core.fact("user-1", 2)
    one = core.hub.flush()

    assert ((2, 2), (1, 1)) == (both, one)
    assert [1, 2] == reads.numbers()
    assert slow.reason is None


def test_a_shutdown_ends_every_stream_with_a_spread_retry() -> None:
    """After what was queued; each gets a time of its own to come back."""
    core = Core(SMALL_BACKLOG)
    slow = parked(core, "alerts", "user-2")
    streams = [core.connect(request_for(stream)) for stream in ("alerts", "prices", "orders")]
    core.fact("user-1", 1)
    core.hub.shut_down()
    slow.take_until_drained()
    ends = [stream.source().events[-1] for stream in (*streams, slow)]
    retries = {event.retry_ms for event in ends}

    assert ["server:shutdown"] * 4 == [event.type for event in ends]
    assert [CloseReason.SHUTDOWN] * 4 == [stream.reason for stream in (*streams, slow)]
    assert {"message", "timestamp"} == json.loads(ends[0].data).keys()
    assert [("alert:new", 1)] == told(streams[0])[:1]
    assert 4 == len(retries)
    assert all(
        MIN_SHUTDOWN_RETRY_MS <= retry <= MAX_SHUTDOWN_RETRY_MS
        for retry in retries
        if retry is not None
    )
    assert ({}, 0) == (core.hub.streams.clients, len(core.hub.audiences))


def test_a_reload_takes_effect_on_what_comes_next() -> None:
    """Window, threshold, retry, buffers, keepalive and limits; open streams stay open."""
    core = Core()
    stream = core.connect(request_for("alerts"))
    core.hub.configure(
        configured(
            {
                "batching.threshold_per_second": 1,
                "batching.window_ms": 500,
                "stream.retry_ms": 700,
                "stream.keepalive_seconds": 5,
                "buffer.events_per_user": 1,
                "limits.connections_per_user": 1,
            }
        )
    )
    for number in range(2):
        core.fact("user-1", number)
    core.hub.flush()
    retry_ms = stream.source().events[-1].retry_ms
    core.pass_time(5.1)
    comments = stream.source().comments
    core.connect(request_for("prices"))
    core.price("A", 1)
    core.price("A", 2)
    core.hub.end_window()
    core.price("A", 3)
    core.connect(request_for("alerts"))

    assert 700 == retry_ms
    assert ["keepalive"] == comments
    assert [0.0, 0.5] == core.window_wishes
    assert 1 == core.hub.users.buffered_events
    assert CloseReason.CONNECTION_LIMIT == stream.reason


def test_the_first_id_is_after_the_start() -> None:
    """IDs up to the start's are from a former life."""
    core = Core()
    before = format_event_id(core.hub.ids.last)
    fact = core.fact("user-1", 1)

    assert f"{core.clock.wall_ms()}-000000000" == before
    assert fact.id > core.hub.ids.first_of(core.clock.wall_ms())
