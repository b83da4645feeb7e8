"""Tests of `sseserver.hub.streams`."""

import zlib
from typing import Any

import pytest
from structlog.testing import capture_logs

from sseserver.errors import CloseReason
from sseserver.event_id import format_event_id
from sseserver.events import Event
from sseserver.wire.compression import prologue
from sseserver.wire.sse_frame import LAST_CHUNK, chunk
from tests.support.core import Core, request_for
from tests.support.fake_connection import HEAD, FakeConnection, decode
from tests.support.stream_client import Dechunker, ZstdFrames

ENCODINGS = ["identity", "gzip", "zstd"]
BACKLOG = 4096
HIGH_WATER = BACKLOG // 2
LOOK = 0.3
"""More than the time after which is looked at those who are too far behind."""
SMALL_BACKLOG = {"limits.max_backlog_bytes": BACKLOG}


def small_core(**limits: Any) -> Core:
    """Return a core whose streams are soon full."""
    return Core(SMALL_BACKLOG | {key.replace("__", "."): value for key, value in limits.items()})


def stalled(core: Core, stream: str = "alerts", **options: Any) -> FakeConnection:
    """Return a stream whose peer has its opening and then stops reading."""
    connection = core.connect(request_for(stream, **options), HIGH_WATER)
    connection.takes_all = False
    return connection


def parked(core: Core, stream: str = "alerts", **options: Any) -> FakeConnection:
    """Return a stream that is parked and lacks nothing."""
    connection = stalled(core, stream, **options)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert connection.is_paused
    return connection


def unread(
    core: Core, stream: str = "alerts", high_water: int = HIGH_WATER, **options: Any
) -> FakeConnection:
    """Return a stream whose peer has read nothing at all."""
    connection = FakeConnection(core.hub, high_water)
    connection.takes_all = False
    connection.open(request_for(stream, **options))
    return connection


def values(connection: FakeConnection, symbol: str = "A") -> list[int]:
    """Return the prices of one symbol in the order in which they were told."""
    return [
        item["price"]
        for event_type, payload in connection.events()
        if event_type == "price:update"
        for item in payload.get("prices", [payload])
        if item["symbol"] == symbol
    ]


# ---- opening ------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_stream_opens_with_connected_replay_and_snapshot(
    encoding: str, *, is_chunked: bool
) -> None:
    """In this order, readable at once, in every coding and framing."""
    core = Core()
    core.put_orders("user-1", ["o-1"])
    for number in range(2):
        core.fact("user-1", number, "order:fill")
    stream = core.connect(request_for("orders", encoding=encoding, is_chunked=is_chunked))

    assert ["connected", "order:fill", "order:fill", "order:update"] == stream.types()
    assert [0, 1] == stream.numbers()
    assert stream.ids() == sorted(set(stream.ids()))
    assert 4 == len(stream.ids())


def test_connected_says_who_and_how_many_follow() -> None:
    """The client ID, the stream, the correlation ID and the count of the replay."""
    core = Core()
    core.fact("user-1", 1)
    core.fact("user-1", 2, "order:fill")
    stream = core.connect(request_for())
    client_id = f"user-1-alerts-{core.clock.wall_ms()}"

    assert (
        "connected",
        {
            "clientId": client_id,
            "stream": "alerts",
            "correlationId": "c-1",
            "replay": 1,
            "timestamp": "2025-01-02T12:10:00.000Z",
        },
    ) == stream.events()[0]
    assert [client_id] == list(core.hub.streams.clients)


def test_client_ids_are_unique_within_a_millisecond() -> None:
    """The timestamp is moved on; `anonymous` stands for no user."""
    core = Core()
    now_ms = core.clock.wall_ms()
    for stream in ("alerts", "alerts", "prices", "prices", "orders"):
        core.connect(request_for(stream))

    assert [
        f"user-1-alerts-{now_ms}",
        f"user-1-alerts-{now_ms + 1}",
        f"anonymous-prices-{now_ms}",
        f"anonymous-prices-{now_ms + 1}",
        f"user-1-orders-{now_ms}",
    ] == list(core.hub.streams.clients)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_the_head_comes_first_with_what_the_coding_begins_with(
    encoding: str, *, is_chunked: bool
) -> None:
    """As one write, and once; nothing is framed where there is nothing."""
    core = Core()
    writes: list[bytes] = []
    request = request_for(encoding=encoding, is_chunked=is_chunked)
    core.hub.streams.open(request, FakeConnection(core.hub), writes.append, HEAD)
    start = prologue(encoding)

    assert HEAD + (chunk(start) if is_chunked and start else start) == writes[0]
    assert decode(b"".join(writes)[len(HEAD) :], encoding, is_chunked=is_chunked).startswith(
        b"event: connected\n"
    )


def test_streams_are_counted_by_kind() -> None:
    """Strategies are one kind, whichever they are."""
    core = Core()
    for stream in ("alerts", "strategies/s-1", "strategies/s-2", "alerts", "prices"):
        core.connect(request_for(stream))
    core.fact("user-1", 1)
    core.connect(request_for("alerts"))

    counters = core.hub.counters
    assert {"alerts": 3, "strategies": 2, "prices": 1} == counters.streams_opened
    assert 1 == counters.replayed_events


def test_a_retry_that_is_spread_is_in_connected_alone() -> None:
    """Shared events carry none, so each client keeps its own."""
    core = Core({"stream.retry_ms": 1000, "stream.retry_spread_ms": 9000})
    streams = [core.connect(request_for()) for _ in range(5)]
    core.fact("user-1", 1)
    core.hub.flush()
    told = [[event.retry_ms for event in stream.source().events] for stream in streams]

    assert [None] * 5 == [retries[1] for retries in told]
    assert 1 < len({retries[0] for retries in told})
    assert all(1000 <= (retries[0] or 0) <= 10_000 for retries in told)


