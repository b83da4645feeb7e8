"""The last events of one user, kept for reconnecting clients.

The ring holds facts only. What leaves it is remembered by topic, as the newest ID lost, so
that a stream is told of a gap exactly when one of *its* events may be gone (contract
section 4, `stream:gap`).
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from sseserver.errors import GapReason
from sseserver.events import Event
from sseserver.saved import SavedBuffer, SavedEvent, pack_id, unpack_id

_EVENT_OVERHEAD_BYTES: Final = 300
"""An Event, its ID and the fixed parts of its frame (sys.getsizeof, CPython 3.11)."""

_MAX_SLOW_SPANS: Final = 20

_NO_EVENTS: Final[deque[Event]] = deque(maxlen=0)
"""Of all buffers that are empty yet: a deque takes 0.7 KiB before anything is in it."""


def event_bytes(event: Event) -> int:
    """Return the memory an event is taken to need, in bytes: payload, frame and overhead."""
    return 2 * len(event.data) + _EVENT_OVERHEAD_BYTES


class Loss(NamedTuple):
    """A whole buffer that was dropped: no event up to `last_id` is left."""

    last_id: int
    reason: GapReason


class _SlowSpan(NamedTuple):
    first: int
    last: int


def topic_of(route: str) -> str:
    """Return the topic of a route: `strategies/s-1` belongs to `strategies`."""
    return route.partition("/")[0]


class ReplayBuffer:
    """A ring of events with what is known about those that left it.

    Args:
        loss: What is known of this user's former buffer; None when there was none.
    """

    __slots__ = ("_evicted", "_slow_spans", "events", "loss", "size_bytes")

    def __init__(self, loss: Loss | None = None) -> None:
        self.events = _NO_EVENTS
        self.size_bytes = 0
        self.loss = loss
        self._evicted: dict[str, int] = {}
        self._slow_spans: deque[_SlowSpan] | None = None

    def __len__(self) -> int:
        return len(self.events)

    def append(self, event: Event) -> int:
        """Keep the newest event and return its memory in bytes.

        Whoever owns the buffer evicts past the limit.
        """
        size_bytes = event_bytes(event)
        if self.events is _NO_EVENTS:
            self.events = deque()
        self.events.append(event)
        self.size_bytes += size_bytes
        return size_bytes

    def evict(self) -> tuple[Event, int]:
        """Let the oldest event go, and return it with its memory in bytes."""
        event = self.events.popleft()
        size_bytes = event_bytes(event)
        self.size_bytes -= size_bytes
        self._evicted[topic_of(event.route)] = event.id
        return event, size_bytes

    def note_slow(self, first: int, last: int) -> None:
        """Note that a connection opened at ID `first` was closed as too slow at ID `last`."""
        if self._slow_spans is None:
            self._slow_spans = deque(maxlen=_MAX_SLOW_SPANS)
        self._slow_spans.append(_SlowSpan(first, last))

    def saved_events(self, cut_id: int) -> list[SavedEvent]:
        """Return the events up to an ID, oldest first."""
        return [
            SavedEvent(pack_id(e.id), e.type, e.data, e.route, e.correlation_id)
            for e in self.events
            if e.id <= cut_id
        ]

    def saved_losses(self) -> tuple[dict[str, bytes], list[tuple[bytes, bytes]]]:
        """Return the newest ID that left by topic, and the spans of slow connections."""
        evicted = {topic: pack_id(event_id) for topic, event_id in self._evicted.items()}
        spans = [(pack_id(span.first), pack_id(span.last)) for span in self._slow_spans or ()]
        return evicted, spans

    def restore(self, saved: SavedBuffer) -> None:
        """Take over what is known of events that are not here; the events are appended."""
        self._evicted = {topic: unpack_id(last) for topic, last in saved.evicted.items()}
        for first, last in saved.slow_spans:
            self.note_slow(unpack_id(first), unpack_id(last))

    def after(self, last_id: int, routes: frozenset[str]) -> Iterator[Event]:
        """Return the events of these routes with IDs later than `last_id`, oldest first."""
        return (event for event in self.events if event.id > last_id and event.route in routes)

    def lost_before(self, routes: frozenset[str]) -> int:
        """Return the newest ID of these routes that is no longer here; 0 for none."""
        evicted = self._evicted
        return max(
            self.loss.last_id if self.loss else 0,
            *(evicted.get(topic_of(route), 0) for route in routes),
            0,
        )

    def newest_id(self) -> int:
        """Return the newest ID that is or was in this buffer; 0 for none."""
        return max(
            self.events[-1].id if self.events else 0,
            self.loss.last_id if self.loss else 0,
            *self._evicted.values(),
            0,
        )

    def gap_after(self, last_id: int, routes: frozenset[str]) -> GapReason | None:
        """Return why events after `last_id` may be gone, or None when all are here."""
        if last_id >= self.lost_before(routes):
            return None
        if self._slow_spans and any(
            span.first <= last_id <= span.last for span in self._slow_spans
        ):
            return GapReason.TOO_SLOW
        if self.loss and last_id < self.loss.last_id:
            return self.loss.reason
        return GapReason.EVICTED
