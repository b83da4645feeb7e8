"""The search for the highest rate of ingest that a server carries, and the runs at it."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from bench.fan_out import highest_rate
from bench.neighbours import Run, unspoilt

SEARCH_SECONDS: Final = 1.5
RUN_SECONDS: Final = 5.0
"""Long enough for what is kept to fill and for collections of garbage: what holds is sustained."""

_UNIT: Final = 1000.0
"""`highest_rate` begins with 8 of them."""
_BACK_OFF: Final = 0.95

_R = TypeVar("_R", bound=Run)


def noted(attempt: Callable[..., _R], note: Callable[[_R], None]) -> Callable[[float, float], _R]:
    """Return `attempt`, of a rate and for so many seconds, with `note` told about every run."""

    def run(rate: float, seconds: float) -> _R:
        done = attempt(rate, seconds=seconds)
        note(done)
        return done

    return run


def runs_at(rate: float, attempt: Callable[[float, float], _R], runs: int) -> list[_R]:
    """Return so many runs at a rate; `attempt` is told the rate and for how many seconds."""
    return [unspoilt(lambda: attempt(rate, RUN_SECONDS)) for _ in range(runs)]


def are_carried(runs: Sequence[Run]) -> bool:
    """Tell whether the server did what it should in most runs: in the median one."""
    return 2 * sum(run.is_carried for run in runs) > len(runs)


def highest_runs(attempt: Callable[[float, float], _R], runs: int) -> tuple[float, list[_R]] | None:
    """Return the highest rate that is carried and so many runs at it; None when there is none."""

    def is_carried_at(units: float) -> bool:
        return unspoilt(lambda: attempt(units * _UNIT, SEARCH_SECONDS)).is_carried

    rate = _UNIT * highest_rate(is_carried_at)
    while rate >= _UNIT:
        done = runs_at(rate, attempt, runs)
        if are_carried(done):
            return rate, done
        rate *= _BACK_OFF  # what held for a moment did not hold for long
    return None
