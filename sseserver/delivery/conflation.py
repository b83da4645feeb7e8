"""Conflation: what is held back for a window, and when the window ends.

Up to a threshold of price updates in a sliding second everything goes out at once; above it
updates are gathered, the newest of each symbol replacing the older one, and leave together
once per window (contract section 5). Re-valuations of positions use the same window.
"""

from array import array
from typing import Final

_SECOND: Final = 1.0


class RateGate:
    """Says whether one more update fits into the sliding second.

    The times of the last `threshold` updates stand in a ring: the update is above the
    threshold when the one that many places ago is less than a second old. The ring grows with
    use, so a threshold of a million costs nothing while it is not approached.
    """

    __slots__ = ("_next", "_threshold", "_times")

    def __init__(self, threshold_per_second: int) -> None:
        self._threshold = threshold_per_second
        self._times = array("d")
        self._next = 0

    def admits(self, now: float) -> bool:
        """Count one update at `now` (monotonic seconds); False when it is to be held back."""
        times = self._times
        if len(times) < self._threshold:
            times.append(now)
            return True
        place = self._next
        admitted = now - times[place] >= _SECOND
        times[place] = now
        self._next = place + 1 if place + 1 < self._threshold else 0
        return admitted


class Window:
    """When what was gathered may leave: at most once per `seconds`.

    It opens at the first event after a quiet spell, which therefore never waits.
    """

    __slots__ = ("_last", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._last = float("-inf")

    def opens_in(self, now: float) -> float:
        """Return the seconds from `now` until the next flush may be; 0.0 for at once."""
        return max(0.0, self._last + self.seconds - now)

    def flushed(self, now: float) -> None:
        """Note that what was gathered has left at `now` (monotonic seconds)."""
        self._last = now
