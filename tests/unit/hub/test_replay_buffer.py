"""Tests of `sseserver.hub.replay_buffer`."""

import pytest

from sseserver.errors import GapReason
from sseserver.events import Event
from sseserver.hub.replay_buffer import Loss, ReplayBuffer, event_bytes, topic_of

ORDERS = frozenset({"orders"})
ALERTS = frozenset({"alerts"})
TRADING = frozenset({"orders", "positions"})


def fact(event_id: int, route: str = "orders", data: bytes = b"{}") -> Event:
    """Return a fact with this ID."""
    return Event(event_id, "order:update", data, route=route, user_id="user-1")


def buffer_of(*events: Event, evicted: int = 0, loss: Loss | None = None) -> ReplayBuffer:
    """Return a buffer that was given these events and has let the first ones go."""
    buffer = ReplayBuffer(loss)
    for event in events:
        buffer.append(event)
    for _ in range(evicted):
        buffer.evict()
    return buffer


@pytest.mark.parametrize(
    ("route", "topic"),
    [("orders", "orders"), ("strategies/s-1", "strategies"), ("strategies/a/b", "strategies")],
)
def test_a_route_belongs_to_a_topic(route: str, topic: str) -> None:
    """A strategy's own route belongs to `strategies`, any other is its topic's name."""
    assert topic == topic_of(route)


def test_the_memory_of_an_event_grows_with_its_payload() -> None:
    """An event is taken to need its payload twice, as data and as frame, and 300 bytes more."""
    assert [300, 1_300] == [event_bytes(fact(1, data=b"x" * size)) for size in (0, 500)]


def test_an_empty_buffer_knows_nothing() -> None:
    """Nothing is in it, nothing was lost, and any ID is as good as another."""
    buffer = ReplayBuffer()

    assert (0, 0, 0, 0, None, []) == (
        len(buffer),
        buffer.size_bytes,
        buffer.newest_id(),
        buffer.lost_before(ORDERS),
        buffer.gap_after(0, ORDERS),
        list(buffer.after(0, ORDERS)),
    )


def test_events_are_kept_in_order() -> None:
    """What was appended is there, oldest first."""
    events = [fact(number) for number in (2, 4, 6)]

    assert events == list(buffer_of(*events).after(0, ORDERS))


def test_the_size_follows_what_is_kept() -> None:
    """`size_bytes` is the sum over what is in the buffer, after any number of evictions."""
    events = [fact(number, data=b"x" * number) for number in range(1, 9)]
    buffer = buffer_of(*events, evicted=3)

    assert (5, sum(map(event_bytes, events[3:]))) == (len(buffer), buffer.size_bytes)


def test_the_oldest_event_goes_first() -> None:
    """`evict` returns the event that left."""
    events = [fact(number) for number in (2, 4)]
    buffer = buffer_of(*events)

    assert events == [buffer.evict()[0], buffer.evict()[0]]


@pytest.mark.parametrize(
    ("last_id", "expected"),
    [(0, [2, 4, 6]), (1, [2, 4, 6]), (2, [4, 6]), (3, [4, 6]), (6, []), (7, [])],
)
def test_what_follows_an_id(last_id: int, expected: list[int]) -> None:
    """Events later than the ID are returned; the ID itself is not repeated."""
    buffer = buffer_of(fact(2), fact(4), fact(6))

    assert expected == [event.id for event in buffer.after(last_id, ORDERS)]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (ORDERS, [2]),
        (TRADING, [2, 4]),
        (ALERTS, [6]),
        (frozenset({"strategies/s-1"}), [8]),
        (frozenset({"strategies/s-9"}), []),
    ],
)
def test_only_what_the_stream_carries(routes: frozenset[str], expected: list[int]) -> None:
    """Routes are compared whole: a strategy's stream gets that strategy alone."""
    buffer = buffer_of(fact(2), fact(4, "positions"), fact(6, "alerts"), fact(8, "strategies/s-1"))

    assert expected == [event.id for event in buffer.after(0, routes)]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (ORDERS, 2),
        (TRADING, 4),
        (ALERTS, 0),
        (frozenset({"strategies/s-2"}), 6),
    ],
)
def test_what_left_is_remembered_by_topic(routes: frozenset[str], expected: int) -> None:
    """The newest ID lost of any topic the stream carries; all strategies are one topic."""
    buffer = buffer_of(
        fact(2), fact(4, "positions"), fact(6, "strategies/s-1"), fact(8, "alerts"), evicted=3
    )

    assert expected == buffer.lost_before(routes)


def test_a_former_buffer_was_lost_for_every_topic() -> None:
    """When a whole buffer was dropped nobody knows whose events were in it."""
    buffer = ReplayBuffer(Loss(10, GapReason.EXPIRED))

    assert [10, 10] == [buffer.lost_before(routes) for routes in (ORDERS, ALERTS)]


