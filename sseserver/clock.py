"""The two clocks of the server, as something that tests hold in their hand."""

from datetime import UTC, datetime
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
    moment = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{wall_ms % 1000:03}Z"
