"""A pipeline that takes its time: applies lines to nothing and answers with what it got."""

from collections.abc import Callable

from tests.support.fake_clock import FakeClock

FATAL = b"fatal"
"""A line on which it breaks, as only a bug can."""


class FakePipeline:
    """Notes lines (`sseserver.ingest.pipeline.Pipeline`).

    Attributes:
        accepted: Every line, in order; None for one that was too long.
        received: When each of them had been read.
        seconds_per_line: How long one takes.
        answer_bytes: Size of each answer at least.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.accepted: list[bytes | None] = []
        self.received: list[float] = []
        self.seconds_per_line = 0.0
        self.answer_bytes = 0

    def look_at_clock(self) -> None:
        """Take time as it comes."""

    def accept(self, line: bytes, received: float, answer: Callable[[bytes], None]) -> None:
        """Take a line."""
        if line == FATAL:
            raise SystemError(line)
        self.accepted.append(line)
        self.received.append(received)
        self._clock.advance(self.seconds_per_line)
        answer(line.rstrip(b".").ljust(self.answer_bytes, b" ") + b"\n")

    def refuse_oversize(self, max_line_bytes: int, answer: Callable[[bytes], None]) -> None:
        """Take note of a line that was skipped."""
        self.accepted.append(None)
        answer(b"too large: %d\n" % max_line_bytes)