def test_a_stream_resumes_behind_the_id_it_names() -> None:
    """With what came after it, once."""
    core = Core()
    facts = [core.fact("user-1", number) for number in range(4)]
    stream = core.connect(request_for(last_event_id=facts[1].id))

    assert [2, 3] == stream.numbers()
    assert ["connected", "alert:new", "alert:new"] == stream.types()


def test_a_gap_is_told_before_what_is_left() -> None:
    """With the ID that was named and the reason."""
    core = Core({"buffer.events_per_user": 2})
    facts = [core.fact("user-1", number) for number in range(5)]
    stream = core.connect(request_for(last_event_id=facts[0].id))
    gap = stream.events()[1]

    assert ["connected", "stream:gap", "alert:new", "alert:new"] == stream.types()
    assert {"lastEventId": format_event_id(facts[0].id), "reason": "evicted"} == gap[1]
    assert [3, 4] == stream.numbers()
    assert stream.ids() == sorted(set(stream.ids()))


def test_a_client_that_is_cut_before_the_gap_is_told_again() -> None:
    """The ID of `connected` is from before the loss, that of the gap from behind it."""
    core = Core({"buffer.events_per_user": 2})
    facts = [core.fact("user-1", number) for number in range(5)]
    ids = core.connect(request_for(last_event_id=facts[0].id)).ids()
    again = [core.connect(request_for(last_event_id=event_id)).types() for event_id in ids[:2]]

    assert ["connected", "stream:gap", "alert:new", "alert:new"] == again[0]
    assert ["connected", "alert:new", "alert:new"] == again[1]


def test_without_replay_nothing_old_is_sent_unless_an_id_is_named() -> None:
    """A reconnecting EventSource repeats its URL, and must not lose what it missed."""
    core = Core()
    facts = [core.fact("user-1", number) for number in range(3)]
    fresh = core.connect(request_for(wants_replay=False))
    again = core.connect(request_for(wants_replay=False, last_event_id=facts[0].id))
    core.fact("user-1", 3)
    core.hub.flush()

    assert ([3], [1, 2, 3]) == (fresh.numbers(), again.numbers())
    assert 0 == fresh.events()[0][1]["replay"]


def test_a_price_stream_ignores_a_last_event_id() -> None:
    """Its snapshot says all: it has no gap (contract section 4)."""
    core = Core()
    stream = core.connect(request_for("prices", last_event_id=1))

    assert ["connected", "price:update"] == stream.types()


# ---- joining an audience --------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_who_comes_while_frames_are_queued_gets_each_fact_once(encoding: str) -> None:
    """What is queued is in its replay; it joins after the flush, with its snapshot."""
    core = Core()
    core.connect(request_for("orders", encoding=encoding))
    core.fact("user-1", 1, "order:fill")
    newcomer = core.connect(request_for("orders", encoding=encoding))
    before = newcomer.types()
    core.fact("user-1", 2, "order:fill")
    core.hub.flush()
    core.fact("user-1", 3, "order:fill")
    core.hub.flush()

    assert ["connected", "order:fill"] == before
    assert ["connected", *["order:fill"] * 2, "order:update", "order:fill"] == newcomer.types()
    assert [1, 2, 3] == newcomer.numbers()


def test_who_waits_is_shown_the_state_once() -> None:
    """A status or price from while it waited is in what it is shown then, or follows."""
    core = Core()
    decisions = core.connect(request_for("ai-decisions"))
    prices = core.connect(request_for("prices"))
    core.status("agent-1", 1)
    core.price("A", 1)
    late_decisions = core.connect(request_for("ai-decisions"))
    late_prices = core.connect(request_for("prices"))
    core.status("agent-1", 2)
    core.price("A", 2)
    core.hub.flush()

    assert [1, 2] == decisions.numbers()
    assert [2] == late_decisions.numbers()
    assert ([1, 2], [2]) == (values(prices), values(late_prices))


def test_who_waits_joins_although_all_members_have_left() -> None:
    """Its audience stays for it."""
    core = Core()
    member = core.connect(request_for())
    core.fact("user-1", 1)
    waiting = core.connect(request_for())
    member.cut()
    core.hub.flush()
    core.fact("user-1", 2)
    core.hub.flush()

    assert [1, 2] == waiting.numbers()


@pytest.mark.parametrize("stream", ["ai-decisions", "prices"])
def test_who_leaves_while_it_waits_leaves_nothing_behind(stream: str) -> None:
    """Neither an audience nor a route to it, whoever leaves first."""
    core = Core()
    member = core.connect(request_for(stream, encoding="gzip"))
    core.broadcast_test()
    waiting = core.connect(request_for(stream, encoding="gzip"))
    member.cut()
    waiting.cut()
    after_leaving = (len(core.hub.audiences), len(core.hub.users), len(core.wheel))
    core.hub.flush()
    again = core.connect(request_for(stream, encoding="gzip"))
    core.fact("user-1", 1, "ai:decision")
    core.price("A", 1)
    core.hub.flush()

    assert (0, 0, 0) == after_leaving
    assert ["ai:decision" if stream == "ai-decisions" else "price:update"] == again.types()[-1:]


