"""The timer wheel against a dictionary of deadlines."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sseserver.delivery.timer_wheel import RESOLUTION_SECONDS, TimerWheel
from tests.unit.delivery.fake_timed import FakeTimed, do_nothing

ENTRIES = 6
LAP_SECONDS = 2048 * RESOLUTION_SECONDS

indexes = st.integers(0, ENTRIES - 1)
delays = st.one_of(
    st.floats(-1, 3),
    st.floats(-100, 400),
    st.sampled_from([0.0, 0.02, 1.0, LAP_SECONDS, LAP_SECONDS + 0.02, 2 * LAP_SECONDS]),
)
waits = st.one_of(
    st.floats(0, 0.1),
    st.floats(0, 100),
    st.sampled_from([0.02, 1.0, LAP_SECONDS - 0.02, LAP_SECONDS, LAP_SECONDS + 0.02, 500.0]),
)


class Deadlines(RuleBasedStateMachine):
    """Entries are scheduled, put off, cancelled and fired, by the test and by each other.

    The model is a deadline and the time of the wish for each entry that is in. It says nothing
    about slots: an entry fires after its deadline has passed, and at the latest when the wheel
    is turned a slot's width after it (or after the wish, when that came later).
    """

    @initialize(start=st.floats(0, 10**6))
    def start(self, start: float) -> None:
        self.now = start
        self.wheel = TimerWheel(start)
        self.deadlines: dict[FakeTimed, float] = {}
        self.wished: dict[FakeTimed, float] = {}
        self.fired = 0
        self.entries = [FakeTimed() for _ in range(ENTRIES)]
        for entry in self.entries:
            self.react(entry, do_nothing)

    def react(self, entry: FakeTimed, reaction: Callable[[float], float | None]) -> None:
        """Let an entry check that it may fire, and then do something once."""

        def fire(now: float) -> float | None:
            assert self.now == now
            assert self.deadlines.pop(entry) < now
            self.fired += 1
            self.react(entry, do_nothing)
            deadline = reaction(now)
            if deadline is not None:
                self.note(entry, deadline)
            return deadline

        entry.react = fire

    def note(self, entry: FakeTimed, deadline: float) -> None:
        """Note a wish in the model."""
        self.deadlines[entry] = deadline
        self.wished[entry] = self.now

    @rule(index=indexes, delay=delays)
    def schedule(self, index: int, delay: float) -> None:
        entry = self.entries[index]
        self.note(entry, self.now + delay)
        self.wheel.schedule(entry, self.now + delay)

    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        entry = self.entries[index]
        self.deadlines.pop(entry, None)
        self.wheel.cancel(entry)

    @rule(index=indexes, delay=st.floats(0.001, 200))
    def rearm_when_fired(self, index: int, delay: float) -> None:
        self.react(self.entries[index], lambda now: now + delay)

    @rule(index=indexes, other=indexes)
    def cancel_another_when_fired(self, index: int, other: int) -> None:
        def reaction(_now: float) -> None:
            self.cancel(other)

        self.react(self.entries[index], reaction)

    @rule(index=indexes, other=indexes, delay=delays)
    def schedule_another_when_fired(self, index: int, other: int, delay: float) -> None:
        def reaction(_now: float) -> None:
            self.schedule(other, delay)

        self.react(self.entries[index], reaction)

    @rule(wait=waits)
    def advance(self, wait: float) -> None:
        self.now += wait
        self.fired = 0
        returned = self.wheel.advance(self.now)
        assert self.fired == returned
        late = {
            entry: deadline
            for entry, deadline in self.deadlines.items()
            if max(deadline, self.wished[entry]) + RESOLUTION_SECONDS < self.now - 1e-6
        }
        assert {} == late

    @rule(wait=st.floats(0, 3))
    def advance_in_ticks(self, wait: float) -> None:
        end = self.now + wait
        while self.now < end:
            self.advance(min(RESOLUTION_SECONDS, end - self.now))

    @invariant()
    def the_wheel_holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "wheel"):
            return
        held = {entry for entry in self.entries if entry.timer_slot >= 0}
        assert (len(self.deadlines), set(self.deadlines)) == (len(self.wheel), held)

    def teardown(self) -> None:
        """Whatever is in fires when time goes on for long enough."""
        if not hasattr(self, "wheel"):
            return
        for entry in self.entries:
            self.react(entry, do_nothing)
        self.advance(1000.0)
        self.advance(1000.0)
        assert {} == self.deadlines


TestDeadlines = Deadlines.TestCase
TestDeadlines.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
