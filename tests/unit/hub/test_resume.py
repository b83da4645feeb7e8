"""Tests of `sseserver.hub.resume`."""

from collections.abc import Callable

import pytest

from sseserver.errors import GapReason
from sseserver.event_id import MIN_STEP, SUFFIX_SPAN, EventIdGenerator
from sseserver.events import Event
from sseserver.hub.replay_buffer import Loss, ReplayBuffer
from sseserver.hub.resume import Opening, plan_opening

ORDERS = frozenset({"orders"})
NOW_MS = 1_735_819_800_000
START_ID = EventIdGenerator.first_of(NOW_MS)


def lowest(_below: int) -> int:
    """Return the least that a random choice may be."""
    return 0


class Server:
    """IDs, a replay buffer and the events that went through both."""

    def __init__(self, choose: Callable[[int], int] = lowest, *, loss: Loss | None = None) -> None:
        self.ids = EventIdGenerator(choose, START_ID)
        self.buffer = ReplayBuffer(loss)
        self.events: list[Event] = []

    def publish(self, count: int = 1, route: str = "orders") -> None:
        """Keep so many facts."""
        for _ in range(count):
            event = Event(self.ids.next(NOW_MS), "order:update", b"{}", route=route)
            self.events.append(event)
            self.buffer.append(event)

    def evict(self, count: int) -> None:
        """Let the oldest facts go."""
        for _ in range(count):
            self.buffer.evict()

    def open(self, last_event_id: int | None = None, *, wants_replay: bool = True) -> Opening:
        """Plan the opening of an orders stream."""
        return plan_opening(
            last_event_id,
            ORDERS,
            self.buffer,
            self.ids,
            start_id=START_ID,
            wants_replay=wants_replay,
            now_ms=NOW_MS,
        )


def test_without_events_a_stream_opens_with_the_next_id() -> None:
    """`connected` takes an ID after all that were given out."""
    server = Server()

    assert Opening([], START_ID + MIN_STEP, None, None) == server.open()


def test_the_id_of_connected_is_given_to_nobody_else() -> None:
    """The generator has moved on to it."""
    server = Server()

    assert server.open().connected_id == server.ids.last


def test_a_first_connection_is_replayed_everything() -> None:
    """Without a last event ID all that is buffered follows `connected`, which sorts before it."""
    server = Server()
    server.publish(3)

    assert Opening(server.events, START_ID + 1, None, None) == server.open()


def test_other_routes_are_not_replayed() -> None:
    """Only what the stream carries."""
    server = Server()
    server.publish(route="alerts")
    server.publish()

    assert server.events[1:] == server.open().replay


def test_a_first_connection_may_refuse_the_replay() -> None:
    """With `?replay=0` `connected` sorts after all that is buffered: resuming skips it too."""
    server = Server()
    server.publish(3)
    expected = server.events[-1].id + MIN_STEP

    assert Opening([], expected, None, None) == server.open(wants_replay=False)


@pytest.mark.parametrize("wants_replay", [True, False])
def test_resuming_never_skips(*, wants_replay: bool) -> None:
    """What follows the last event ID is replayed, also with `?replay=0`."""
    server = Server()
    server.publish(3)
    last_id = server.events[0].id

    assert Opening(server.events[1:], last_id + 1, None, None) == server.open(
        last_id, wants_replay=wants_replay
    )


def test_who_has_everything_is_replayed_nothing() -> None:
    """From the newest ID on, `connected` takes the next one."""
    server = Server()
    server.publish(3)
    last_id = server.events[-1].id

    assert Opening([], last_id + MIN_STEP, None, None) == server.open(last_id)


def test_resuming_from_connected_is_resuming_from_before_it() -> None:
    """A client that breaks right behind `connected` is replayed the same events."""
    server = Server()
    server.publish(3)
    server.evict(1)
    opening = server.open()
    again = server.open(opening.connected_id)

    assert (server.events[1:], None) == (again.replay, again.gap)


def test_connected_has_no_id_where_none_is_left() -> None:
    """Between two neighbours without room the browser keeps the ID it has."""
    server = Server()
    server.publish(1)
    last_id = server.events[0].id - 1

    assert Opening(server.events, None, None, None) == server.open(last_id)


def test_connected_is_dated_close_to_what_follows() -> None:
    """With years of room before the first event, its ID is from the millisecond before."""
    server = Server()
    event_id = START_ID + 5000 * SUFFIX_SPAN
    server.ids = EventIdGenerator(lowest, event_id - MIN_STEP)
    server.publish(1)

    assert event_id - SUFFIX_SPAN + 1 == server.open().connected_id


def test_evicted_events_are_a_gap() -> None:
    """`connected` sorts before the loss, `stream:gap` after it and before the replay."""
    server = Server()
    server.publish(4)
    server.evict(2)
    last_id, lost_id = server.events[0].id, server.events[1].id

    assert Opening(server.events[2:], last_id + 1, GapReason.EVICTED, lost_id + 1) == server.open(
        last_id
    )