def test_who_leaves_while_others_wait_leaves_them_their_place() -> None:
    """The flush lets the others go on."""
    core = Core()
    member = core.connect(request_for())
    core.fact("user-1", 1)
    leaves, stays = core.connect(request_for()), core.connect(request_for())
    member.cut()
    leaves.cut()
    core.hub.flush()
    core.fact("user-1", 2)
    core.hub.flush()

    assert [1, 2] == stays.numbers()


def test_who_is_full_while_it_waits_goes_on_when_it_reads() -> None:
    """Nothing more is written to it before, and its audience does not stay for it."""
    core = Core()
    member = core.connect(request_for())
    core.fact("user-1", 1)
    waiting = unread(core, high_water=100)
    assert waiting.is_paused
    member.cut()
    core.fact("user-1", 2)
    unsent_bytes = waiting.unsent_bytes
    core.hub.flush()
    left = (waiting.unsent_bytes - unsent_bytes, len(core.hub.audiences))
    waiting.takes_all = True
    waiting.take_until_drained()
    core.fact("user-1", 3)
    core.hub.flush()

    assert (0, 0) == left
    assert [1, 2, 3] == waiting.numbers()


def test_a_full_stream_that_reads_before_the_flush_waits_once() -> None:
    """It is not let in twice."""
    core = Core()
    core.connect(request_for())
    core.fact("user-1", 1)
    waiting = unread(core, high_water=100)
    assert waiting.is_paused
    waiting.takes_all = True
    waiting.take_until_drained()
    core.fact("user-1", 2)
    core.hub.flush()
    core.fact("user-1", 3)
    core.hub.flush()

    assert [1, 2, 3] == waiting.numbers()


def test_a_price_snapshot_is_made_once_for_all_who_come_between_flushes() -> None:
    """Also for those who waited for the flush; the next one makes it anew."""
    core = Core()
    core.price("A", 1)
    core.connect(request_for("prices"))
    core.price("A", 2)
    waiting = [core.connect(request_for("prices")) for _ in range(3)]
    core.hub.flush()
    audience = next(iter(core.hub.audiences.all()))
    shared = audience.snapshot
    latest = core.connect(request_for("prices"))
    same = audience.snapshot
    core.price("A", 3)
    core.hub.flush()
    newest = core.connect(request_for("prices"))

    assert shared is not None
    assert shared is same
    assert [[2, 3]] * 4 == [values(stream) for stream in (*waiting, latest)]
    assert [3] == values(newest)


def test_a_price_snapshot_is_not_kept_for_who_comes_after_all_have_left() -> None:
    """An audience without members is not told what moves."""
    core = small_core()
    core.price("A", 1)
    slow = parked(core, "prices")
    waiting = core.connect(request_for("prices"))
    waiting.cut()
    core.price("A", 2)
    newcomer = core.connect(request_for("prices"))

    assert [2] == values(newcomer)
    assert slow.reason is None


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_large_snapshot_is_written_in_parts(*, is_chunked: bool) -> None:
    """The bytes that newcomers share are not copied for each of them."""
    core = Core()
    for number in range(2500):
        core.price(f"SYMBOL-{number}", number)
    core.connect(request_for("prices", is_chunked=is_chunked))
    writes: list[bytes] = []
    stream = FakeConnection(core.hub)
    core.hub.streams.open(request_for("prices", is_chunked=is_chunked), stream, writes.append, HEAD)
    whole = core.connect(request_for("prices", is_chunked=is_chunked))
    snapshot = next(iter(core.hub.audiences.all())).snapshot

    assert snapshot is not None
    assert any(write is snapshot[0][1] for write in writes)
    assert 2500 == len(whole.events()[1][1]["prices"])


# ---- slow peers -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_parked_stream_catches_up_and_goes_on(encoding: str) -> None:
    """Nothing is lost, nothing comes twice, and it is live again."""
    core = small_core()
    stream = stalled(core, encoding=encoding)
    for number, pad_bytes in enumerate((6000, 1000, 900)):
        core.fact("user-1", number, pad_bytes=pad_bytes)
        core.hub.flush()
    assert stream.is_paused
    stream.takes_all = True
    stream.take_until_drained()
    core.fact("user-1", 3)
    core.hub.flush()

    assert [0, 1, 2, 3] == stream.numbers()
    assert ["connected", *["alert:new"] * 4] == stream.types()


def test_a_parked_stream_is_kept_what_leaves_the_replay_buffer() -> None:
    """Beyond its limit, for as long as it is not too much."""
    core = small_core(buffer__events_per_user=2)
    stream = parked(core)
    for number in range(10):
        core.fact("user-1", number)
    core.hub.flush()
    stream.take_until_drained()

    assert list(range(10)) == stream.numbers()
    assert stream.subscription is not None
    assert stream.subscription.held is None


def until_closed(core: Core, stream: FakeConnection) -> int:
    """Return how many facts of 361 bytes more close a stream as too slow."""
    count = 0
    while stream.reason is None:
        core.fact("user-1", count % 10, pad_bytes=280)
        core.pass_time(LOOK)
        count += 1
    return count


def test_a_stream_that_falls_too_far_behind_is_closed() -> None:
    """Past half the backlog in facts, beside what its transport holds; 2048 bytes hold five.

    The first is not counted: one may always be in flight.
    """
    core = small_core()
    stream = parked(core)

    assert 7 == until_closed(core, stream)
    assert (CloseReason.SLOW_CONSUMER, True) == (stream.reason, stream.is_aborted)
    assert 1 == core.hub.counters.slow_consumers
    assert {} == core.hub.streams.clients


