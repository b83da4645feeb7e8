"""Event IDs: `{timestamp ms}-{9 characters of 0-9a-z}` outside, one integer inside.

The integer is milliseconds x 36**9 + suffix, so integers compare exactly as the contract's
pairs (number, string) do. The generator never goes back: when the clock does, it stays and
counts on. It moves on by a random step, which leaves room between neighbours for *resume
points*: the IDs of `connected`, `stream:gap` and farewells that must sort between two events
that have already been given theirs.

Even integers are events, odd ones are resume points between events, so the two never collide.

Source: contract section 4; design section 5.
"""

import re
from collections.abc import Callable
from typing import Final

SUFFIX_LENGTH: Final = 9
SUFFIX_SPAN: Final = 36**SUFFIX_LENGTH
"""How many IDs share a millisecond: 1.0e14."""

MIN_STEP: Final = 1 << 32
MAX_STEP: Final = 1 << 33
"""Bounds of the random step between IDs of one millisecond.

6.4e9 on average leaves 8,000 IDs to a millisecond entered in its middle, before the generator
runs ahead of the clock, and thousands of millions of resume points between two events.
"""

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(a + b for a in _DIGITS for b in _DIGITS)

# 13 digits until the year 2286, but a later ID is one too. The bound keeps `int` cheap.
_FORM: Final = re.compile(r"([0-9]{1,128})-([0-9a-z]{9})", re.ASCII)

_SPAN_8: Final = 36**8
_SPAN_4: Final = 36**4
_SPAN_2: Final = 36**2


def format_event_id(value: int) -> str:
    """Return the text of an ID as it stands in an `id:` line.

    >>> format_event_id(parse_event_id("1735819800000-abc123def"))
    '1735819800000-abc123def'
    """
    ms, suffix = divmod(value, SUFFIX_SPAN)
    first, rest = divmod(suffix, _SPAN_8)
    high, low = divmod(rest, _SPAN_4)
    a, b = divmod(high, _SPAN_2)
    c, d = divmod(low, _SPAN_2)
    return f"{ms}-{_DIGITS[first]}{_PAIRS[a]}{_PAIRS[b]}{_PAIRS[c]}{_PAIRS[d]}"


def parse_event_id(text: str) -> int | None:
    """Return the integer of an ID, or None for what is not in the ID format.

    A truncated ID (`1735819800000-abc`) is not one: it must not be taken for a place to
    resume from (field notes D6). One of the far future is, though nobody gave it out: who
    names it is told so (contract section 4, `unknown`). Leading zeros are not kept.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * SUFFIX_SPAN + int(match[2], 36)


def milliseconds_of(value: int) -> int:
    """Return the timestamp part of an ID, in milliseconds since the epoch."""
    return value // SUFFIX_SPAN


class EventIdGenerator:
    """Gives out IDs that strictly increase, whatever the clock does.

    Args:
        random_below: `random_below(n)` returns an integer from 0 to n - 1.
        floor: The newest ID that may have been given out before; all new ones are later.
    """

    __slots__ = ("_random_below", "last")

    def __init__(self, random_below: Callable[[int], int], floor: int = 0) -> None:
        self._random_below = random_below
        self.last = floor

    @staticmethod
    def first_of(now_ms: int) -> int:
        """Return the lowest ID of a millisecond: a floor that all its IDs are above."""
        return now_ms * SUFFIX_SPAN

    def next(self, now_ms: int) -> int:
        """Return the next ID: in the millisecond `now_ms`, or later if that has passed.

        A millisecond is entered at a random place in its first half, so that nodes which
        share a clock do not collide.
        """
        start = now_ms * SUFFIX_SPAN
        if start > self.last:
            value = start + self._random_below(SUFFIX_SPAN // 2)
        else:
            value = self.last + MIN_STEP + self._random_below(MAX_STEP - MIN_STEP)
        value += value & 1
        self.last = value
        return value

    def between(self, lower: int, upper: int) -> int | None:
        """Return a resume point above `lower` and below `upper`, or None without room.

        It lies in the lowest eighth of the interval: a client that breaks and returns again
        and again before it has received `upper` halves the room only every tenth time.
        """
        low, high = lower + 1 | 1, upper - 1
        if low > high:
            return None
        room = (high - low) // 2 + 1
        return low + 2 * self._random_below(max(1, room >> 3))
