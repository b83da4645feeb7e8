"""Tests of `sseserver.delivery.cork`."""

import pytest

from sseserver.delivery.cork import MAX_TICK_SECONDS, MIN_TICK_SECONDS, Cork

START = 100.0
PERIOD = 0.125
"""A period of the tests, past the tenth of a second after which the cork decides; exact."""

SECONDS_PER_WRITE = 6e-6


class Flow:
    """Drives a cork through periods of a constant flow."""

    def __init__(self) -> None:
        self.used_seconds = 0.0
        self.cork = Cork(START, lambda: self.used_seconds)
        self.now = START

    def period(self, load: float, busy: float = 0.0, seconds: float = PERIOD) -> float:
        """Let a period pass and return the delay at its end.

        Args:
            load: Share of the period that one write per delivery would need.
            busy: Share of it for which the processor was used.
            seconds: Its length.
        """
        self.cork.count(round(load * seconds / self.cork.seconds_per_write), 0, 0.0)
        self.used_seconds += busy * seconds
        self.now += seconds
        return self.cork.delay(self.now)


def test_a_lone_event_leaves_at_once() -> None:
    """A server that has done nothing yet does not wait."""
    assert 0.0 == Cork(START, lambda: 0.0).delay(START)


@pytest.mark.parametrize(
    ("load", "delay"), [(0.0, 0.0), (0.3, 0.0), (0.69, 0.0), (0.71, 0.010), (5.0, 0.010)]
)
def test_the_cork_goes_in_when_writes_would_fill_the_time(load: float, delay: float) -> None:
    """Above a load of 0.7 flushes wait for a tick of 10 ms."""
    assert delay == Flow().period(load)


def test_load_is_deliveries_per_second_times_seconds_per_write() -> None:
    """25,000 deliveries in a quarter of a second at 6 us a write fill 0.6 of the time."""
    cork = Cork(START, lambda: 0.0)
    cork.count(20_000, 500, 500 * SECONDS_PER_WRITE)
    cork.count(5_000, 500, 500 * SECONDS_PER_WRITE)
    cork.delay(START + 0.25)

    assert pytest.approx(0.6) == cork.load


@pytest.mark.parametrize(
    ("load", "delay"), [(0.44, 0.0), (0.46, 0.010), (0.69, 0.010), (0.71, 0.010)]
)
def test_the_cork_comes_out_below_a_lower_load(load: float, delay: float) -> None:
    """Corked, it stays so down to a load of 0.45: between the two bounds it does not flap."""
    flow = Flow()
    flow.period(1.0)

    assert delay == flow.period(load, busy=0.5)


def test_nothing_is_decided_within_a_period() -> None:
    """A burst of 50 ms does not cork by itself."""
    cork = Cork(START, lambda: 0.0)
    cork.count(1_000_000, 1_000, 0.02)

    assert (0.0, 0.0) == (cork.delay(START + 0.05), cork.load)


def test_each_period_counts_for_itself() -> None:
    """What one period delivered says nothing about the next."""
    flow = Flow()
    flow.period(0.5)
    flow.period(0.0)

    assert 0.0 == flow.cork.load


def test_the_first_event_after_a_quiet_spell_does_not_wait() -> None:
    """A burst that ended long ago leaves no cork behind."""
    flow = Flow()
    flow.period(3.0)
    flow.period(3.0, busy=0.9)

    assert 0.0 == flow.period(0.0, seconds=60.0)


@pytest.mark.parametrize(
    ("periods", "tick"), [(1, 0.015), (2, 0.0225), (3, 0.03375), (4, 0.05), (9, 0.05)]
)
def test_the_tick_widens_while_no_time_is_left(periods: int, tick: float) -> None:
    """Corked and still saturated, the tick grows by half each period, up to 50 ms."""
    flow = Flow()
    flow.period(3.0)
    delays = [flow.period(3.0, busy=0.9) for _ in range(periods)]

    assert pytest.approx(tick) == delays[-1]


def test_the_tick_narrows_when_there_is_time() -> None:
    """Corked with time to spare, the tick shrinks by a third each period, down to 10 ms."""
    flow = Flow()
    flow.period(3.0)
    for _ in range(5):
        flow.period(3.0, busy=0.9)
    delays = [flow.period(3.0, busy=0.1) for _ in range(6)]

    assert pytest.approx([0.05 / 1.5**n for n in range(1, 4)] + [MIN_TICK_SECONDS] * 3) == delays


@pytest.mark.parametrize("busy", [0.61, 0.7, 0.84])
def test_the_tick_stays_when_time_is_short(busy: float) -> None:
    """Between the two bounds the tick is right as it is."""
    flow = Flow()
    flow.period(3.0)
    flow.period(3.0, busy=0.9)

    assert pytest.approx(0.015) == flow.period(3.0, busy=busy)


def test_a_saturated_server_corks_though_its_writes_are_few() -> None:
    """Many users with few events each: what fills the time is not the writes alone."""
    flow = Flow()
    delays = [flow.period(0.3, busy=busy) for busy in (0.84, 0.86, 0.7, 0.61, 0.59)]

    assert pytest.approx([0.0, 0.010, 0.010, 0.010, 0.0]) == delays


def test_a_wide_tick_is_forgotten_when_the_cork_comes_out() -> None:
    """The next burst starts at 10 ms again."""
    flow = Flow()
    flow.period(3.0)
    for _ in range(5):
        flow.period(3.0, busy=0.9)
    widest = flow.cork.tick_seconds
    flow.period(0.1)

    assert (MAX_TICK_SECONDS, MIN_TICK_SECONDS) == (widest, flow.period(3.0))


def test_seconds_per_write_follow_the_measurement_slowly() -> None:
    """Each period moves them by three tenths of the way to what was measured."""
    cork = Cork(START, lambda: 0.0)
    cork.count(100, 100, 100 * 16e-6)
    cork.delay(START + PERIOD)

    assert pytest.approx(9e-6) == cork.seconds_per_write


def test_each_period_measures_for_itself() -> None:
    """The writes of one period are not counted in the next."""
    cork = Cork(START, lambda: 0.0)
    for number in (1, 2):
        cork.count(100, 100, 100 * 16e-6)
        cork.delay(START + number * PERIOD)

    assert pytest.approx(11.1e-6) == cork.seconds_per_write


def test_a_period_without_writes_measures_nothing() -> None:
    """Seconds per write stay what they were."""
    flow = Flow()
    flow.period(0.2)

    assert SECONDS_PER_WRITE == flow.cork.seconds_per_write


def test_whether_the_cork_is_in_can_be_read() -> None:
    """The metrics show it."""
    flow = Flow()
    before = flow.cork.is_corked
    flow.period(1.0)

    assert (False, True) == (before, flow.cork.is_corked)
