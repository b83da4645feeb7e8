"""A connection that only notes what the core asks of it."""

from sseserver.errors import CloseReason


class FakeSink:
    """Notes calls (`sseserver.hub.subscription.Sink`).

    Attributes:
        written: What was written, the tail of `finish` included.
        rearmed: How often the session's expiry was to be looked at again.
        reason: Why the connection was ended; None while it was not.
    """

    def __init__(self) -> None:
        self.is_paused = False
        self.written: list[bytes] = []
        self.rearmed = 0
        self.reason: CloseReason | None = None

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.written.append(data)

    def finish(self, tail: bytes, reason: CloseReason) -> None:
        """End properly."""
        self.written.append(tail)
        self.reason = reason

    def rearm(self) -> None:
        """Count the wish."""
        self.rearmed += 1

    def abort(self, reason: CloseReason) -> None:
        """Cut off."""
        self.reason = reason
