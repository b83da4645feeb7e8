"""What others took of the server's core: a run that they spoilt says nothing about the server."""

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bench.measured import Processes

SPOILT: Final = 0.05
"""Share of the core that others may take; threads of the kernel take about 0.01."""

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_NOT_BUSY: Final = (3, 4)
"""Among the fields of proc_stat(5): idle, and waiting for a disk."""

_TRIES: Final = 4
_WAIT_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0


class Run(Protocol):
    """One run of a bench."""

    @property
    def is_carried(self) -> bool:
        """Whether the server did what it should."""
        ...

    @property
    def others_share(self) -> float:
        """Share of the server's core that others took meanwhile."""
        ...


_R = TypeVar("_R", bound=Run)


class OthersTime:
    """The time that others take of the cores on which a server may run, from now on."""

    def __init__(self, server: Processes) -> None:
        self._server = server
        self._cores = os.sched_getaffinity(server.pids[0])
        self._began = self._now()

    def share(self) -> float:
        """Return which share of the cores' time it was so far.

        What the kernel counts in whole ticks it counts a few percent too low or too high.
        """
        began, ended = self._began, self._now()
        return max(0.0, (ended[1] - began[1]) / (ended[0] - began[0]))

    def _now(self) -> tuple[float, float]:
        everything, busy = _core_seconds(self._cores)
        return everything, busy - self._server.cpu_seconds()


def wait_for_quiet() -> None:
    """Give others a while to finish: until the cores are nearly idle, a minute at most."""
    cores = range(os.cpu_count() or 1)
    deadline = time.monotonic() + _WAIT_SECONDS
    before = _core_seconds(cores)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = _core_seconds(cores)
        if now[1] - before[1] < SPOILT * (now[0] - before[0]):
            return
        before = now


def unspoilt(attempt: Callable[[], _R], *, wait: Callable[[], None] = wait_for_quiet) -> _R:
    """Return a run that was carried, or was not though nobody else took the server's time.

    On a machine that is never left alone the last of a few runs counts.

    Args:
        attempt: Does a run.
        wait: Called before one is repeated.
    """
    done = attempt()
    for _ in range(_TRIES - 1):
        if done.is_carried or done.others_share < SPOILT:
            break
        wait()
        done = attempt()
    return done


def _core_seconds(cores: Collection[int]) -> tuple[float, float]:
    """Return the seconds of these cores since the machine started, and how many were busy."""
    names = {f"cpu{core}" for core in cores}
    lines = map(str.split, Path("/proc/stat").read_text(encoding="ascii").splitlines())
    # Behind the eighth field stands the time of guests, which is in the first two as well.
    times = [[int(ticks) for ticks in fields[:8]] for name, *fields in lines if name in names]
    everything = sum(map(sum, times))
    idle = sum(core[field] for core in times for field in _NOT_BUSY)
    return everything / _TICKS_PER_SECOND, (everything - idle) / _TICKS_PER_SECOND
