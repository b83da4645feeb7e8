"""Tests of `sseserver.delivery.conflation`."""

import random
from collections import deque

import pytest

from sseserver.delivery.conflation import RateGate, Window


def admitted(gate: RateGate, times: list[float]) -> list[bool]:
    """Return what the gate says to updates at these times."""
    return [gate.admits(now) for now in times]


def admitted_by_counting(threshold: int, times: list[float]) -> list[bool]:
    """Return what a gate must say, by counting the updates of each sliding second."""
    recent: deque[float] = deque()
    answers = []
    for now in times:
        recent.append(now)
        while now - recent[0] >= 1.0:
            recent.popleft()
        answers.append(len(recent) <= threshold)
    return answers


def test_updates_up_to_the_threshold_are_admitted() -> None:
    """The update after the threshold is the first that is held back."""
    assert [True, True, True, False] == admitted(RateGate(3), [5.0] * 4)


def test_after_a_second_updates_are_admitted_again() -> None:
    """An update that is a second old has left the sliding second."""
    assert [True, True, True] == admitted(RateGate(2), [5.0, 5.5, 6.0])


def test_an_update_just_inside_the_second_counts() -> None:
    """A moment before, it has not."""
    assert [True, True, False] == admitted(RateGate(2), [5.0, 5.5, 5.999])


def test_updates_that_are_held_back_count_too() -> None:
    """The rate is that of the feed: a sustained burst stays above the threshold."""
    assert [True, True, False, False, False] == admitted(RateGate(2), [5.0, 5.3, 5.6, 6.0, 6.5])


def test_a_quiet_second_ends_a_burst() -> None:
    """However long a burst was, a second later everything is admitted again."""
    assert [True, True] == admitted(RateGate(2), [5.0] * 50 + [6.0, 6.0])[-2:]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("threshold", [1, 2, 7, 50])
def test_the_gate_says_what_counting_says(threshold: int, seed: int) -> None:
    """Over bursts and pauses the ring gives the answers of a plain sliding window."""
    chance = random.Random(seed)
    times = [0.0]
    for _ in range(500):
        times.append(times[-1] + chance.choice([0.0, 0.001, 1 / threshold, 0.3, 2.0]))

    assert admitted_by_counting(threshold, times) == admitted(RateGate(threshold), times)


def test_a_window_opens_at_once_for_the_first_event() -> None:
    """Before anything was flushed nothing waits."""
    assert 0.0 == Window(0.1).opens_in(7.0)


@pytest.mark.parametrize(
    ("now", "expected"), [(7.0, 0.5), (7.25, 0.25), (7.5, 0.0), (7.75, 0.0), (900.0, 0.0)]
)
def test_a_window_opens_again_when_its_time_has_passed(now: float, expected: float) -> None:
    """After a flush the next one waits for the rest of the window, and never negative time."""
    window = Window(0.5)
    window.flushed(7.0)

    assert expected == window.opens_in(now)


def test_the_last_flush_counts() -> None:
    """Every flush starts a new window."""
    window = Window(0.5)
    window.flushed(7.0)
    window.flushed(7.25)

    assert 0.25 == window.opens_in(7.5)


def test_a_new_width_holds_at_once() -> None:
    """A window that is made wider while it runs opens later."""
    window = Window(0.5)
    window.flushed(7.0)
    window.seconds = 2.0

    assert 1.0 == window.opens_in(8.0)
