"""Tests of `sseserver.hub.streams`."""

import zlib
from typing import Any

import pytest

from sseserver.errors import CloseReason
from sseserver.event_id import format_event_id
from sseserver.events import Event
from sseserver.wire.compression import prologue
from sseserver.wire.sse_frame import LAST_CHUNK, chunk
from tests.support.core import Core, request_for
from tests.support.fake_connection import HEAD, FakeConnection, decode
from tests.support.stream_client import Dechunker, ZstdFrames
from tests.unit.hub.slow_streams import (
    ENCODINGS,
    HIGH_WATER,
    parked,
    small_core,
    stalled,
)

# ---- opening --------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_stream_opens_with_connected_replay_and_snapshot(
    encoding: str, *, is_chunked: bool
) -> None:
    """In this order, readable at once, in every coding and framing."""
    core = Core()
    core.put_orders("user-1", ["o-1"])
    for number in range(2):
        core.fact("user-1", number, "order:fill")
    stream = core.connect(request_for("orders", encoding=encoding, is_chunked=is_chunked))

    assert ["connected", "order:fill", "order:fill", "order:update"] == stream.types()
    assert [0, 1] == stream.numbers()
    assert stream.ids() == sorted(set(stream.ids()))
    assert 4 == len(stream.ids())


def test_connected_says_who_and_how_many_follow() -> None:
    """The client ID, the stream, the correlation ID and the count of the replay."""
    core = Core()
    core.fact("user-1", 1)
    core.fact("user-1", 2, "order:fill")
    stream = core.connect(request_for())
    client_id = f"user-1-alerts-{core.clock.wall_ms()}"

    assert (
        "connected",
        {
            "clientId": client_id,
            "stream": "alerts",
            "correlationId": "c-1",
            "replay": 1,
            "timestamp": "2025-01-02T12:10:00.000Z",
        },
    ) == stream.events()[0]
    assert [client_id] == list(core.hub.streams.clients)


def test_client_ids_are_unique_within_a_millisecond() -> None:
    """The timestamp is moved on; `anonymous` stands for no user."""
    core = Core()
    now_ms = core.clock.wall_ms()
    for stream in ("alerts", "alerts", "prices", "prices", "orders"):
        core.connect(request_for(stream))

    assert [
        f"user-1-alerts-{now_ms}",
        f"user-1-alerts-{now_ms + 1}",
        f"anonymous-prices-{now_ms}",
        f"anonymous-prices-{now_ms + 1}",
        f"user-1-orders-{now_ms}",
    ] == list(core.hub.streams.clients)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_the_head_comes_first_with_what_the_coding_begins_with(
    encoding: str, *, is_chunked: bool
) -> None:
    """Once, and in one write with the opening; nothing is framed where there is nothing."""
    core = Core()
    writes: list[bytes] = []
    request = request_for(encoding=encoding, is_chunked=is_chunked)
    core.hub.streams.open(request, FakeConnection(core.hub), writes.append, HEAD)
    start = prologue(encoding)
    [opening] = writes

    assert opening.startswith(HEAD + (chunk(start) if is_chunked and start else start))
    assert decode(opening[len(HEAD) :], encoding, is_chunked=is_chunked).startswith(
        b"event: connected\n"
    )


def test_streams_are_counted_by_kind() -> None:
    """Strategies are one kind, whichever they are."""
    core = Core()
    for stream in ("alerts", "strategies/s-1", "strategies/s-2", "alerts", "prices"):
        core.connect(request_for(stream))
    core.fact("user-1", 1)
    core.connect(request_for("alerts"))

    counters = core.hub.counters
    assert {"alerts": 3, "strategies": 2, "prices": 1} == counters.streams_opened
    assert 1 == counters.replayed_events


def test_a_retry_that_is_spread_is_in_connected_alone() -> None:
    """Shared events carry none, so each client keeps its own."""
    core = Core({"stream.retry_ms": 1000, "stream.retry_spread_ms": 9000})
    streams = [core.connect(request_for()) for _ in range(5)]
    core.fact("user-1", 1)
    core.hub.flush()
    told = [[event.retry_ms for event in stream.source().events] for stream in streams]

    assert [None] * 5 == [retries[1] for retries in told]
    assert 1 < len({retries[0] for retries in told})
    assert all(1000 <= (retries[0] or 0) <= 10_000 for retries in told)