def test_who_reads_before_it_is_looked_at_is_not_closed() -> None:
    """A burst may come in within one turn of the loop, in which no peer can read."""
    core = small_core(buffer__events_per_user=5)
    stream = parked(core)
    for number in range(200):
        core.fact("user-1", number, pad_bytes=280)
    stream.take_until_drained()
    core.pass_time(LOOK)

    assert stream.reason is None
    assert list(range(200)) == stream.numbers()


@pytest.mark.parametrize(("count", "is_closed"), [(40, False), (100, True)])
def test_who_reads_on_has_a_second_to_catch_up(count: int, *, is_closed: bool) -> None:
    """A transport full, six facts, at each look; that time bounds what is kept."""
    core = small_core()
    stream = parked(core)
    for number in range(count):
        core.fact("user-1", number, pad_bytes=280)
    looks = 0
    while stream.unsent_bytes and stream.reason is None:
        stream.take(stream.unsent_bytes)
        core.pass_time(0.1)
        looks += 1

    assert is_closed == (stream.reason is CloseReason.SLOW_CONSUMER)
    assert (10 <= looks <= 13) == is_closed


def test_who_stops_reading_again_is_closed_at_the_next_look() -> None:
    """Having read once is no merit."""
    core = small_core()
    stream = parked(core)
    for number in range(40):
        core.fact("user-1", number, pad_bytes=280)
    stream.take(stream.unsent_bytes)
    core.pass_time(LOOK)
    after_reading = stream.reason
    core.pass_time(LOOK)

    assert (None, CloseReason.SLOW_CONSUMER) == (after_reading, stream.reason)


def test_who_has_caught_up_far_enough_may_take_its_time() -> None:
    """It is still full, and lacks no more than is kept for it."""
    core = small_core()
    stream = parked(core)
    for number in range(9):
        core.fact("user-1", number, pad_bytes=280)
    stream.take(stream.unsent_bytes)
    for _ in range(5):
        core.pass_time(0.5)
    is_full = stream.is_paused
    stream.take_until_drained()

    assert is_full
    assert list(range(9)) == stream.numbers()


def test_those_who_lag_are_looked_at_together() -> None:
    """One reads, one leaves, one is closed; and the next look is for who comes then."""
    core = small_core()
    streams = [parked(core), parked(core), parked(core)]
    late = parked(core, "alerts", user_id="user-2")
    for number in range(20):
        core.fact("user-1", number, pad_bytes=280)
    streams[0].take_until_drained()
    streams[1].cut()
    core.pass_time(LOOK)
    at_the_first_look = [stream.reason for stream in (*streams, late)]
    for number in range(20):
        core.fact("user-2", number, pad_bytes=280)
    core.pass_time(LOOK)

    left, slow = CloseReason.CLIENT_LEFT, CloseReason.SLOW_CONSUMER
    assert [None, left, slow, None] == at_the_first_look
    assert slow == late.reason


def test_who_leaves_before_it_is_looked_at_has_left() -> None:
    """It is not counted as closed, and nothing is left of it."""
    core = small_core(buffer__ttl_seconds=1)
    stream = parked(core)
    for number in range(20):
        core.fact("user-1", number, pad_bytes=280)
    stream.cut()
    core.pass_time(LOOK)
    core.pass_time(1.1)

    assert (CloseReason.CLIENT_LEFT, 0) == (stream.reason, core.hub.counters.slow_consumers)
    assert 0 == len(core.wheel)


def test_a_stream_that_was_closed_as_too_slow_resumes_or_is_told() -> None:
    """With everything where it is still buffered, else with the reason."""
    seen = []
    for events_per_user in (100, 2):
        core = small_core(buffer__events_per_user=events_per_user)
        stream = parked(core)
        last_id = stream.ids()[-1]
        for number in range(30):
            core.fact("user-1", number, pad_bytes=100)
        core.pass_time(LOOK)
        again = core.connect(request_for(last_event_id=last_id))
        seen.append(
            (
                stream.reason,
                [payload["reason"] for kind, payload in again.events() if kind == "stream:gap"],
                again.numbers(),
            )
        )

    slow = CloseReason.SLOW_CONSUMER
    assert [(slow, [], list(range(30))), (slow, ["too_slow"], [28, 29])] == seen


def test_one_event_of_any_size_is_kept_for_a_parked_stream() -> None:
    """One may always be in flight."""
    core = small_core()
    stream = parked(core)
    core.fact("user-1", 1, pad_bytes=50_000)
    core.hub.flush()
    core.pass_time(LOOK)
    stream.take_until_drained()

    assert [1] == stream.numbers()


def test_facts_of_other_streams_are_not_owed() -> None:
    """A parked stream of alerts is not closed for orders."""
    core = small_core()
    stream = parked(core)
    for number in range(50):
        core.fact("user-1", number, "order:fill", pad_bytes=1000)
    core.pass_time(LOOK)

    assert stream.reason is None


def test_a_stalled_stream_costs_the_others_nothing() -> None:
    """They get everything at once while it is parked, and after it was closed."""
    core = small_core()
    stream = parked(core)
    others = [core.connect(request_for(*given)) for given in (("alerts",), ("alerts", "user-2"))]
    for number in range(30):
        for user_id in ("user-1", "user-2"):
            core.fact(user_id, number, pad_bytes=100)
        core.hub.flush()
        if number == 20:
            core.pass_time(LOOK)

    assert CloseReason.SLOW_CONSUMER == stream.reason
    assert [list(range(30))] * 2 == [other.numbers() for other in others]


def test_what_is_owed_is_counted_anew_when_a_stream_reads_a_part() -> None:
    """What it has taken does not count any more, what is still lacking does."""
    core = small_core()
    stream = parked(core)
    for pad_bytes in (3000, 280, 280, 280, 280):
        core.fact("user-1", 0, pad_bytes=pad_bytes)
    stream.take(stream.unsent_bytes)
    assert stream.is_paused
    core.pass_time(0.02)

    # Four are lacking, of which the first is not counted.
    assert 3 == until_closed(core, stream)


