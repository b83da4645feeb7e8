"""Tests of `sseserver.net.stream_connection`."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from sseserver.errors import CloseReason
from sseserver.hub.connection_limit import LEAVE_SECONDS
from sseserver.net.closing import LINGER_SECONDS
from sseserver.net.stream_connection import MAX_DISCARDED_BYTES, StreamConnection
from sseserver.state.sessions import session_key
from tests.support.fake_transport import FakeTransport
from tests.unit.net.site import Site, events, only, request

ALERTS = "GET /api/stream/alerts\nCookie: session=s-1\nX-Correlation-ID: c-1"
KEY = session_key("s-1")


def open_stream(site: Site, head: str = ALERTS, **options: Any) -> FakeTransport:
    """Open a stream on a connection of its own."""
    if site.sessions.get(KEY, site.clock.wall_ms()) is None:
        site.session("s-1", "user-1")
    transport = site.connect(**options)
    transport.receive(request(head))
    assert b"event: connected" in transport.sent
    return transport


def types(transport: FakeTransport) -> list[str]:
    """Return the types of all events that the peer has."""
    return [event.type for event in events(only(bytes(transport.sent))).events]


def reasons(site: Site) -> dict[str, int]:
    """Return why streams have ended so far."""
    return site.hub.counters.streams_closed


def stall(transport: FakeTransport) -> None:
    """Let the peer take nothing from now on."""
    transport.takes_all = False


@contextmanager
def counting_socket() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two ends of a TCP connection; the kernel counts what the first one sends."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as ours,
    ):
        theirs, _ = listener.accept()
        theirs.settimeout(10)
        with theirs:
            yield ours, theirs


def acknowledge(ours: socket.socket, theirs: socket.socket) -> None:
    """Let one byte be acknowledged."""
    ours.send(b"x")
    theirs.recv(1)
    theirs.send(b"y")
    ours.recv(1)


def test_a_stream_is_open_until_its_connection_is_lost() -> None:
    """It is registered, counted, and forgotten with its reason when the client leaves."""
    site = Site()
    transport = open_stream(site)
    opened = (len(site.connections.streams), len(site.hub.streams.clients))
    transport.lose()

    assert (1, 1) == opened
    assert (0, 0) == (len(site.connections.streams), len(site.hub.streams.clients))
    assert {"client_left": 1} == reasons(site)
    assert "user-1" not in site.hub.users._users
    site.pass_time(100)


def test_connect_and_disconnect_are_logged() -> None:
    """One line each, with client and correlation ID; the second has the reason."""
    site = Site()
    site.session("s-1", "user-1")
    with structlog.testing.capture_logs() as logs:
        transport = open_stream(site)
        site.clock.advance(1.5)
        transport.lose()

    client_id = f"user-1-alerts-{site.clock.wall_ms() - 1500}"
    assert [
        {
            "event": "client_connected",
            "client_id": client_id,
            "correlation_id": "c-1",
            "stream": "alerts",
            "user_id": "user-1",
            "encoding": "identity",
            "peer": "127.0.0.1",
            "log_level": "info",
        },
        {
            "event": "client_disconnected",
            "client_id": client_id,
            "correlation_id": "c-1",
            "reason": CloseReason.CLIENT_LEFT,
            "seconds": 1.5,
            "log_level": "info",
        },
    ] == [line for line in logs if line["event"].startswith("client_")]


def test_a_connection_lost_by_an_error_is_a_failed_delivery() -> None:
    """It is counted, and logged as an error with the client's ID."""
    site = Site()
    transport = open_stream(site)
    with structlog.testing.capture_logs() as logs:
        transport.lose(TimeoutError("timed out"))

    assert ({"write_failed": 1}, 1) == (reasons(site), site.hub.counters.failed_deliveries)
    assert [("delivery_failed", "error", "c-1", "write_failed", "timed out")] == [
        (
            line["event"],
            line["log_level"],
            line["correlation_id"],
            line["reason"],
            line["error"],
        )
        for line in logs
        if line["event"] == "delivery_failed"
    ]


def test_a_peer_that_resets_has_left() -> None:
    """A browser that leaves with something unread resets: nobody is woken for that."""
    site = Site()
    transport = open_stream(site)
    with structlog.testing.capture_logs() as logs:
        transport.lose(ConnectionResetError("reset by peer"))

    assert ({"client_left": 1}, 0) == (reasons(site), site.hub.counters.failed_deliveries)
    assert [] == [line for line in logs if line["log_level"] == "error"]


def test_an_address_may_be_unknown() -> None:
    """A connection that was reset while it opened has none; it opens and ends."""
    site = Site()
    with structlog.testing.capture_logs() as logs:
        open_stream(site, peer=None).lose()

    assert [""] == [line["peer"] for line in logs if line["event"] == "client_connected"]


