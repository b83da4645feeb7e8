"""Tests of `sseserver.delivery.timer_wheel`."""

from functools import partial

import pytest

from sseserver.delivery.timer_wheel import RESOLUTION_SECONDS, TimerWheel
from tests.unit.delivery.fake_timed import FakeTimed

LAP_SECONDS = 2048 * RESOLUTION_SECONDS
START = 1000.0
DEADLINES = [START + 0.001, START + 0.02, START + 0.3, START + 7.77, START + 300.0]


@pytest.fixture
def wheel() -> TimerWheel:
    """Return an empty wheel at `START`."""
    return TimerWheel(START)


def note(order: list[int], number: int, _now: float) -> None:
    """React by noting a number."""
    order.append(number)


def advance_in_ticks(wheel: TimerWheel, now: float, end: float) -> None:
    """Let the wheel turn from `now` to `end` as the daemon does, a slot at a time."""
    while now < end:
        now = min(now + RESOLUTION_SECONDS, end)
        wheel.advance(now)


@pytest.mark.parametrize("deadline", DEADLINES)
def test_nothing_fires_before_its_deadline(wheel: TimerWheel, deadline: float) -> None:
    """At the deadline itself it is still too early: it must have passed."""
    entry = FakeTimed()
    wheel.schedule(entry, deadline)
    advance_in_ticks(wheel, START, deadline)

    assert [] == entry.fired


@pytest.mark.parametrize("deadline", DEADLINES)
def test_a_deadline_fires_within_the_resolution(wheel: TimerWheel, deadline: float) -> None:
    """One slot after the deadline the entry has fired, once."""
    entry = FakeTimed()
    wheel.schedule(entry, deadline)
    late = deadline + RESOLUTION_SECONDS + 1e-9
    advance_in_ticks(wheel, START, deadline)
    wheel.advance(late)
    wheel.advance(late + 3 * LAP_SECONDS)

    assert [late] == entry.fired


def test_a_deadline_in_the_past_fires_at_the_next_slot(wheel: TimerWheel) -> None:
    """What is overdue when it is scheduled does not wait for the wheel to come round."""
    entry = FakeTimed()
    wheel.schedule(entry, START - 100.0)
    wheel.advance(START + 0.021)

    assert [START + 0.021] == entry.fired


def test_a_deadline_of_a_later_lap_waits_for_its_lap(wheel: TimerWheel) -> None:
    """An entry two laps away stays where it is when the wheel passes its slot."""
    entry = FakeTimed()
    deadline = START + 2 * LAP_SECONDS + 5.0
    wheel.schedule(entry, deadline)
    advance_in_ticks(wheel, START, deadline)
    before = list(entry.fired)
    wheel.advance(deadline + 0.021)

    assert ([], [deadline + 0.021]) == (before, entry.fired)


@pytest.mark.parametrize("slept", [LAP_SECONDS, LAP_SECONDS + 0.5, 10 * LAP_SECONDS])
def test_after_a_long_sleep_everything_due_fires_once(wheel: TimerWheel, slept: float) -> None:
    """A process that was stopped for laps fires all that came due meanwhile, each once."""
    entries = [FakeTimed() for _ in range(4)]
    for entry, seconds in zip(entries, (0.0, 0.01, 1.0, LAP_SECONDS / 2), strict=True):
        wheel.schedule(entry, START + seconds)

    assert (4, [[START + slept]] * 4) == (
        wheel.advance(START + slept),
        [entry.fired for entry in entries],
    )


def test_a_sleep_of_decades_costs_no_more_than_a_lap(wheel: TimerWheel) -> None:
    """The wheel turns once at most: 5e10 slots, one by one, would take hours."""
    wheel.schedule(FakeTimed(), START + 1.0)

    assert 1 == wheel.advance(START + 1e9)


def test_after_a_long_sleep_what_is_not_due_stays(wheel: TimerWheel) -> None:
    """A deadline after the sleep is not taken for one that was slept through."""
    entry = FakeTimed()
    wheel.schedule(entry, START + 10 * LAP_SECONDS)

    assert (0, 1) == (wheel.advance(START + 9.5 * LAP_SECONDS), len(wheel))


@pytest.mark.parametrize("now", [START, START + 0.0199, START - 50.0])
def test_nothing_fires_while_time_stands_still(wheel: TimerWheel, now: float) -> None:
    """Within a slot, and when asked with an earlier time, the wheel does not turn."""
    wheel.schedule(FakeTimed(), START - 1.0)

    assert 0 == wheel.advance(now)


def test_advance_returns_how_many_fired(wheel: TimerWheel) -> None:
    """Three of four were due."""
    for seconds in (0.1, 0.1, 0.5, 9.0):
        wheel.schedule(FakeTimed(), START + seconds)

    assert (3, 1) == (wheel.advance(START + 1.0), len(wheel))


def test_a_new_deadline_replaces_the_old_one(wheel: TimerWheel) -> None:
    """An entry fires for its last wish only, and counts once."""
    entry = FakeTimed()
    wheel.schedule(entry, START + 0.5)
    wheel.schedule(entry, START + 2.0)
    count = len(wheel)
    wheel.advance(START + 1.0)
    wheel.advance(START + 3.0)

    assert (1, [START + 3.0]) == (count, entry.fired)