def test_what_was_owed_is_forgotten_once_it_is_handed_over() -> None:
    """A stream that is parked again starts from nothing."""
    fresh, again = small_core(), small_core()
    stream = parked(again)
    for _ in range(4):
        again.fact("user-1", 0, pad_bytes=280)
    stream.take_until_drained()
    again.broadcast_test(pad_bytes=HIGH_WATER)
    again.hub.flush()
    assert stream.is_paused

    assert until_closed(fresh, parked(fresh)) == until_closed(again, stream)


def test_nothing_queued_is_lost_to_a_stream_that_is_parked_late() -> None:
    """Its audience writes what is queued first: some of it has left the replay buffer.

    Back-pressure may be noted outside a flush of all: when another member of the audience is
    ended, here.
    """
    core = small_core(buffer__events_per_user=2)
    ended = core.connect(request_for("orders", session_key=b"s"))
    slow = stalled(core, "orders")
    core.fact("user-1", 0, "order:fill", pad_bytes=3000)
    core.hub.streams.end_session(b"s")
    assert slow.is_paused
    for number in range(1, 6):
        core.fact("user-1", number, "order:fill")
    core.put_orders("user-1", ["o-1"])
    core.pass_time(0.02)
    core.fact("user-1", 6, "order:fill")
    slow.takes_all = True
    slow.take_until_drained()

    assert CloseReason.SESSION_EXPIRED == ended.reason
    assert list(range(7)) == slow.numbers()
    assert 2 == slow.types().count("order:update")


def test_a_parked_price_stream_gets_the_newest_of_each_symbol() -> None:
    """In the order of their IDs, then it is live again; what has not moved is not sent."""
    core = small_core()
    core.price("C", 9)
    slow = parked(core, "prices", symbols=frozenset({"A", "B", "C"}))
    for price in range(10):
        core.price("AB"[price % 2], price)
    core.price("D", 5)
    core.hub.flush()
    slow.takes_all = True
    slow.take_until_drained()
    core.price("A", 10)
    core.hub.flush()

    assert ([8, 10], [9], [9], []) == tuple(values(slow, symbol) for symbol in "ABCD")
    assert slow.ids() == sorted(set(slow.ids()))


def test_a_price_held_back_reaches_a_stream_that_was_parked_meanwhile() -> None:
    """Its ID of the window's end is later than all that the stream has."""
    core = small_core(batching__threshold_per_second=1)
    slow = stalled(core, "prices")
    core.price("B", 1)
    core.price("A", 2)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert slow.is_paused
    core.hub.end_window()
    slow.takes_all = True
    slow.take_until_drained()

    assert ([2], [1]) == (values(slow), values(slow, "B"))


def test_a_price_never_goes_back() -> None:
    """An older value that is held back does not follow the newer one a stream caught up with."""
    core = small_core(batching__threshold_per_second=1)
    slow = stalled(core, "prices")
    core.price("B", 1)
    core.price("A", 2)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert slow.is_paused
    core.price("A", 3)
    slow.takes_all = True
    slow.take_until_drained()
    core.hub.end_window()
    core.hub.flush()

    assert [3] == values(slow)


def test_a_parked_stream_of_decisions_gets_the_newest_status_of_each_agent() -> None:
    """Although facts with later IDs are replayed first; in ID order, once."""
    core = small_core()
    slow = parked(core, "ai-decisions")
    for number in range(6):
        core.status(f"agent-{number % 2}", number)
    core.fact("user-1", 6, "ai:decision")
    core.hub.flush()
    slow.takes_all = True
    slow.take_until_drained()
    core.status("agent-0", 7)
    core.hub.flush()

    assert [6, 4, 5, 7] == slow.numbers()
    assert slow.ids() == sorted(set(slow.ids()))


@pytest.mark.parametrize("overtakes", [False, True])
def test_a_parked_stream_of_positions_gets_what_moved_since_its_last_valuation(
    *, overtakes: bool
) -> None:
    """Even where the window ended meanwhile, and where a fact came after the price.

    The fact moves the stream's last ID past the quote's, of which it was never told.
    """
    core = small_core()
    for symbol in "ABC":
        core.position("user-1", 0, symbol)
    slow = stalled(core, "positions")
    core.price("A", 6)
    core.hub.end_window()
    core.hub.flush()
    core.price("B", 7)
    if overtakes:
        core.position("user-1", 0, "C")
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert slow.is_paused
    core.hub.end_window()
    core.position("user-1", 0, "C")
    slow.take_until_drained()

    assert [("B", "7")] == [
        (item["symbol"], item["currentPrice"]) for item in slow.events()[-1][1]["positions"]
    ]


def test_a_status_that_was_written_is_not_sent_again() -> None:
    """A stream that is parked after it has it."""
    core = small_core()
    slow = stalled(core, "ai-decisions")
    core.status("agent-1", 1)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    slow.take_until_drained()

    assert [1] == slow.numbers()


# ---- paced openings -------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_long_replay_is_paced(encoding: str) -> None:
    """The transport never holds more than half the backlog and one event."""
    core = small_core()
    for number in range(50):
        core.fact("user-1", number, pad_bytes=1000)
    stream = unread(core, encoding=encoding)
    most = stream.unsent_bytes
    while stream.unsent_bytes:
        stream.take(700)
        most = max(most, stream.unsent_bytes)

    assert list(range(50)) == stream.numbers()
    assert most < HIGH_WATER + 2000
    assert 50 == stream.events()[0][1]["replay"]