def test_the_newest_loss_counts() -> None:
    """What was evicted since is later than what a former buffer lost."""
    buffer = buffer_of(fact(12), fact(14), evicted=1, loss=Loss(10, GapReason.EXPIRED))

    assert [12, 10] == [buffer.lost_before(routes) for routes in (ORDERS, ALERTS)]


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        (buffer_of(fact(2), fact(4)), 4),
        (buffer_of(fact(2), fact(4), evicted=1), 4),
        (buffer_of(fact(2), fact(4, "alerts"), evicted=2), 4),
        (buffer_of(loss=Loss(10, GapReason.EVICTED)), 10),
        (buffer_of(fact(12), loss=Loss(10, GapReason.EVICTED)), 12),
        (buffer_of(fact(12), evicted=1, loss=Loss(10, GapReason.EVICTED)), 12),
    ],
)
def test_the_newest_id_is_known_though_its_event_is_gone(
    buffer: ReplayBuffer, expected: int
) -> None:
    """The newest ID that is or was in the buffer, or in the one before it."""
    assert expected == buffer.newest_id()


@pytest.mark.parametrize("last_id", [4, 5, 6, 100])
def test_no_gap_when_nothing_after_the_id_is_gone(last_id: int) -> None:
    """Who has the newest lost event, or anything later, has missed nothing."""
    buffer = buffer_of(fact(2), fact(4), fact(6), evicted=2)

    assert buffer.gap_after(last_id, ORDERS) is None


@pytest.mark.parametrize("last_id", [0, 2, 3])
def test_a_gap_when_something_after_the_id_is_gone(last_id: int) -> None:
    """Who lacks a lost event is told that it was evicted."""
    buffer = buffer_of(fact(2), fact(4), fact(6), evicted=2)

    assert GapReason.EVICTED == buffer.gap_after(last_id, ORDERS)


def test_no_gap_for_what_the_stream_does_not_carry() -> None:
    """Orders that are gone are no gap in the alerts."""
    buffer = buffer_of(fact(2), fact(4, "alerts"), evicted=1)

    assert buffer.gap_after(1, ALERTS) is None


@pytest.mark.parametrize("reason", [GapReason.EXPIRED, GapReason.EVICTED])
def test_a_former_buffer_gives_its_own_reason(reason: GapReason) -> None:
    """Why the buffer was dropped is why the events are gone."""
    assert reason == ReplayBuffer(Loss(10, reason)).gap_after(9, ORDERS)


@pytest.mark.parametrize(
    ("last_id", "expected"),
    [
        (9, GapReason.EXPIRED),
        (10, GapReason.EVICTED),
        (11, GapReason.EVICTED),
        (12, None),
    ],
)
def test_the_reason_is_that_of_the_first_loss_after_the_id(
    last_id: int, expected: GapReason | None
) -> None:
    """Expired first and evicted later: what the client lacks first decides."""
    buffer = buffer_of(fact(12), fact(14), evicted=1, loss=Loss(10, GapReason.EXPIRED))

    assert expected == buffer.gap_after(last_id, ORDERS)


@pytest.mark.parametrize(
    ("last_id", "expected"),
    [
        (2, GapReason.EVICTED),
        (3, GapReason.TOO_SLOW),
        (5, GapReason.TOO_SLOW),
        (7, GapReason.TOO_SLOW),
        (8, GapReason.EVICTED),
        (10, None),
    ],
)
def test_a_slow_consumer_is_told_so(last_id: int, expected: GapReason | None) -> None:
    """An ID from a connection that was closed as too slow, both ends included."""
    buffer = buffer_of(*(fact(number) for number in (2, 4, 6, 8, 10)), evicted=5)
    buffer.note_slow(3, 7)

    assert expected == buffer.gap_after(last_id, ORDERS)


def test_a_slow_consumer_has_no_gap_while_its_events_are_here() -> None:
    """It resumes like anybody else."""
    buffer = buffer_of(fact(4), fact(6))
    buffer.note_slow(1, 6)

    assert buffer.gap_after(2, ORDERS) is None


def test_slow_beats_expired() -> None:
    """A connection that was closed for being slow is told that, though its buffer went too."""
    buffer = ReplayBuffer(Loss(10, GapReason.EXPIRED))
    buffer.note_slow(3, 7)

    assert GapReason.TOO_SLOW == buffer.gap_after(5, ORDERS)


def test_the_last_twenty_slow_connections_are_remembered() -> None:
    """A user whose connections are slow all day costs no more memory than twenty of them."""
    buffer = ReplayBuffer(Loss(100, GapReason.EVICTED))
    for number in range(21):
        buffer.note_slow(number, number)

    assert [GapReason.EVICTED] + [GapReason.TOO_SLOW] * 20 == [
        buffer.gap_after(number, ORDERS) for number in range(21)
    ]
