"""Tests of `sseserver.hub.users`."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import GapReason
from sseserver.events import Event
from sseserver.hub import users as users_module
from sseserver.hub.replay_buffer import event_bytes
from sseserver.hub.subscription import Subscription
from sseserver.hub.users import User, Users
from tests.support.core import configured, request_for
from tests.unit.hub.fake_sink import FakeSink

SMALL = b"{}"
SMALL_BYTES = event_bytes(Event(0, "alert:new", SMALL, route="alerts"))
ROUTES = frozenset({"alerts"})


class Town:
    """Users on a clock of the test's; events count their IDs from 1."""

    def __init__(self, **limits: Any) -> None:
        config = configured({f"buffer.{key}": value for key, value in limits.items()}).buffer
        self.now = 1000.0
        self.wheel = TimerWheel(self.now)
        self.users = Users(config, self.wheel)
        self.last_id = 0

    def publish(self, user_id: str, data: bytes = SMALL, route: str = "alerts") -> int:
        """Keep a fact, and return its ID."""
        self.last_id += 1
        event = Event(self.last_id, "alert:new", data, route=route, user_id=user_id)
        self.users.append(self.users.obtain(user_id, self.now), event, self.now)
        return self.last_id

    def connect(self, user_id: str, **options: Any) -> tuple[User, Subscription]:
        """Connect a stream of a user."""
        user = self.users.obtain(user_id, self.now)
        sink = FakeSink()
        request = request_for("alerts", user_id, **options)
        stream = Subscription(request, "client", sink, sink.write)
        self.users.connect(user, stream)
        return user, stream

    def pass_time(self, seconds: float) -> None:
        """Let time pass and fire what is due."""
        self.now += seconds
        self.wheel.advance(self.now)

    def kept(self) -> dict[str, list[int]]:
        """Return the IDs that are buffered, by user, and check that they are counted."""
        known = [self.users.get(f"u-{number}") for number in range(10)]
        buffers = {user.user_id: list(user.buffer.events) for user in known if user is not None}
        events = [event for buffer in buffers.values() for event in buffer]
        assert len(events) == self.users.buffered_events
        assert sum(map(event_bytes, events)) == self.users.buffered_bytes
        assert len(buffers) == len(self.users)
        return {user_id: [event.id for event in buffer] for user_id, buffer in buffers.items()}

    def gap(self, user_id: str, last_id: int = 0) -> GapReason | None:
        """Return what a client that resumes is told."""
        user = self.users.obtain(user_id, self.now)
        return user.buffer.gap_after(last_id, ROUTES)


def test_a_user_is_made_once() -> None:
    """Whoever asks for it gets the same."""
    town = Town()
    user = town.users.obtain("u-1", town.now)

    assert user is town.users.obtain("u-1", town.now)
    assert user is town.users.get("u-1")
    assert town.users.get("u-2") is None
    assert 1 == len(town.users)


def test_events_are_kept_up_to_the_limit() -> None:
    """The oldest go, and are counted."""
    town = Town(events_per_user=3)
    for _ in range(5):
        town.publish("u-1")

    assert {"u-1": [3, 4, 5]} == town.kept()
    assert 2 == town.users.evicted_events


def test_a_lower_limit_takes_effect_with_the_next_event() -> None:
    """After a reload a buffer does not keep its former size."""
    town = Town(events_per_user=5)
    for _ in range(5):
        town.publish("u-1")
    town.users.config = configured({"buffer.events_per_user": 2}).buffer
    town.publish("u-1")

    assert {"u-1": [5, 6]} == town.kept()


def test_a_parked_stream_keeps_what_it_lacks_and_nothing_else() -> None:
    """What leaves the ring is held for who has not been handed it and carries its route."""
    town = Town(events_per_user=1)
    user, stream = town.connect("u-1")
    town.publish("u-1")
    stream.last_id = 1
    user.parked[stream] = 0
    town.publish("u-1")
    town.publish("u-1", route="orders")
    town.publish("u-1")
    town.publish("u-1")

    assert [2, 4] == [event.id for event in stream.held or ()]