def test_an_opening_is_not_counted_as_backlog() -> None:
    """A client that reads gets all of it, though facts come meanwhile and push old ones out."""
    core = small_core(buffer__events_per_user=50)
    for number in range(50):
        core.fact("user-1", number, pad_bytes=1000)
    stream = unread(core)
    number = 50
    while stream.unsent_bytes:
        core.fact("user-1", number, pad_bytes=1000)
        number += 1
        core.pass_time(LOOK)
        stream.take(4000)
    core.hub.flush()
    stream.take_until_drained()

    assert stream.reason is None
    assert list(range(number)) == stream.numbers()


def test_an_opening_that_is_not_read_is_bounded() -> None:
    """What leaves the replay buffer is kept for it up to half the backlog, as for any stream."""
    core = small_core(buffer__events_per_user=50)
    for number in range(50):
        core.fact("user-1", number, pad_bytes=1000)
    stream = unread(core)
    count = 0
    while stream.reason is None and count < 50:
        core.fact("user-1", 50 + count, "order:fill", pad_bytes=1000)
        core.pass_time(LOOK)
        count += 1

    assert CloseReason.SLOW_CONSUMER == stream.reason
    assert 3 <= count <= 6


def test_a_status_from_while_the_opening_was_paced_follows_it() -> None:
    """Though streams of decisions have no snapshot."""
    core = small_core()
    core.status("agent-0", 100)
    for number in range(5):
        core.fact("user-1", number, "ai:decision", pad_bytes=1000)
    stream = unread(core, "ai-decisions")
    core.status("agent-1", 101)
    stream.take_until_drained()

    assert [0, 1, 2, 3, 4, 101] == stream.numbers()


def test_a_snapshot_that_fills_the_transport_parks_the_stream() -> None:
    """It is whole, and what moves meanwhile follows it."""
    core = small_core()
    for number in range(200):
        core.price(f"S-{number}", number)
    stream = unread(core, "prices")
    full = stream.is_paused
    core.price("S-7", 1000)
    core.hub.flush()
    stream.takes_all = True
    stream.take_until_drained()

    assert full
    assert 200 == len(stream.events()[1][1]["prices"])
    assert [7, 1000] == values(stream, "S-7")


# ---- too many connections -------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_past_the_limit_the_oldest_connection_is_told_and_closed(limit: int) -> None:
    """The newcomer is served, the others stay."""
    core = Core({"limits.connections_per_user": limit})
    streams = [core.connect(request_for()) for _ in range(limit)]
    with capture_logs() as logs:
        newcomer = core.connect(request_for())
    core.fact("user-1", 1)
    core.hub.flush()
    farewell = streams[0].events()[-1]

    assert ("connection:limit", limit) == (farewell[0], farewell[1]["limit"])
    assert {"limit", "message", "timestamp"} == farewell[1].keys()
    assert CloseReason.CONNECTION_LIMIT == streams[0].reason
    assert [[1]] * limit == [stream.numbers() for stream in (*streams[1:], newcomer)]
    assert ["connection_limit"] == [line["event"] for line in logs]
    assert 1 == core.hub.counters.evicted_connections


def test_a_lower_limit_closes_as_many_as_are_too_many() -> None:
    """The oldest first."""
    core = Core()
    streams = [core.connect(request_for()) for _ in range(5)]
    core.hub.streams.configure(Core({"limits.connections_per_user": 2}).config.limits)
    newcomer = core.connect(request_for())

    limit = CloseReason.CONNECTION_LIMIT
    assert [limit] * 4 + [None] * 2 == [stream.reason for stream in (*streams, newcomer)]


def test_connections_without_a_session_neither_count_nor_are_closed() -> None:
    """They cannot push out those of the user they name."""
    core = Core({"limits.connections_per_user": 1})
    counted = core.connect(request_for("trading"))
    open_ones = [core.connect(request_for("trading", is_counted=False)) for _ in range(3)]
    of_another = core.connect(request_for("trading", "user-2"))

    assert [None] * 5 == [stream.reason for stream in (counted, *open_ones, of_another)]


def test_the_closed_tab_is_known_when_it_returns() -> None:
    """By the ID of its farewell, for as long as the user is still at the limit."""
    core = Core({"limits.connections_per_user": 2})
    first, second = (core.connect(request_for()) for _ in range(2))
    core.connect(request_for())
    farewell_id = first.ids()[-1]
    asked = [
        request_for(last_event_id=farewell_id),
        request_for(last_event_id=farewell_id, is_counted=False),
        request_for(last_event_id=farewell_id + 2),
        request_for(last_event_id=None),
        request_for(user_id="user-2", last_event_id=farewell_id),
        request_for("prices", last_event_id=farewell_id),
    ]
    at_the_limit = [core.hub.streams.is_evicted_return(request) for request in asked]
    second.cut()

    assert [True, False, False, False, False, False] == at_the_limit
    assert not core.hub.streams.is_evicted_return(asked[0])


def test_a_user_who_never_was_at_the_limit_has_no_farewell_to_return_with() -> None:
    """Whatever ID is named."""
    core = Core({"limits.connections_per_user": 1})
    core.connect(request_for())

    assert not core.hub.streams.is_evicted_return(request_for(last_event_id=1))


