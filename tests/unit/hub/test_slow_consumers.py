"""Tests of `sseserver.hub.slow_consumers`."""

import pytest

from sseserver.errors import CloseReason
from tests.support.core import Core, request_for
from tests.support.fake_connection import FakeConnection
from tests.unit.hub.slow_streams import HIGH_WATER, LOOK, parked, small_core, unread


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
