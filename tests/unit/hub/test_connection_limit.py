"""Tests of `sseserver.hub.connection_limit`, in the whole core."""

import pytest
from structlog.testing import capture_logs

from sseserver.errors import CloseReason
from sseserver.hub.connection_limit import LEAVE_SECONDS
from tests.support.core import Core, request_for
from tests.unit.hub.slow_streams import (
    BACKLOG,
    parked,
    small_core,
    unread,
)


@pytest.mark.parametrize("limit", [1, 3])
def test_past_the_limit_the_oldest_connection_is_told_and_closed(limit: int) -> None:
    """The newcomer is served, the others stay."""
    core = Core({"limits.connections_per_user": limit})
    streams = [core.connect(request_for()) for _ in range(limit)]
    with capture_logs() as logs:
        newcomer = core.connect(request_for())
    core.fact("user-1", 1)
    core.hub.flush()
    farewell = streams[0].events()[-1]

    assert ("connection:limit", limit) == (farewell[0], farewell[1]["limit"])
    assert {"limit", "message", "timestamp"} == farewell[1].keys()
    assert CloseReason.CONNECTION_LIMIT == streams[0].reason
    assert [[1]] * limit == [stream.numbers() for stream in (*streams[1:], newcomer)]
    assert ["connection_limit"] == [line["event"] for line in logs]
    assert 1 == core.hub.counters.evicted_connections


def test_a_lower_limit_closes_as_many_as_are_too_many() -> None:
    """The oldest first."""
    core = Core()
    streams = [core.connect(request_for()) for _ in range(5)]
    core.hub.streams.configure(Core({"limits.connections_per_user": 2}).config.limits)
    newcomer = core.connect(request_for())

    limit = CloseReason.CONNECTION_LIMIT
    assert [limit] * 4 + [None] * 2 == [stream.reason for stream in (*streams, newcomer)]


def test_connections_without_a_session_neither_count_nor_are_closed() -> None:
    """They cannot push out those of the user they name."""
    core = Core({"limits.connections_per_user": 1})
    counted = core.connect(request_for("trading"))
    open_ones = [core.connect(request_for("trading", is_counted=False)) for _ in range(3)]
    of_another = core.connect(request_for("trading", "user-2"))

    assert [None] * 5 == [stream.reason for stream in (counted, *open_ones, of_another)]


def test_the_closed_tab_is_known_when_it_returns() -> None:
    """By the ID of its farewell, for as long as the user is still at the limit."""
    core = Core({"limits.connections_per_user": 2})
    first, second = (core.connect(request_for()) for _ in range(2))
    core.connect(request_for())
    farewell_id = first.ids()[-1]
    asked = [
        request_for(last_event_id=farewell_id),
        request_for(last_event_id=farewell_id, is_counted=False),
        request_for(last_event_id=farewell_id + 2),
        request_for(last_event_id=None),
        request_for(user_id="user-2", last_event_id=farewell_id),
        request_for("prices", last_event_id=farewell_id),
    ]
    at_the_limit = [
        core.hub.streams.connection_limit.is_evicted_return(request) for request in asked
    ]
    second.cut()

    assert [True, False, False, False, False, False] == at_the_limit
    assert not core.hub.streams.connection_limit.is_evicted_return(asked[0])


def test_a_user_who_never_was_at_the_limit_has_no_farewell_to_return_with() -> None:
    """Whatever ID is named."""
    core = Core({"limits.connections_per_user": 1})
    core.connect(request_for())

    assert not core.hub.streams.connection_limit.is_evicted_return(request_for(last_event_id=1))


def test_a_connection_too_many_that_does_not_read_has_its_time_to_leave() -> None:
    """Then it is told with an ID from which what it lacks can be resumed, and its place is free."""
    core = small_core(limits__connections_per_user=1)
    slow = parked(core)
    core.fact("user-1", 0)
    core.connect(request_for())
    core.pass_time(LEAVE_SECONDS / 2)
    early = slow.reason
    core.pass_time(LEAVE_SECONDS)
    slow.take_until_drained()
    last_id = slow.ids()[-1]
    again = core.connect(request_for(is_counted=False, last_event_id=last_id))

    assert (None, CloseReason.CONNECTION_LIMIT) == (early, slow.reason)
    assert ([], [0]) == (slow.numbers(), again.numbers())
    assert core.hub.streams.connection_limit.is_evicted_return(request_for(last_event_id=last_id))


def test_no_more_leave_at_once_than_a_user_may_have() -> None:
    """However fast a client opens connections from which it does not read."""
    core = small_core(limits__connections_per_user=2)
    core.fact("user-1", 0, pad_bytes=BACKLOG)
    core.fact("user-1", 1)
    streams = [unread(core) for _ in range(10)]
    reasons = [stream.reason for stream in streams]
    core.pass_time(LEAVE_SECONDS + 1)

    assert [CloseReason.CONNECTION_LIMIT] * 6 + [None] * 4 == reasons
    assert [None] * 2 == [stream.reason for stream in streams if stream.reason is None]


def test_who_leaves_later_is_ended_later() -> None:
    """Each has its time from the moment at which it became one too many."""
    core = small_core(limits__connections_per_user=1)
    users = ("user-1", "user-2")
    slow = [parked(core, user_id=user_id) for user_id in users]
    reasons = []
    for user_id in users:
        core.fact(user_id, 0)
        core.connect(request_for(user_id=user_id))
        core.pass_time(LEAVE_SECONDS * 0.75)
        reasons.append([stream.reason for stream in slow])
    core.pass_time(LEAVE_SECONDS * 0.75)
    reasons.append([stream.reason for stream in slow])

    limit = CloseReason.CONNECTION_LIMIT
    assert [[None, None], [limit, None], [limit, limit]] == reasons


def test_a_stream_evicted_amid_its_opening_gets_its_facts_before_its_farewell() -> None:
    """The answer to its return is 204, so that it could not have them later.

    Its place is the newcomer's at once, and its farewell is known when it returns.
    """
    core = small_core(limits__connections_per_user=1, buffer__events_per_user=20)
    for number in range(20):
        core.fact("user-1", number, pad_bytes=1000)
    stream = unread(core)
    newcomer = core.connect(request_for())
    reasons = (stream.reason, newcomer.reason)
    core.fact("user-1", 20)
    stream.take_until_drained()
    last_id = stream.ids()[-1]
    again = core.connect(request_for(is_counted=False, last_event_id=last_id))

    assert (None, None) == reasons
    assert "connection:limit" == stream.types()[-1]
    assert (list(range(20)), [20]) == (stream.numbers(), again.numbers())
    assert stream.ids() == sorted(set(stream.ids()))
    assert CloseReason.CONNECTION_LIMIT == stream.reason
    assert core.hub.streams.connection_limit.is_evicted_return(request_for(last_event_id=last_id))