def test_a_stream_resumes_behind_the_id_it_names() -> None:
    """With what came after it, once."""
    core = Core()
    facts = [core.fact("user-1", number) for number in range(4)]
    stream = core.connect(request_for(last_event_id=facts[1].id))

    assert [2, 3] == stream.numbers()
    assert ["connected", "alert:new", "alert:new"] == stream.types()


def test_a_gap_is_told_before_what_is_left() -> None:
    """With the ID that was named and the reason."""
    core = Core({"buffer.events_per_user": 2})
    facts = [core.fact("user-1", number) for number in range(5)]
    stream = core.connect(request_for(last_event_id=facts[0].id))
    gap = stream.events()[1]

    assert ["connected", "stream:gap", "alert:new", "alert:new"] == stream.types()
    assert {"lastEventId": format_event_id(facts[0].id), "reason": "evicted"} == gap[1]
    assert [3, 4] == stream.numbers()
    assert stream.ids() == sorted(set(stream.ids()))


def test_a_client_that_is_cut_before_the_gap_is_told_again() -> None:
    """The ID of `connected` is from before the loss, that of the gap from behind it."""
    core = Core({"buffer.events_per_user": 2})
    facts = [core.fact("user-1", number) for number in range(5)]
    ids = core.connect(request_for(last_event_id=facts[0].id)).ids()
    again = [core.connect(request_for(last_event_id=event_id)).types() for event_id in ids[:2]]

    assert ["connected", "stream:gap", "alert:new", "alert:new"] == again[0]
    assert ["connected", "alert:new", "alert:new"] == again[1]


def test_without_replay_nothing_old_is_sent_unless_an_id_is_named() -> None:
    """A reconnecting EventSource repeats its URL, and must not lose what it missed."""
    core = Core()
    facts = [core.fact("user-1", number) for number in range(3)]
    fresh = core.connect(request_for(wants_replay=False))
    again = core.connect(request_for(wants_replay=False, last_event_id=facts[0].id))
    core.fact("user-1", 3)
    core.hub.flush()

    assert ([3], [1, 2, 3]) == (fresh.numbers(), again.numbers())
    assert 0 == fresh.events()[0][1]["replay"]


def test_a_price_stream_ignores_a_last_event_id() -> None:
    """Its snapshot says all: it has no gap (contract section 4)."""
    core = Core()
    stream = core.connect(request_for("prices", last_event_id=1))

    assert ["connected", "price:update"] == stream.types()


# ---- ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_stream_ends_properly(encoding: str, *, is_chunked: bool) -> None:
    """After what was queued and the farewell: the end of the coding, and the last chunk."""
    core = Core()
    stream = core.connect(request_for(encoding=encoding, is_chunked=is_chunked, session_key=b"s"))
    core.fact("user-1", 1)
    count = core.hub.streams.end_session(b"s")
    dechunker = Dechunker()
    payload = dechunker.feed(stream.body) if is_chunked else stream.body
    decoder: Any = zlib.decompressobj(31) if encoding == "gzip" else ZstdFrames()
    if encoding != "identity":
        decoder.decompress(payload)
        assert decoder.eof

    assert is_chunked == dechunker.is_ended
    assert 1 == count
    assert ["connected", "alert:new", "session:expired"] == stream.types()
    assert CloseReason.SESSION_EXPIRED == stream.reason
    assert {} == core.hub.streams.clients


def test_a_farewell_is_a_place_to_resume_from() -> None:
    """What was queued came before it, what is published later comes after it."""
    core = Core()
    stream = core.connect(request_for(session_key=b"s"))
    core.fact("user-1", 1)
    core.hub.streams.end_session(b"s")
    core.fact("user-1", 2)
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert ([1], [2]) == (stream.numbers(), again.numbers())
    assert "stream:gap" not in again.types()


