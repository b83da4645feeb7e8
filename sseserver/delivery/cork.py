"""The cork: whether frames leave at once or wait for a tick, to be joined.

The kernel's send path is the cost, about 5 us a write, whatever the write holds (design
section 1). While one write per event and client fits into the server's time, a lone event
leaves at the end of its loop turn. When *load*, the share of time that such writes would need,
comes near to one, frames are gathered for a tick and each client gets one write for all of
them. The tick widens while flushes still fill it, up to 50 ms.

Load is deliveries per second times the measured seconds per write: both keep their meaning
while corked, so the switch does not flap.
"""

from typing import Final

CORK_LOAD: Final = 0.7
UNCORK_LOAD: Final = 0.45
"""Hysteresis; at 50 events/s to 1000 clients (load 0.35 here) the server is uncorked."""

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
    """

    __slots__ = (
        "_busy_seconds",
        "_deliveries",
        "_period_start",
        "_writes",
        "is_corked",
        "load",
        "seconds_per_write",
        "tick_seconds",
    )

    def __init__(self, now: float) -> None:
        self._period_start = now
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
        if self.is_corked:
            busy = self._busy_seconds / elapsed
            if self.load < UNCORK_LOAD:
                self.is_corked = False
                self.tick_seconds = MIN_TICK_SECONDS
            elif busy > CORK_LOAD:
                self.tick_seconds = min(MAX_TICK_SECONDS, self.tick_seconds * 1.5)
            elif busy < UNCORK_LOAD:
                self.tick_seconds = max(MIN_TICK_SECONDS, self.tick_seconds / 1.5)
        elif self.load > CORK_LOAD:
            self.is_corked = True
        self._period_start = now
        self._deliveries = 0
        self._writes = 0
        self._busy_seconds = 0.0
