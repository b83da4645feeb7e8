"""Runs that others on the machine did not disturb, as far as such can be had."""

from collections.abc import Callable
from typing import NamedTuple

from bench.load import Outcome
from bench.measured import Processes
from bench.neighbours import OthersTime, unspoilt


class QuietRun(NamedTuple):
    """What the load client measured, and what others took of the server's core meanwhile."""

    outcome: Outcome
    others_share: float

    @property
    def is_carried(self) -> bool:
        """Never: a figure that others spoilt says nothing, however good it looks."""
        return False


def quiet_run(attempt: Callable[[], Outcome], processes: Processes) -> QuietRun:
    """Return a run during which others left the server's core alone, or the last of a few.

    Args:
        attempt: Does a run.
        processes: The server.
    """

    def run() -> QuietRun:
        others = OthersTime(processes)
        outcome = attempt()
        return QuietRun(outcome, others.share())

    return unspoilt(run)