def test_a_stream_that_is_not_parked_holds_nothing() -> None:
    """What it is to get is queued in its audience."""
    town = Town(events_per_user=1)
    _, stream = town.connect("u-1")
    town.publish("u-1")
    town.publish("u-1")

    assert stream.held is None


def test_an_overflow_is_logged_once_a_user_and_minute() -> None:
    """The first at once, the rest with their count when the next minute is over."""
    town = Town(events_per_user=1)
    with capture_logs() as logs:
        for user_id in ("u-1", "u-1", "u-1", "u-1", "u-2", "u-2"):
            town.publish(user_id)
    minutes = []
    for publishes in (0, 0, 2, 0, 1):
        with capture_logs() as minute:
            for _ in range(publishes):
                town.publish("u-1")
            town.users.log_overflows()
        minutes.append([(line["user_id"], line["evicted_events"]) for line in minute])

    assert [
        {"event": "buffer_overflow", "log_level": "warning", "user_id": user, "evicted_events": 1}
        for user in ("u-1", "u-2")
    ] == logs
    assert [[], [("u-1", 2)], [("u-1", 2)], [], [("u-1", 1)]] == minutes


def test_who_has_not_overflowed_for_a_minute_is_logged_at_once_again() -> None:
    """Nothing is remembered of those who have been quiet."""
    town = Town(events_per_user=1)
    for _ in range(2):
        town.publish("u-1")
    for _ in range(3):
        town.users.log_overflows()
    with capture_logs() as logs:
        town.publish("u-1")

    assert ["buffer_overflow"] == [line["event"] for line in logs]


def test_a_buffer_lives_for_its_time_after_the_last_client() -> None:
    """Then it is cleared, which is logged, and a client that comes is told."""
    town = Town(ttl_seconds=300)
    user, stream = town.connect("u-1")
    town.publish("u-1")
    town.pass_time(1000.0)
    while_connected = town.kept()
    town.users.disconnect(user, stream, town.now)
    town.pass_time(200.0)
    town.publish("u-1")
    town.pass_time(99.9)
    before = town.kept()
    with capture_logs() as logs:
        town.pass_time(0.2)

    assert {"u-1": [1]} == while_connected
    assert {"u-1": [1, 2]} == before
    assert [{"event": "buffer_cleared", "log_level": "info", "user_id": "u-1", "events": 2}] == logs
    assert {} == town.kept()
    assert 0 == len(town.wheel)
    assert GapReason.EXPIRED == town.gap("u-1", 1)


def test_a_user_that_never_connected_is_kept_after_its_last_event() -> None:
    """Its time starts anew with each."""
    town = Town(ttl_seconds=10)
    for _ in range(3):
        town.publish("u-1")
        town.pass_time(9.0)
    before = town.kept()
    town.pass_time(1.1)

    assert {"u-1": [1, 2, 3]} == before
    assert {} == town.kept()


def test_a_client_that_comes_back_in_time_stops_the_clock() -> None:
    """The buffer stays as long as anybody is there."""
    town = Town(ttl_seconds=10)
    user, stream = town.connect("u-1")
    town.publish("u-1")
    town.users.disconnect(user, stream, town.now)
    town.pass_time(9.0)
    town.connect("u-1")
    town.pass_time(50.0)

    assert {"u-1": [1]} == town.kept()


def test_the_clock_starts_when_the_last_of_several_clients_leaves() -> None:
    """Whichever that is."""
    town = Town(ttl_seconds=10)
    user, first = town.connect("u-1")
    _, second = town.connect("u-1")
    town.publish("u-1")
    town.users.disconnect(user, first, town.now)
    town.pass_time(50.0)
    still_there = town.kept()
    town.users.disconnect(user, second, town.now)
    town.pass_time(10.1)

    assert {"u-1": [1]} == still_there
    assert {} == town.kept()


def test_a_user_without_events_goes_with_its_last_client() -> None:
    """Nothing is kept of it, and no buffer is counted as dropped."""
    town = Town()
    user, stream = town.connect("u-1")
    town.users.disconnect(user, stream, town.now)

    assert {} == town.kept()
    assert (0, 0) == (len(town.wheel), town.users.dropped_buffers)
    assert town.gap("u-1") is None