def test_a_gap_with_nothing_left_takes_the_next_id() -> None:
    """`stream:gap` sorts after all that was lost."""
    server = Server()
    server.publish(3)
    server.evict(3)
    last_id, newest_id = server.events[0].id, server.events[-1].id

    assert Opening([], last_id + 1, GapReason.EVICTED, newest_id + MIN_STEP) == server.open(last_id)


def test_an_expired_buffer_is_a_gap() -> None:
    """What is known of the former buffer gives the reason."""
    lost_id = START_ID + 100 * MIN_STEP
    server = Server(loss=Loss(lost_id, GapReason.EXPIRED))
    server.ids.last = lost_id
    server.publish(1)
    last_id = lost_id - MIN_STEP

    assert Opening(server.events, last_id + 1, GapReason.EXPIRED, lost_id + 1) == server.open(
        last_id
    )


def test_a_slow_consumer_is_told_so() -> None:
    """The span of IDs that the slow connection went through decides the reason."""
    server = Server()
    server.publish(4)
    server.buffer.note_slow(server.events[0].id, server.events[2].id)
    server.evict(3)

    assert GapReason.TOO_SLOW == server.open(server.events[1].id).gap


def test_a_slow_consumer_that_breaks_before_the_gap_is_told_the_same_again() -> None:
    """`connected` lies within the span that gives the reason, however much was lost since."""
    server = Server()
    server.publish(9)
    server.buffer.note_slow(server.events[0].id, server.events[2].id)
    server.evict(8)
    first = server.open(server.events[1].id)
    again = server.open(first.connected_id)

    assert (GapReason.TOO_SLOW, GapReason.TOO_SLOW) == (first.gap, again.gap)


def test_an_id_from_before_the_start_is_a_gap() -> None:
    """Without state nobody knows what came after it; what is buffered since follows."""
    server = Server()
    server.publish(2)
    last_id = START_ID - 7 * SUFFIX_SPAN

    assert Opening(server.events, last_id + 1, GapReason.RESTARTED, START_ID + 1) == server.open(
        last_id
    )


@pytest.mark.parametrize(
    ("last_id", "gap"), [(START_ID, GapReason.RESTARTED), (START_ID + 1, None)]
)
def test_the_start_divides_before_from_after(last_id: int, gap: GapReason | None) -> None:
    """The floor of all IDs was given out by nobody since the start."""
    server = Server()
    server.publish(1)

    assert gap == server.open(last_id).gap


def test_an_id_from_the_future_is_unknown() -> None:
    """Never given out: a gap, then everything buffered, and the server's clock does not move."""
    server = Server()
    server.publish(2)
    newest_id = server.ids.last

    assert (
        Opening(server.events, START_ID - SUFFIX_SPAN + 1, GapReason.UNKNOWN, START_ID + 1),
        newest_id,
    ) == (server.open(START_ID + 9**9 * SUFFIX_SPAN), server.ids.last)


def test_the_newest_id_is_known() -> None:
    """The line between known and unknown is the newest ID given out."""
    server = Server()
    server.publish(1)
    newest_id = server.ids.last

    assert [None, GapReason.UNKNOWN] == [
        server.open(newest_id).gap,
        server.open(server.ids.last + 1).gap,
    ]


@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize(
    "last_id",
    [
        pytest.param(START_ID - 7 * SUFFIX_SPAN, id="restarted"),
        pytest.param(START_ID + 1, id="evicted"),
        pytest.param(START_ID + 9**9 * SUFFIX_SPAN, id="unknown"),
    ],
)
def test_a_client_that_breaks_before_the_gap_is_told_again(last_id: int, kept: int) -> None:
    """Resumed from `connected`, the stream names a gap and replays the same events."""
    server = Server()
    server.publish(8)
    server.evict(8 - kept)
    again = server.open(server.open(last_id).connected_id)

    assert (True, server.events[8 - kept :]) == (again.gap is not None, again.replay)


@pytest.mark.parametrize("kept", [0, 3])
@pytest.mark.parametrize(
    "last_id",
    [
        pytest.param(START_ID - 7 * SUFFIX_SPAN, id="restarted"),
        pytest.param(START_ID + 1, id="evicted"),
        pytest.param(START_ID + 9**9 * SUFFIX_SPAN, id="unknown"),
    ],
)
def test_a_client_that_breaks_behind_the_gap_is_not_told_again(last_id: int, kept: int) -> None:
    """Resumed from `stream:gap`, the stream goes on without one and replays the same events."""
    server = Server()
    server.publish(8)
    server.evict(8 - kept)
    again = server.open(server.open(last_id).gap_id)

    assert (None, server.events[8 - kept :]) == (again.gap, again.replay)


def test_a_gap_has_no_id_where_none_is_left() -> None:
    """An event that follows what was lost without room leaves no place for `stream:gap`."""
    server = Server()
    server.publish(2)
    lost, kept = server.events
    kept.id = lost.id + 1
    server.evict(1)

    assert Opening([kept], lost.id - 3, GapReason.EVICTED, None) == server.open(lost.id - 4)