def test_the_farewell_of_a_stream_that_its_last_flush_filled_is_one_too() -> None:
    """All that was queued was handed over before it, though the peer has not taken it yet."""
    core = small_core()
    stream = stalled(core, session_key=b"s")
    core.fact("user-1", 1, pad_bytes=3000)
    core.hub.streams.end_session(b"s")
    core.fact("user-1", 2)
    core.hub.streams.settle()
    stream.take_until_drained()
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert ([1], [2]) == (stream.numbers(), again.numbers())
    assert "session:expired" == stream.types()[-1]


@pytest.mark.parametrize("events_per_user", [100, 1])
def test_the_farewell_of_a_parked_stream_is_before_what_it_lacks(events_per_user: int) -> None:
    """Whether that is buffered or kept for the stream alone; then the client is told."""
    core = small_core(buffer__events_per_user=events_per_user)
    stream = parked(core, session_key=b"s")
    for number in range(3):
        core.fact("user-1", number)
    core.hub.streams.end_session(b"s")
    stream.take_until_drained()
    again = core.connect(request_for(last_event_id=stream.ids()[-1]))

    assert stream.ids() == sorted(set(stream.ids()))
    assert ("stream:gap" in again.types()) == (events_per_user == 1)
    assert [0, 1, 2][-events_per_user:] == again.numbers()


def test_the_farewell_of_a_parked_stream_that_lacks_nothing_is_after_everything() -> None:
    """Private or not."""
    core = small_core()
    streams = [parked(core, stream, user_id=f"user-{stream}") for stream in ("alerts", "prices")]
    last_id = core.hub.ids.last
    core.hub.shut_down()
    for stream in streams:
        stream.take_until_drained()

    assert all(stream.ids()[-1] > last_id for stream in streams)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_shutdown_is_told_after_the_facts_that_are_held(encoding: str) -> None:
    """They are nowhere else: the process ends."""
    core = small_core(buffer__events_per_user=2)
    slow = stalled(core, encoding=encoding)
    core.broadcast_test(pad_bytes=3 * HIGH_WATER)
    core.hub.flush()
    for number in range(6):
        core.fact("user-1", number, pad_bytes=200)
    core.hub.shut_down()
    reason = slow.reason
    slow.take_until_drained()

    assert reason is None
    assert list(range(6)) == slow.numbers()
    assert "server:shutdown" == slow.types()[-1]
    assert slow.ids() == sorted(set(slow.ids()))
    assert CloseReason.SHUTDOWN == slow.reason


def test_a_shutdown_leaves_the_end_of_who_is_leaving_where_it_is() -> None:
    """What came after it was not kept for that stream; its farewell is where that begins."""
    core = small_core(limits__connections_per_user=1, buffer__events_per_user=3)
    leaving = parked(core)
    core.fact("user-1", 0)
    newcomer = core.connect(request_for())
    for number in range(1, 10):
        core.fact("user-1", number)
    core.hub.shut_down()
    leaving.take_until_drained()
    again = core.connect(request_for(is_counted=False, last_event_id=leaving.ids()[-1]))

    assert ([0], list(range(10))) == (leaving.numbers(), newcomer.numbers())
    assert "connection:limit" == leaving.types()[-1]
    assert ["connected", "stream:gap"] == again.types()[:2]


def test_a_session_that_ends_does_not_wait_for_a_stream_that_is_to_end() -> None:
    """The right to be told is gone, so no more is told."""
    core = small_core()
    slow = parked(core, session_key=b"s")
    core.fact("user-1", 1)
    core.hub.shut_down()
    core.hub.streams.end_session(b"s")
    slow.take_until_drained()

    assert "session:expired" == slow.types()[-1]
    assert [] == slow.numbers()


def test_a_farewell_for_which_no_id_is_left_has_none() -> None:
    """The browser keeps the ID it has, from which it resumes."""
    core = small_core()
    stream = parked(core, session_key=b"s")
    assert stream.subscription is not None
    next_id = stream.subscription.last_id + 1
    fact = Event(next_id, "alert:new", b'{"n":1}', route="alerts", user_id="user-1")
    core.hub.publish(fact)
    core.hub.streams.end_session(b"s")
    stream.take_until_drained()

    assert ["connected", "test", "session:expired"] == stream.types()
    assert 2 == len(stream.ids())


