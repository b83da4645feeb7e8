"""Time that a test holds in its hand."""


class FakeClock:
    """Both clocks of the server (`sseserver.clock.Clock`); neither moves by itself."""

    def __init__(self, wall_ms: int = 1_735_819_800_000, monotonic: float = 1000.0) -> None:
        self._wall_ms = wall_ms
        self._monotonic = monotonic

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return self._monotonic

    def wall_ms(self) -> int:
        """Return milliseconds since the epoch."""
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)

    def step_wall(self, milliseconds: int) -> None:
        """Set the wall clock forward or back, as NTP or an operator does."""
        self._wall_ms += milliseconds
