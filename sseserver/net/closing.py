"""The end of a connection, so that its last bytes are received.

`close()` with unread input sends a reset, which overtakes what was written just before (field
notes D13). So our side is closed first, and what the peer still sends is read and dropped
until it closes its own. TLS knows no half-close: there `close()` sends what is left and the
farewell of TLS, and waits for the peer's.
"""

import asyncio
from typing import Final, NamedTuple, cast

from sseserver.net.socket_options import OptionSocket, progress_of

LINGER_SECONDS: Final = 2.0
"""A peer that takes nothing for this long, or has everything and does not close, is cut off."""

MAX_LINGER_SECONDS: Final = 30.0
"""However slowly it takes the rest."""


class Patience(NamedTuple):
    """How long a peer may take.

    Attributes:
        stalled_seconds: It takes nothing while something waits for it.
        seconds: In all.
    """

    stalled_seconds: float = LINGER_SECONDS
    seconds: float = MAX_LINGER_SECONDS


USUAL_PATIENCE: Final = Patience()


class Closing:
    """The way of one connection from its last write to its end.

    Args:
        transport: Everything has been written to it.
        now: Monotonic seconds.
        patience: How long the peer may take.
    """

    __slots__ = ("_ends_at", "_stalled_seconds", "_taken", "_taken_at", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        now: float,
        patience: Patience = USUAL_PATIENCE,
    ) -> None:
        self._transport = transport
        self._stalled_seconds = patience.stalled_seconds
        self._ends_at = now + patience.seconds
        self._taken_at = now
        self._taken = self._what_was_taken()[0]
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def look(self, now: float) -> float | None:
        """Return when to look again, None when the peer has been cut off."""
        taken, is_waiting = self._what_was_taken()
        if taken != self._taken:
            self._taken = taken
            self._taken_at = now
        is_stalled = now - self._taken_at >= self._stalled_seconds
        if not is_waiting or is_stalled or now >= self._ends_at:
            self._transport.abort()
            return None
        return now + LINGER_SECONDS

    def _what_was_taken(self) -> tuple[tuple[int, int], bool]:
        """Return a value that changes when the peer takes bytes, and whether some wait."""
        unsent_bytes = self._transport.get_write_buffer_size()
        sock = cast("OptionSocket | None", self._transport.get_extra_info("socket"))
        progress = None if sock is None else progress_of(sock)
        if progress is None:
            return (0, unsent_bytes), bool(unsent_bytes)
        return (progress.acknowledged_bytes, unsent_bytes), bool(
            unsent_bytes or progress.waiting_bytes
        )
