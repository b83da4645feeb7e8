"""Tests of `sseserver.hub.catch_up`."""

import pytest

from sseserver.errors import CloseReason
from tests.support.core import Core, request_for
from tests.support.fake_connection import HEAD, FakeConnection
from tests.unit.hub.slow_streams import (
    ENCODINGS,
    HIGH_WATER,
    LOOK,
    parked,
    small_core,
    stalled,
    unread,
    values,
)

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


# ---- ends -----------------------------------------------------------------------------------


def test_a_stream_that_is_to_end_sends_no_state_that_it_lacks() -> None:
    """Only facts are owed; what moved since is in the next connection's snapshot."""
    core = small_core()
    slow = parked(core, "orders")
    core.put_orders("user-1", ["o-1"])
    core.fact("user-1", 1, "order:fill")
    core.hub.shut_down()
    slow.take_until_drained()

    assert ["order:fill", "server:shutdown"] == slow.types()[-2:]


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
