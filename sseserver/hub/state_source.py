"""What the hub asks about the state of the world, without knowing how it is kept."""

from collections.abc import Sequence
from typing import Protocol

from sseserver.events import Quote
from sseserver.hub.subscription import StreamRequest

Payload = tuple[str, bytes]
"""Event type and encoded JSON."""


class StateSource(Protocol):
    """Answers with payloads; the hub gives them IDs."""

    def snapshot(self, request: StreamRequest, timestamp: str) -> Sequence[Payload]:
        """Return the snapshot of a stream; empty for streams that have none."""
        ...

    def quotes_after(self, symbols: frozenset[str] | None, last_id: int) -> Sequence[Quote]:
        """Return the newest quote of each symbol that moved after `last_id`, in ID order."""
        ...

    def news(self, request: StreamRequest, last_id: int, timestamp: str) -> Sequence[Payload]:
        """Return the state events of a private stream that are newer than `last_id`."""
        ...

    def take_revalued(self) -> Sequence[str]:
        """Return the watched users whose holdings moved since the last call."""
        ...

    def revaluation(self, user_id: str, last_id: int, timestamp: str) -> bytes | None:
        """Return a user's holdings that moved after `last_id`, at their new value."""
        ...

    def watch(self, user_id: str) -> None:
        """Note that one more stream wants a user's re-valuations."""
        ...

    def unwatch(self, user_id: str) -> None:
        """Undo one `watch`."""
        ...
