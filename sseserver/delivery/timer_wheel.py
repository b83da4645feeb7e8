"""One timer wheel for every deadline of the server.

A deadline is a slot number; nothing is cancelled or moved when a connection is used. The
entry fires, looks at what happened since, and says when it wants to fire next (the way of
nats-server's `processPingTimer` and aiohttp's `_process_keepalive`). So an event costs no timer
work at all, and 20,000 connections cost one entry each and one running timer in all.

Rejected: a heap (a push and a pop per re-arming), and one `call_later` per connection.
"""

from collections import deque
from typing import Final, Protocol

RESOLUTION_SECONDS: Final = 0.02
"""Width of a slot: no deadline fires early, and none more than this late."""

_SLOTS: Final = 2048


class Timed(Protocol):
    """Something with a deadline."""

    timer_slot: int
    """Where the wheel holds it; -1 when it does not. Only the wheel writes it."""

    def on_timer(self, now: float) -> float | None:
        """Act on what is due at `now`, and return the next deadline or None.

        A deadline is monotonic seconds; firing early, because a deadline moved on since, is
        the normal case.
        """
        ...


class TimerWheel:
    """Deadlines in slots; an entry stands in one slot at most.

    Args:
        now: Monotonic seconds at the start.
    """

    __slots__ = ("_count", "_slots", "_tick")

    def __init__(self, now: float) -> None:
        self._slots: list[dict[Timed, int]] = [{} for _ in range(_SLOTS)]
        self._tick = int(now / RESOLUTION_SECONDS)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def schedule(self, entry: Timed, deadline: float) -> None:
        """Let `entry` fire at `deadline` (monotonic seconds), instead of any earlier wish."""
        self.cancel(entry)
        tick = max(int(deadline / RESOLUTION_SECONDS) + 1, self._tick + 1)
        slot = tick % _SLOTS
        self._slots[slot][entry] = tick
        entry.timer_slot = slot
        self._count += 1

    def cancel(self, entry: Timed) -> None:
        """Take `entry` out; nothing happens when it is not in."""
        if entry.timer_slot >= 0:
            slot = self._slots[entry.timer_slot]
            del slot[entry]
            if not slot:
                slot.clear()  # else it keeps the room of the most that were ever in it
            entry.timer_slot = -1
            self._count -= 1

    def advance(self, now: float) -> int:
        """Fire everything due at `now` (monotonic seconds) and return how many fired.

        An entry may schedule or cancel any other while it fires.
        """
        target = int(now / RESOLUTION_SECONDS)
        if target - self._tick > _SLOTS:
            self._tick = target - _SLOTS
        fired = 0
        while self._tick < target:
            self._tick += 1
            fired += self._fire(self._slots[self._tick % _SLOTS], now)
        return fired

    def _fire(self, slot: dict[Timed, int], now: float) -> int:
        due = deque(entry for entry, tick in slot.items() if tick <= self._tick)
        fired = 0
        try:
            while due:
                entry = due.popleft()
                if slot.get(entry, self._tick + 1) <= self._tick:
                    self.cancel(entry)
                    fired += 1
                    deadline = entry.on_timer(now)
                    if deadline is not None:
                        self.schedule(entry, deadline)
        finally:  # a bug in one entry does not cost the others a whole turn of the wheel
            for entry in due:
                self.schedule(entry, now)
        return fired