def test_connections_are_known_with_those_that_count() -> None:
    """One that was not authenticated does not count against the user's limit."""
    town = Town()
    user, counted = town.connect("u-1")
    _, open_one = town.connect("u-1", is_counted=False)
    user.parked[open_one] = 0
    both = (list(user.connections), list(user.counted))
    town.users.disconnect(user, open_one, town.now)

    assert ([counted, open_one], [counted]) == both
    assert ([counted], [counted], []) == (
        list(user.connections),
        list(user.counted),
        list(user.parked),
    )


def test_connected_users_are_those_with_connections() -> None:
    """The metrics show them."""
    town = Town()
    town.publish("u-1")
    user, _ = town.connect("u-2")

    assert [user] == town.users.connected()


def test_past_max_users_the_longest_idle_one_goes() -> None:
    """One that publishes is not idle, one that is connected never."""
    town = Town(max_users=3)
    town.connect("u-0")
    town.publish("u-0")
    for user_id in ("u-1", "u-2", "u-1", "u-3"):
        town.publish(user_id)

    assert {"u-0": [1], "u-1": [2, 4], "u-3": [5]} == town.kept()
    assert 1 == town.users.dropped_buffers
    assert GapReason.EVICTED == town.gap("u-2", 2)


def test_past_max_users_a_connected_user_is_made_all_the_same() -> None:
    """Their number is bounded by that of connections."""
    town = Town(max_users=1)
    for number in range(3):
        town.connect(f"u-{number}")

    assert 3 == len(town.kept())


def test_fewer_users_after_a_reload() -> None:
    """The next one who comes makes room down to the new limit."""
    town = Town(max_users=5)
    for number in range(5):
        town.publish(f"u-{number}")
    town.users.config = configured({"buffer.max_users": 2}).buffer
    town.publish("u-9")

    assert {"u-4": [5], "u-9": [6]} == town.kept()


def room_for(events: int) -> int:
    """Return the `max_bytes` that hold so many events of 2000 bytes, and not one more."""
    return events * event_bytes(Event(0, "alert:new", b"x" * 2000, route="alerts"))


def test_past_max_bytes_users_without_connections_lose_theirs_first() -> None:
    """Whole buffers, the longest idle first, as many as it takes."""
    town = Town(max_bytes=room_for(4))
    town.connect("u-0")
    town.publish("u-0", b"x" * 2000)
    for user_id in ("u-1", "u-2", "u-3"):
        town.publish(user_id, b"x" * 2000)
    town.publish("u-0", b"x" * 4000)

    assert {"u-0": [1, 5], "u-3": [4]} == town.kept()
    assert GapReason.EVICTED == town.gap("u-1", 1)


def test_past_max_bytes_an_idle_user_keeps_what_it_publishes() -> None:
    """The publishing user is not dropped while it publishes."""
    town = Town(max_bytes=room_for(2))
    for user_id in ("u-1", "u-2", "u-1"):
        town.publish(user_id, b"x" * 2000)

    assert {"u-1": [1, 3]} == town.kept()


def test_past_max_bytes_the_publishing_user_is_passed_over_though_idle_for_longest() -> None:
    """One whose client left counts its time from then, whatever is published for it."""
    town = Town(max_bytes=room_for(2))
    user, stream = town.connect("u-1")
    town.publish("u-1", b"x" * 2000)
    town.users.disconnect(user, stream, town.now)
    for user_id in ("u-2", "u-1"):
        town.publish(user_id, b"x" * 2000)

    assert {"u-1": [1, 3]} == town.kept()


def test_past_max_bytes_a_user_then_loses_its_own_oldest() -> None:
    """A noisy one costs the quiet ones nothing, and its parked streams keep what they lack."""
    town = Town(max_bytes=room_for(3))
    town.connect("u-1")
    user, stream = town.connect("u-2")
    user.parked[stream] = 0
    for user_id in ("u-1", "u-2", "u-2", "u-2"):
        town.publish(user_id, b"x" * 2000)

    assert {"u-1": [1], "u-2": [3, 4]} == town.kept()
    assert [2] == [event.id for event in stream.held or ()]


