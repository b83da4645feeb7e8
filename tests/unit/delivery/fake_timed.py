"""An entry of the timer wheel whose wishes are up to the test."""

from collections.abc import Callable


def do_nothing(_now: float) -> float | None:
    """Wish for no further deadline."""
    return None


class FakeTimed:
    """Notes when it fires (`sseserver.delivery.timer_wheel.Timed`).

    Attributes:
        fired: The times at which it fired, in monotonic seconds.
        react: What it does when it fires, and the next deadline or None.
    """

    def __init__(self, react: Callable[[float], float | None] = do_nothing) -> None:
        self.timer_slot = -1
        self.fired: list[float] = []
        self.react = react

    def on_timer(self, now: float) -> float | None:
        """Fire."""
        self.fired.append(now)
        return self.react(now)