def test_request_bytes_on_a_stream_are_discarded_within_a_bound() -> None:
    """64 KiB are nothing; one byte more ends the stream."""
    site = Site()
    transport = open_stream(site)
    for _ in range(64):
        transport.receive(b"x" * 1024)
    was_open = transport.is_open
    transport.receive(b"x")
    left = len(site.hub.streams.clients)
    transport.lose()

    assert MAX_DISCARDED_BYTES == 64 * 1024
    assert was_open
    assert transport.is_aborted
    assert 0 == left
    assert {"input_flood": 1} == reasons(site)


def test_the_write_buffer_follows_the_backlog() -> None:
    """Back-pressure begins at half of `max_backlog_bytes`."""
    transport = open_stream(Site({"limits.max_backlog_bytes": 8192}))

    assert (1024, 4096) == transport.get_write_buffer_limits()


def test_a_paused_stream_goes_on_where_it_was() -> None:
    """Facts that came while the peer took nothing follow when it has drained."""
    site = Site({"limits.max_backlog_bytes": 8192})
    transport = open_stream(site)
    stall(transport)
    for number in range(60):
        site.core.fact("user-1", number)
        site.hub.flush()
    waiting = transport.get_write_buffer_size()
    while transport.get_write_buffer_size():
        transport.take()

    assert 4096 < waiting < 8192
    assert ["connected", *["alert:new"] * 60] == types(transport)
    assert transport.is_open


def test_a_pause_during_the_opening_is_kept() -> None:
    """An opening larger than the peer takes pauses the stream before it is registered."""
    site = Site({"limits.max_backlog_bytes": 4096})
    for number in range(60):
        site.core.fact("user-1", number)
    site.session("s-1", "user-1")
    transport = site.connect()
    stall(transport)
    transport.receive(request(ALERTS))
    (stream,) = site.connections.streams
    assert isinstance(stream, StreamConnection)
    was_paused = stream.is_paused
    while transport.get_write_buffer_size():
        transport.take()

    assert was_paused
    assert not stream.is_paused
    assert ["connected", *["alert:new"] * 60] == types(transport)


def test_a_finished_stream_is_closed_so_that_its_farewell_arrives() -> None:
    """Last bytes, our side closed, what the peer sends is dropped, its end ends it."""
    site = Site()
    transport = open_stream(site)
    site.hub.streams.end_session(KEY)
    transport.receive(b"x" * 1000)
    farewell = (transport.has_eof, transport.is_open)
    transport.receive_eof()
    transport.lose()

    assert ["connected", "session:expired"] == types(transport)
    assert bytes(transport.sent).endswith(b"0\r\n\r\n")
    assert (True, True) == farewell
    assert not transport.is_open
    assert {"session_expired": 1} == reasons(site)


def test_a_farewell_waits_for_a_slow_peer() -> None:
    """A peer that goes on taking bytes gets them all; drained, it does not go live again."""
    site = Site({"limits.max_backlog_bytes": 8192})
    transport = open_stream(site)
    stall(transport)
    for number in range(40):
        site.core.fact("user-1", number)
        site.hub.flush()
    site.hub.streams.end_session(KEY)
    for _ in range(3):
        site.pass_time(LINGER_SECONDS)
        transport.take(500)
    while transport.get_write_buffer_size():
        transport.take()
    was_aborted = transport.is_aborted
    site.pass_time(2 * LINGER_SECONDS)

    assert not was_aborted
    assert "session:expired" == types(transport)[-1]
    assert transport.is_aborted


def test_a_peer_that_does_not_take_its_farewell_is_cut_off() -> None:
    """Two seconds without a byte taken."""
    site = Site()
    transport = open_stream(site)
    stall(transport)
    site.hub.streams.end_session(KEY)
    site.pass_time(LINGER_SECONDS - 0.1)
    was_open = transport.is_open
    site.pass_time(0.2)
    transport.lose()

    assert was_open
    assert transport.is_aborted
    assert {"session_expired": 1} == reasons(site)


def test_a_drain_has_a_patience_of_its_own() -> None:
    """`server.drain_seconds`, in which a peer may take nothing for a while."""
    site = Site({"server.drain_seconds": 10})
    transport = open_stream(site)
    stall(transport)
    site.hub.shut_down()
    site.pass_time(9)
    was_open = transport.is_open
    site.pass_time(3)
    transport.lose()

    assert was_open
    assert {"shutdown": 1} == reasons(site)


def test_a_connection_that_is_one_too_many_gives_its_place_away() -> None:
    """However steadily it takes the rest."""
    site = Site({"limits.connections_per_user": 1})
    transport = open_stream(site)
    stall(transport)
    open_stream(site)
    for _ in range(5):
        transport.take(1)
        site.pass_time(LEAVE_SECONDS / 4)

    assert transport.is_aborted
    assert 1 == len(site.hub.streams.clients)


def test_a_flood_after_the_end_cuts_off() -> None:
    """What comes after the farewell is bounded too; the reason stays."""
    site = Site()
    transport = open_stream(site)
    transport.receive(b"x" * MAX_DISCARDED_BYTES)
    site.hub.streams.end_session(KEY)
    transport.receive(b"x" * MAX_DISCARDED_BYTES)
    was_open = transport.is_open
    transport.receive(b"x")
    transport.lose()

    assert was_open
    assert transport.is_aborted
    assert {"session_expired": 1} == reasons(site)