# ---- ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_stream_ends_properly(encoding: str, *, is_chunked: bool) -> None:
    """After what was queued and the farewell: the end of the coding, and the last chunk."""
    core = Core()
    stream = core.connect(request_for(encoding=encoding, is_chunked=is_chunked, session_key=b"s"))
    core.fact("user-1", 1)
    count = core.hub.streams.end_session(b"s")
    dechunker = Dechunker()
    payload = dechunker.feed(stream.body) if is_chunked else stream.body
    decoder: Any = zlib.decompressobj(31) if encoding == "gzip" else ZstdFrames()
    if encoding != "identity":
        decoder.decompress(payload)
        assert decoder.eof

    assert is_chunked == dechunker.is_ended
    assert 1 == count
    assert ["connected", "alert:new", "session:expired"] == stream.types()
    assert CloseReason.SESSION_EXPIRED == stream.reason
    assert {} == core.hub.streams.clients


def test_a_farewell_is_a_place_to_resume_from() -> None:
    """What was queued came before it, what is published later comes after it."""
    core = Core()
    stream = core.connect(request_for(session_key=b"s"))
    core.fact("user-1", 1)
    core.hub.streams.end_session(b"s")
    core.fact("user-1", 2)
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert ([1], [2]) == (stream.numbers(), again.numbers())
    assert "stream:gap" not in again.types()


def test_the_farewell_of_a_stream_that_its_last_flush_filled_is_one_too() -> None:
    """All that was queued was handed over before it, though the peer has not taken it yet."""
    core = small_core()
    stream = stalled(core, session_key=b"s")
    core.fact("user-1", 1, pad_bytes=3000)
    core.hub.streams.end_session(b"s")
    core.fact("user-1", 2)
    core.hub.streams.settle()
    stream.take_until_drained()
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert ([1], [2]) == (stream.numbers(), again.numbers())
    assert "session:expired" == stream.types()[-1]


@pytest.mark.parametrize("events_per_user", [100, 1])
def test_the_farewell_of_a_parked_stream_is_before_what_it_lacks(events_per_user: int) -> None:
    """Whether that is buffered or kept for the stream alone; then the client is told."""
    core = small_core(buffer__events_per_user=events_per_user)
    stream = parked(core, session_key=b"s")
    for number in range(3):
        core.fact("user-1", number)
    core.hub.streams.end_session(b"s")
    stream.take_until_drained()
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert stream.ids() == sorted(set(stream.ids()))
    assert ("stream:gap" in again.types()) == (events_per_user == 1)
    assert [0, 1, 2][-events_per_user:] == again.numbers()


def test_the_farewell_of_a_parked_stream_that_lacks_nothing_is_after_everything() -> None:
    """Private or not."""
    core = small_core()
    streams = [parked(core, stream, user_id=f"user-{stream}") for stream in ("alerts", "prices")]
    last_id = core.hub.ids.last
    core.hub.shut_down()
    for stream in streams:
        stream.take_until_drained()

    assert all(stream.ids()[-1] > last_id for stream in streams)


def test_a_stream_evicted_amid_its_opening_gets_its_facts_before_its_farewell() -> None:
    """The answer to its return is 204, so that it could not have them later.

    Its place is the newcomer's at once, and its farewell is known when it returns.
    """
    core = small_core(limits__connections_per_user=1, buffer__events_per_user=20)
    for number in range(20):
        core.fact("user-1", number, pad_bytes=1000)
    stream = unread(core)
    newcomer = core.connect(request_for())
    reasons = (stream.reason, newcomer.reason)
    core.fact("user-1", 20)
    stream.take_until_drained()
    core.fact("user-1", 21)
    last_id = stream.ids()[-1]

    assert (None, None) == reasons
    assert "connection:limit" == stream.types()[-1]
    assert list(range(21)) == stream.numbers()
    assert CloseReason.CONNECTION_LIMIT == stream.reason
    assert core.hub.streams.is_evicted_return(request_for(last_event_id=last_id))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_shutdown_is_told_after_the_facts_that_are_held(encoding: str) -> None:
    """They are nowhere else: the process ends."""
    core = small_core(buffer__events_per_user=2)
    slow = stalled(core, encoding=encoding)
    core.broadcast_test(pad_bytes=3 * HIGH_WATER)
    core.hub.flush()
    for number in range(6):
        core.fact("user-1", number, pad_bytes=200)
    core.hub.shut_down()
    reason = slow.reason
    slow.take_until_drained()

    assert reason is None
    assert list(range(6)) == slow.numbers()
    assert "server:shutdown" == slow.types()[-1]
    assert slow.ids() == sorted(set(slow.ids()))
    assert CloseReason.SHUTDOWN == slow.reason


def test_a_stream_that_is_to_end_sends_no_state_that_it_lacks() -> None:
    """Only facts are owed; what moved since is in the next connection's snapshot."""
    core = small_core()
    slow = parked(core, "orders")
    core.put_orders("user-1", ["o-1"])
    core.fact("user-1", 1, "order:fill")
    core.hub.shut_down()
    slow.take_until_drained()

    assert ["order:fill", "server:shutdown"] == slow.types()[-2:]


def test_a_session_that_ends_does_not_wait_for_a_stream_that_is_to_end() -> None:
    """The right to be told is gone, so no more is told."""
    core = small_core()
    slow = parked(core, session_key=b"s")
    core.fact("user-1", 1)
    core.hub.shut_down()
    core.hub.streams.end_session(b"s")
    slow.take_until_drained()

    assert "session:expired" == slow.types()[-1]
    assert [] == slow.numbers()


def test_a_stream_that_is_to_end_and_never_reads_is_a_slow_consumer() -> None:
    """What is held for it is bounded as ever."""
    core = small_core(limits__connections_per_user=1)
    slow = parked(core)
    core.fact("user-1", 0)
    core.connect(request_for())
    for number in range(1, 20):
        core.fact("user-1", number, pad_bytes=400)
    core.pass_time(LOOK)

    assert CloseReason.SLOW_CONSUMER == slow.reason