def test_a_cancelled_entry_does_not_fire(wheel: TimerWheel) -> None:
    """After `cancel` the wheel has forgotten the entry, and the entry its slot."""
    entry = FakeTimed()
    wheel.schedule(entry, START + 0.5)
    wheel.cancel(entry)

    assert (0, 0, -1) == (wheel.advance(START + 1.0), len(wheel), entry.timer_slot)


def test_the_first_slot_is_a_slot_like_any_other(wheel: TimerWheel) -> None:
    """An entry in slot 0 is in: it can be cancelled."""
    entry = FakeTimed()
    wheel.schedule(entry, 1023.99)
    slot = entry.timer_slot
    wheel.cancel(entry)

    assert (0, 0, 0) == (slot, len(wheel), wheel.advance(1030.0))


def test_cancelling_what_is_not_in_does_nothing(wheel: TimerWheel) -> None:
    """Cancelling twice leaves the others in."""
    entry = FakeTimed()
    wheel.schedule(FakeTimed(), START + 0.5)
    wheel.schedule(entry, START + 0.5)
    wheel.cancel(entry)
    wheel.cancel(entry)

    assert 1 == len(wheel)


def test_an_entry_that_has_fired_is_out(wheel: TimerWheel) -> None:
    """While it fires the wheel does not hold it any more, so that it may schedule itself."""
    slots: list[int] = []
    entry = FakeTimed()
    entry.react = lambda _now: slots.append(entry.timer_slot)
    wheel.schedule(entry, START + 0.5)
    wheel.advance(START + 1.0)

    assert ([-1], 0) == (slots, len(wheel))


def test_an_entry_says_when_it_wants_to_fire_next(wheel: TimerWheel) -> None:
    """The deadline that `on_timer` returns is scheduled."""
    entry = FakeTimed(lambda now: now + 1.0)
    wheel.schedule(entry, START + 0.5)
    for seconds in (1.0, 1.9, 2.1, 3.0, 3.2):
        wheel.advance(START + seconds)

    assert [START + 1.0, START + 2.1, START + 3.2] == entry.fired


def test_an_entry_may_schedule_itself_while_it_fires(wheel: TimerWheel) -> None:
    """What it scheduled holds when it returns no deadline."""
    entry = FakeTimed()
    entry.react = lambda now: wheel.schedule(entry, now + 1.0)
    wheel.schedule(entry, START + 0.5)
    wheel.advance(START + 1.0)
    wheel.advance(START + 2.1)

    assert [START + 1.0, START + 2.1] == entry.fired


def test_entries_of_one_slot_fire_in_the_order_of_scheduling(wheel: TimerWheel) -> None:
    """Equal deadlines fire first come, first served."""
    order: list[int] = []
    for number in range(3):
        wheel.schedule(FakeTimed(partial(note, order, number)), START + 0.5)
    wheel.advance(START + 1.0)

    assert [0, 1, 2] == order


def test_an_entry_may_cancel_another_that_is_due(wheel: TimerWheel) -> None:
    """The other is not fired, though both were due in the same slot."""
    other = FakeTimed()
    wheel.schedule(FakeTimed(lambda _now: wheel.cancel(other)), START + 0.5)
    wheel.schedule(other, START + 0.5)

    assert (1, []) == (wheel.advance(START + 1.0), other.fired)


def test_an_entry_may_put_off_another_that_is_due(wheel: TimerWheel) -> None:
    """The other fires at its new deadline, though that is in the same slot a lap later."""
    other = FakeTimed()
    deadline = START + 0.5
    wheel.schedule(FakeTimed(lambda _now: wheel.schedule(other, deadline + LAP_SECONDS)), deadline)
    wheel.schedule(other, deadline)
    slot = other.timer_slot
    wheel.advance(START + 1.0)
    before = list(other.fired)
    assert slot == other.timer_slot, "the case that this test is about"
    wheel.advance(deadline + LAP_SECONDS + 0.021)

    assert ([], [deadline + LAP_SECONDS + 0.021]) == (before, other.fired)


def test_an_entry_may_schedule_another_that_is_overdue(wheel: TimerWheel) -> None:
    """What becomes due while the wheel catches up fires in the same call."""
    other = FakeTimed()
    wheel.schedule(FakeTimed(lambda _now: wheel.schedule(other, START)), START + 0.5)

    assert (2, [START + 1.0]) == (wheel.advance(START + 1.0), other.fired)


def test_a_bug_in_one_entry_does_not_cost_the_others_their_deadline(wheel: TimerWheel) -> None:
    """What was due with an entry that raises fires at the next advance, and once."""

    def fail(_now: float) -> float | None:
        raise AssertionError

    before, broken, after = FakeTimed(), FakeTimed(fail), FakeTimed()
    for entry in (before, broken, after):
        wheel.schedule(entry, START + 1)
    with pytest.raises(AssertionError):
        wheel.advance(START + 2)
    wheel.advance(START + 3)

    assert ([START + 2], [START + 2], [START + 3]) == (before.fired, broken.fired, after.fired)
