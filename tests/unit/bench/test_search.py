"""The search for the highest rate of ingest, with servers that are made up."""

from typing import NamedTuple

import pytest

from bench.neighbours import unspoilt
from bench.search import RUN_SECONDS, highest_runs, runs_at


class FakeRun(NamedTuple):
    """A run at a rate."""

    rate: float
    seconds: float
    is_carried: bool
    others_share: float = 0.0


@pytest.mark.parametrize("limit", [8_000, 47_000, 200_000])
def test_the_runs_at_the_highest_rate(limit: float) -> None:
    """The rate is the highest that is carried, to 5 %, and all runs are at it."""
    found = highest_runs(lambda rate, seconds: FakeRun(rate, seconds, rate <= limit), 3)

    assert found is not None
    rate, runs = found
    assert limit / 1.05 <= rate <= limit
    assert [FakeRun(rate, RUN_SECONDS, is_carried=True)] * 3 == runs


def test_what_held_for_a_moment_only_is_not_the_highest_rate() -> None:
    """Where the longer runs carry less than the search found, the rate goes down to that."""

    def attempt(rate: float, seconds: float) -> FakeRun:
        return FakeRun(rate, seconds, rate <= (100_000 if seconds < 3 else 80_000))

    found = highest_runs(attempt, 2)

    assert found is not None
    assert 80_000 * 0.95 <= found[0] <= 80_000


def test_a_server_that_carries_nothing() -> None:
    """Where even the first rate is too high there is no rate."""
    assert None is highest_runs(lambda rate, seconds: FakeRun(rate, seconds, is_carried=False), 1)


def test_a_run_that_nobody_spoilt_counts() -> None:
    """A run that is not carried is repeated only where others took the server's time."""
    runs = runs_at(1.0, lambda rate, seconds: FakeRun(rate, seconds, is_carried=False), 2)

    assert [FakeRun(1.0, RUN_SECONDS, is_carried=False)] * 2 == runs


def test_a_run_that_others_spoilt_is_repeated() -> None:
    """Of two runs, of which others spoilt the first, the second counts."""
    spoilt = FakeRun(1.0, RUN_SECONDS, is_carried=False, others_share=0.5)
    good = FakeRun(1.0, RUN_SECONDS, is_carried=True)
    runs = iter([spoilt, good])

    assert good == unspoilt(lambda: next(runs), wait=lambda: None)


def test_runs_that_others_spoil_again_and_again() -> None:
    """The last run counts where others spoil each of them."""
    runs = [FakeRun(number, RUN_SECONDS, is_carried=False, others_share=0.5) for number in range(4)]
    left = iter(runs)

    assert runs[-1] == unspoilt(lambda: next(left), wait=lambda: None)