def test_a_farewell_for_which_no_id_is_left_has_none() -> None:
    """The browser keeps the ID it has, from which it resumes."""
    core = small_core()
    stream = parked(core, session_key=b"s")
    assert stream.subscription is not None
    next_id = stream.subscription.last_id + 1
    fact = Event(next_id, "alert:new", b'{"n":1}', route="alerts", user_id="user-1")
    core.hub.publish(fact)
    core.hub.streams.end_session(b"s")
    stream.take_until_drained()

    assert ["connected", "test", "session:expired"] == stream.types()
    assert 2 == len(stream.ids())


def test_a_stream_that_is_ended_while_it_waits_gets_its_farewell() -> None:
    """And is not let in by the flush."""
    core = Core()
    core.connect(request_for())
    core.fact("user-1", 1)
    waiting = core.connect(request_for(session_key=b"s"))
    core.hub.streams.end_session(b"s")
    core.hub.flush()

    assert ["connected", "alert:new", "session:expired"] == waiting.types()


def test_a_session_ends_its_streams_and_no_others() -> None:
    """Whichever they are; the session's renewal can find them before."""
    core = Core()
    streams = [
        core.connect(request_for(stream, user_id, session_key=key))
        for stream, user_id, key in (
            ("alerts", "user-1", b"a"),
            ("orders", "user-1", b"a"),
            ("alerts", "user-1", b"b"),
            ("trading", "user-1", None),
        )
    ]
    of_session = [stream.request.stream for stream in core.hub.streams.of_session(b"a")]
    count = core.hub.streams.end_session(b"a")
    again = core.hub.streams.end_session(b"a")

    expired = CloseReason.SESSION_EXPIRED
    assert ["alerts", "orders"] == of_session
    assert (2, 0, []) == (count, again, core.hub.streams.of_session(b"a"))
    assert [expired, expired, None, None] == [stream.reason for stream in streams]


def test_a_route_that_is_gone_ends_its_streams_without_a_farewell() -> None:
    """A strategy that was deleted, or belongs to somebody else now."""
    core = Core()
    streams = [
        core.connect(request_for(stream, encoding="gzip"))
        for stream in ("strategies/s-1", "strategies/s-2", "alerts")
    ]
    user = core.hub.users.get("user-1")
    assert user is not None
    core.hub.streams.end_route(user, "strategies/s-1", CloseReason.STRATEGY_GONE)

    assert [CloseReason.STRATEGY_GONE, None, None] == [stream.reason for stream in streams]
    assert ["connected"] == streams[0].types()
    assert streams[0].body.endswith(LAST_CHUNK)


def test_leaving_twice_is_harmless() -> None:
    """A connection that was ended is lost a moment later."""
    core = Core()
    stream = core.connect(request_for(session_key=b"s"))
    stays = core.connect(request_for(session_key=b"s"))
    stream.cut()
    stream.cut()
    core.fact("user-1", 1)
    core.hub.flush()

    assert [1] == stays.numbers()
    assert 1 == len(core.hub.streams.clients)


def test_a_stream_that_has_ended_does_not_go_on() -> None:
    """Its transport may still drain, or report that it is full."""
    core = small_core()
    stream = parked(core)
    assert stream.subscription is not None
    stream.cut()
    body = len(stream.body) + stream.unsent_bytes
    core.hub.streams.note_paused(stream.subscription)
    core.hub.streams.settle()
    core.hub.streams.resume(stream.subscription)

    assert body == len(stream.body) + stream.unsent_bytes


def test_a_stream_that_was_full_for_a_moment_stays_a_member() -> None:
    """It drained before anybody looked."""
    core = small_core()
    stream = core.connect(request_for())
    assert stream.subscription is not None
    core.hub.streams.note_paused(stream.subscription)
    core.hub.streams.settle()
    core.hub.streams.resume(stream.subscription)
    core.fact("user-1", 1)
    core.hub.flush()

    assert [1] == stream.numbers()


def test_positions_are_watched_as_long_as_a_stream_shows_them() -> None:
    """Prices cost nothing for users whom nobody looks at."""
    core = Core()
    core.position("user-1", 0, "A")
    streams = [core.connect(request_for(stream)) for stream in ("positions", "trading")]
    moved = []
    for stream in (*streams, None):
        core.price("A", 1)
        moved.append(core.projection.has_revaluations)
        core.hub.end_window()
        if stream is not None:
            stream.cut()

    assert [True, True, False] == moved


def test_when_all_have_gone_nothing_is_left() -> None:
    """Audiences, routes, sessions, users, timers and contexts."""
    core = small_core(buffer__ttl_seconds=1)
    streams = [
        core.connect(request_for(stream, encoding=encoding, session_key=b"s"))
        for stream in ("alerts", "trading", "prices", "ai-decisions", "strategies/s-1")
        for encoding in ENCODINGS
    ]
    streams.append(parked(core, "alerts", session_key=b"s"))
    core.fact("user-1", 1)
    for stream in streams:
        stream.cut()
    core.pass_time(1.1)

    assert (0, 0, 0, 0) == (
        len(core.hub.audiences),
        core.hub.audiences.contexts.in_use,
        len(core.hub.users),
        len(core.wheel),
    )
    assert ({}, {}, {}) == (
        core.hub.streams.clients,
        core.hub.streams._by_session,  # empty entries could not be seen from outside
        core.hub.streams.catch_up._waiting,
    )