def test_past_max_bytes_what_was_just_published_stays() -> None:
    """A user who has nothing else takes its room from the one who has had some for longest."""
    town = Town(max_bytes=room_for(3))
    for number in range(3):
        town.connect(f"u-{number}")
    for user_id in ("u-0", "u-1", "u-1", "u-2"):
        town.publish(user_id, b"x" * 2000)

    assert {"u-0": [], "u-1": [2, 3], "u-2": [4]} == town.kept()
    assert GapReason.EVICTED == town.gap("u-0", 0)


def test_an_event_larger_than_max_bytes_costs_nobody_else_anything() -> None:
    """It cannot be kept, whoever made room for it."""
    town = Town(max_bytes=room_for(3))
    town.connect("u-0")
    for user_id in ("u-0", "u-1"):
        town.publish(user_id, b"x" * 2000)
    town.publish("u-0", b"x" * 100_000)

    assert {"u-0": [], "u-1": [2]} == town.kept()
    assert GapReason.EVICTED == town.gap("u-0", 1)


def test_memory_that_ran_short_is_logged_as_an_overflow() -> None:
    """The user's reconnect will lack something either way."""
    town = Town(max_bytes=room_for(1))
    town.connect("u-1")
    with capture_logs() as logs:
        for _ in range(2):
            town.publish("u-1", b"x" * 2000)

    assert [("buffer_overflow", "u-1", 1)] == [
        (line["event"], line["user_id"], line["evicted_events"]) for line in logs
    ]


def test_an_idle_user_whose_buffer_is_empty_makes_way_without_end() -> None:
    """Dropping it frees nothing, and the next one is asked."""
    town = Town(max_bytes=room_for(2))
    user, stream = town.connect("u-1")
    town.publish("u-1", b"x" * 100_000)
    town.users.disconnect(user, stream, town.now)
    for user_id in ("u-2", "u-3"):
        town.connect(user_id)
        town.publish(user_id, b"x" * 2000)
    town.publish("u-2", b"x" * 2000)

    assert {"u-2": [4], "u-3": [3]} == town.kept()
    assert GapReason.EVICTED == town.gap("u-1", 0)


def test_a_buffer_that_was_dropped_is_remembered_for_the_user() -> None:
    """Up to its newest event, even one that had left it before."""
    town = Town(ttl_seconds=1, events_per_user=1)
    for _ in range(3):
        town.publish("u-1")
    town.pass_time(1.1)
    reasons = [town.gap("u-1", last_id) for last_id in (0, 2, 3)]

    assert [GapReason.EXPIRED, GapReason.EXPIRED, None] == reasons


def test_of_too_many_losses_the_newest_that_was_forgotten_counts_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who may have lost something is told so; who resumes behind it is not."""
    monkeypatch.setattr(users_module, "_MAX_LOSSES", 1)
    town = Town(ttl_seconds=1)
    for user_id in ("u-1", "u-2", "u-3"):
        town.publish(user_id)
        town.pass_time(1.1)
    reasons = {
        user_id: [town.gap(user_id, last_id) for last_id in (0, 1, 2, 3)]
        for user_id in ("u-9", "u-3")
    }

    lost, none = GapReason.EXPIRED, None
    assert {"u-9": [lost, lost, none, none], "u-3": [lost, lost, lost, none]} == reasons


def test_an_older_loss_does_not_replace_a_newer_forgotten_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Losses are forgotten in the order they happened, not in that of their IDs."""
    monkeypatch.setattr(users_module, "_MAX_LOSSES", 1)
    town = Town(max_users=2)
    for user_id in ("u-1", "u-2"):
        town.publish(user_id)
    user, stream = town.connect("u-1")
    town.users.disconnect(user, stream, town.now)
    for user_id in ("u-3", "u-4", "u-5"):
        town.publish(user_id)
    town.users.config = configured().buffer  # so that looking drops nobody
    reasons = [town.gap("u-9", last_id) for last_id in (1, 2)]

    assert [GapReason.EVICTED, None] == reasons


def test_the_last_limit_ids_of_a_user_are_remembered() -> None:
    """Twenty of them (contract section 4)."""
    user = Town().users.obtain("u-1", 0.0)
    nothing_yet = user.limit_ids
    for event_id in range(25):
        user.remember_limit_id(event_id)

    assert nothing_yet is None
    assert list(range(5, 25)) == list(user.limit_ids or ())