def test_over_tls_a_farewell_is_sent_by_close() -> None:
    """TLS has no half-close; a peer that does not answer is cut off all the same."""
    site = Site()
    transport = open_stream(site, is_tls=True)
    site.hub.streams.end_session(KEY)
    closed = (transport.has_eof, transport.is_open, transport.is_aborted)
    site.pass_time(LINGER_SECONDS + 0.1)

    assert (False, False, False) == closed
    assert transport.is_aborted
    assert ["connected", "session:expired"] == types(transport)


def put_expiry(site: Site, seconds: float) -> None:
    """Give the session an expiry from now."""
    now_ms = site.clock.wall_ms()
    site.sessions.put(KEY, "user-1", "user", now_ms + round(seconds * 1000), now_ms)


def test_a_session_that_expires_ends_its_stream() -> None:
    """At its expiry and not before; the client is told."""
    site = Site()
    put_expiry(site, 100)
    transport = open_stream(site)
    for _ in range(9):
        site.pass_time(11)
    was_open = not transport.has_eof
    site.pass_time(1.1)

    assert was_open
    assert ["connected", "session:expired"] == types(transport)


def test_a_session_that_is_renewed_keeps_its_stream() -> None:
    """The new expiry is looked up when the old one comes."""
    site = Site()
    put_expiry(site, 10)
    transport = open_stream(site)
    put_expiry(site, 50)
    site.pass_time(40)
    was_open = not transport.has_eof
    site.pass_time(11)

    assert was_open
    assert "session:expired" == types(transport)[-1]


def test_an_earlier_expiry_is_seen_at_once() -> None:
    """After a renewal that shortens it the stream looks again."""
    site = Site()
    put_expiry(site, 1000)
    transport = open_stream(site)
    put_expiry(site, 1)
    for subscription in site.hub.streams.of_session(KEY):
        subscription.sink.rearm()
    site.pass_time(1.1)

    assert "session:expired" == types(transport)[-1]


def test_a_session_that_is_gone_is_seen_when_looked_for() -> None:
    """One that was evicted from the store vouches for nothing any more."""
    site = Site()
    transport = open_stream(site)
    site.sessions.delete(KEY)
    for subscription in site.hub.streams.of_session(KEY):
        subscription.sink.rearm()
    site.pass_time(0.1)

    assert "session:expired" == types(transport)[-1]


def test_a_wall_clock_that_jumps_is_noticed() -> None:
    """An expiry far off is looked at now and then, since the clock may be set."""
    site = Site()
    put_expiry(site, 100_000)
    transport = open_stream(site)
    site.clock.step_wall(200_000_000)
    site.pass_time(31)

    assert "session:expired" == types(transport)[-1]


def test_a_peer_that_takes_nothing_is_stale() -> None:
    """While something waits and no byte is acknowledged for the idle timeout, it is dead."""
    site = Site({"stream.idle_timeout_seconds": 20, "stream.keepalive_seconds": 3600})
    with counting_socket() as (ours, theirs):
        transport = open_stream(site, sock=ours)
        stall(transport)
        acknowledge(ours, theirs)
        site.pass_time(5.1)
        site.core.fact("user-1", 1)
        site.hub.flush()
        for _ in range(3):
            site.pass_time(5)
        was_open = transport.is_open
        site.pass_time(5.2)
        transport.lose()

    assert was_open
    assert transport.is_aborted
    assert {"idle": 1} == reasons(site)


@pytest.mark.parametrize("takes", [True, False])
def test_a_peer_that_lives_is_not_stale(takes: bool) -> None:
    """One that takes bytes is active, and so is one for whom nothing waits."""
    site = Site({"stream.idle_timeout_seconds": 20, "stream.keepalive_seconds": 3600})
    with counting_socket() as (ours, theirs):
        transport = open_stream(site, sock=ours)
        if takes:
            stall(transport)
            site.core.fact("user-1", 1)
            site.hub.flush()
        for _ in range(12):
            if takes:
                acknowledge(ours, theirs)
            site.pass_time(5)

    assert transport.is_open


def test_without_a_kernel_that_says_nobody_is_stale() -> None:
    """Where the progress of a peer is unknown, only the backlog ends a stream."""
    site = Site({"stream.idle_timeout_seconds": 20, "stream.keepalive_seconds": 3600})
    transport = open_stream(site)
    stall(transport)
    site.core.fact("user-1", 1)
    site.hub.flush()
    site.pass_time(100)

    assert transport.is_open


def test_aborting_twice_keeps_the_first_reason() -> None:
    """A class has one end, whoever comes second."""
    site = Site()
    transport = open_stream(site)
    (stream,) = site.connections.streams
    assert isinstance(stream, StreamConnection)
    stream.abort(CloseReason.IDLE)
    stream.abort(CloseReason.INPUT_FLOOD)
    transport.lose()

    assert {"idle": 1} == reasons(site)
