"""The two clocks of the server, as something that tests hold in their hand."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since the epoch; may step either way."""
        ...


def iso_timestamp(wall_ms: int) -> str:
    """Return ISO 8601 in UTC with milliseconds: `2026-01-02T10:30:00.000Z`."""
    seconds, ms = divmod(wall_ms, 1000)
    return f"{_iso_second(seconds)}.{ms:03}Z"


@lru_cache(maxsize=1)
def _iso_second(epoch_seconds: int) -> str:
    # Not strftime: the C library looks at the time zone's file at each call.
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat()[:19]