def test_a_stream_that_is_ended_while_it_waits_gets_its_farewell() -> None:
    """And is not let in by the flush."""
    core = Core()
    core.connect(request_for())
    core.fact("user-1", 1)
    waiting = core.connect(request_for(session_key=b"s"))
    core.hub.streams.end_session(b"s")
    core.hub.flush()

    assert ["connected", "alert:new", "session:expired"] == waiting.types()


def test_a_session_ends_its_streams_and_no_others() -> None:
    """Whichever they are; the session's renewal can find them before."""
    core = Core()
    streams = [
        core.connect(request_for(stream, user_id, session_key=key))
        for stream, user_id, key in (
            ("alerts", "user-1", b"a"),
            ("orders", "user-1", b"a"),
            ("alerts", "user-1", b"b"),
            ("trading", "user-1", None),
        )
    ]
    of_session = [stream.request.stream for stream in core.hub.streams.of_session(b"a")]
    count = core.hub.streams.end_session(b"a")
    again = core.hub.streams.end_session(b"a")

    expired = CloseReason.SESSION_EXPIRED
    assert ["alerts", "orders"] == of_session
    assert (2, 0, []) == (count, again, core.hub.streams.of_session(b"a"))
    assert [expired, expired, None, None] == [stream.reason for stream in streams]


def test_a_route_that_is_gone_ends_its_streams_without_a_farewell() -> None:
    """A strategy that was deleted, or belongs to somebody else now."""
    core = Core()
    streams = [
        core.connect(request_for(stream, encoding="gzip"))
        for stream in ("strategies/s-1", "strategies/s-2", "alerts")
    ]
    user = core.hub.users.get("user-1")
    assert user is not None
    core.hub.streams.end_route(user, "strategies/s-1", CloseReason.STRATEGY_GONE)

    assert [CloseReason.STRATEGY_GONE, None, None] == [stream.reason for stream in streams]
    assert ["connected"] == streams[0].types()
    assert streams[0].body.endswith(LAST_CHUNK)


def test_leaving_twice_is_harmless() -> None:
    """A connection that was ended is lost a moment later."""
    core = Core()
    stream = core.connect(request_for(session_key=b"s"))
    stays = core.connect(request_for(session_key=b"s"))
    stream.cut()
    stream.cut()
    core.fact("user-1", 1)
    core.hub.flush()

    assert [1] == stays.numbers()
    assert 1 == len(core.hub.streams.clients)


def test_a_stream_that_has_ended_does_not_go_on() -> None:
    """Its transport may still drain, or report that it is full."""
    core = small_core()
    stream = parked(core)
    assert stream.subscription is not None
    stream.cut()
    body = len(stream.body) + stream.unsent_bytes
    core.hub.streams.note_paused(stream.subscription)
    core.hub.streams.settle()
    core.hub.streams.resume(stream.subscription)

    assert body == len(stream.body) + stream.unsent_bytes


def test_positions_are_watched_as_long_as_a_stream_shows_them() -> None:
    """Prices cost nothing for users whom nobody looks at."""
    core = Core()
    core.position("user-1", 0, "A")
    streams = [core.connect(request_for(stream)) for stream in ("positions", "trading")]
    moved = []
    for stream in (*streams, None):
        core.price("A", 1)
        moved.append(core.projection.has_revaluations)
        core.hub.end_window()
        if stream is not None:
            stream.cut()

    assert [True, True, False] == moved


def test_when_all_have_gone_nothing_is_left() -> None:
    """Audiences, routes, sessions, users, timers and contexts."""
    core = small_core(buffer__ttl_seconds=1)
    streams = [
        core.connect(request_for(stream, encoding=encoding, session_key=b"s"))
        for stream in ("alerts", "trading", "prices", "ai-decisions", "strategies/s-1")
        for encoding in ENCODINGS
    ]
    streams.append(parked(core, "alerts", session_key=b"s"))
    core.fact("user-1", 1)
    for stream in streams:
        stream.cut()
    core.pass_time(1.1)

    assert (0, 0, 0, 0) == (
        len(core.hub.audiences),
        core.hub.audiences.contexts.in_use,
        len(core.hub.users),
        len(core.wheel),
    )
    assert ({}, {}, {}) == (
        core.hub.streams.clients,
        core.hub.streams._by_session,  # empty entries could not be seen from outside
        core.hub.streams.catch_up._waiting,
    )
