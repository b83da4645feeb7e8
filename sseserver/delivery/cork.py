"""The cork: whether frames leave at once or wait for a tick, to be joined.

The kernel's send path is the cost, about 5 us a write, whatever the write holds (design
section 1). While one write per event and client fits into the server's time, a lone event
leaves at the end of its loop turn. When *load*, the share of time that such writes would need,
comes near to one, or the server has no time left at all, frames are gathered for a tick and
each client gets one write for all of them. The tick widens while no time is left, up to 50 ms:
the events of one user are further apart than 10 ms when thousands of users have theirs.

Load is deliveries per second times the measured seconds per write: both keep their meaning
while corked, so the switch does not flap. Times are the processor's, not the wall's: what other
processes take of the core is no reason to make clients wait.
"""

from collections.abc import Callable
from typing import Final

CORK_LOAD: Final = 0.7
UNCORK_LOAD: Final = 0.45
"""Hysteresis; at 50 events/s to 1000 clients (load 0.35 here) the server is uncorked."""

SATURATED: Final = 0.85
AT_EASE: Final = 0.6
"""Shares of its core that the server uses, whatever for: no time left, and enough."""

MIN_TICK_SECONDS: Final = 0.010
MAX_TICK_SECONDS: Final = 0.050
"""A trader does not see 10 ms; past 50 ms a price starts to feel late (design section 3)."""

_PERIOD_SECONDS: Final = 0.1
_INITIAL_WRITE_SECONDS: Final = 6e-6
_SMOOTHING: Final = 0.3


class Cork:
    """Decides when a dirty audience is flushed; time is an argument.

    Args:
        now: Monotonic seconds at the start.
        processor_time: Processor seconds that the server has used so far.
    """

    __slots__ = (
        "_busy_seconds",
        "_deliveries",
        "_period_start",
        "_processor_time",
        "_used_before",
        "_writes",
        "is_corked",
        "load",
        "seconds_per_write",
        "tick_seconds",
    )

    def __init__(self, now: float, processor_time: Callable[[], float]) -> None:
        self._period_start = now
        self._processor_time = processor_time
        self._used_before = processor_time()
        self._deliveries = 0
        self._writes = 0
        self._busy_seconds = 0.0
        self.seconds_per_write = _INITIAL_WRITE_SECONDS
        self.load = 0.0
        self.is_corked = False
        self.tick_seconds = MIN_TICK_SECONDS

    def delay(self, now: float) -> float:
        """Return how long the next flush waits, in seconds; 0.0 for this loop turn."""
        if now - self._period_start >= _PERIOD_SECONDS:
            self._end_period(now)
        return self.tick_seconds if self.is_corked else 0.0

    def count(self, deliveries: int, writes: int, seconds: float) -> None:
        """Note one flush: events x members, writes made, and the processor time they took."""
        self._deliveries += deliveries
        self._writes += writes
        self._busy_seconds += seconds

    def _end_period(self, now: float) -> None:
        elapsed = now - self._period_start
        if self._writes:
            measured = self._busy_seconds / self._writes
            self.seconds_per_write += (measured - self.seconds_per_write) * _SMOOTHING
        self.load = self._deliveries / elapsed * self.seconds_per_write
        used = self._processor_time()
        utilisation = (used - self._used_before) / elapsed
        self._used_before = used
        if self.is_corked:
            if self.load < UNCORK_LOAD and utilisation < AT_EASE:
                self.is_corked = False
                self.tick_seconds = MIN_TICK_SECONDS
            elif utilisation > SATURATED:
                self.tick_seconds = min(MAX_TICK_SECONDS, self.tick_seconds * 1.5)
            elif utilisation < AT_EASE:
                self.tick_seconds = max(MIN_TICK_SECONDS, self.tick_seconds / 1.5)
        elif self.load > CORK_LOAD or utilisation > SATURATED:
            self.is_corked = True
        self._period_start = now
        self._deliveries = 0
        self._writes = 0
        self._busy_seconds = 0.0
