"""Tests of `sseserver.hub.subscription`."""

import pytest

from sseserver.events import Event
from sseserver.hub.subscription import Subscription
from sseserver.wire.compression import GzipTrailer
from tests.support.core import request_for
from tests.unit.hub.fake_sink import FakeSink


def subscription(encoding: str = "identity") -> Subscription:
    """Return a stream that has just been opened."""
    sink = FakeSink()
    return Subscription(request_for(encoding=encoding), "user-1-alerts-1", sink, sink.write)


def test_a_new_stream_is_open_and_has_nothing_yet() -> None:
    """It lacks its snapshot, belongs to no audience, and owes nothing."""
    stream = subscription()

    assert (True, False, True, None, None, 0, 0, 0, False) == (
        stream.is_open,
        stream.is_parked,
        stream.needs_snapshot,
        stream.audience,
        stream.held,
        stream.first_id,
        stream.last_id,
        stream.owed_bytes,
        stream.has_unsent_event,
    )


def test_a_stream_knows_what_was_asked_for() -> None:
    """Request and client ID are those it was opened with."""
    stream = subscription("zstd")

    assert (request_for(encoding="zstd"), "user-1-alerts-1") == (stream.request, stream.client_id)


def test_a_stream_writes_to_its_connection() -> None:
    """`write` is the function it was given."""
    stream = subscription()
    stream.write(b"x")

    assert isinstance(stream.sink, FakeSink)
    assert [b"x"] == stream.sink.written


@pytest.mark.parametrize(
    ("encoding", "has_trailer"), [("gzip", True), ("zstd", False), ("identity", False)]
)
def test_a_gzip_stream_keeps_a_trailer(encoding: str, *, has_trailer: bool) -> None:
    """Other codings end without one."""
    assert has_trailer == isinstance(subscription(encoding).trailer, GzipTrailer)


def test_held_facts_are_kept_in_order() -> None:
    """What left the replay buffer too early is kept, the oldest first."""
    stream = subscription()
    events = [Event(number, "alert:new", b"{}", route="alerts") for number in (2, 4)]
    for event in events:
        stream.hold(event)

    assert events == list(stream.held or ())


def test_the_first_fact_is_not_owed() -> None:
    """One event may always be in flight, whatever its size; from the second on all count."""
    stream = subscription()

    assert [0, 100, 250] == [stream.owe(size) for size in (1_000_000, 100, 150)]


def test_what_is_owed_can_be_read() -> None:
    """`owed_bytes` is what `owe` returned last."""
    stream = subscription()
    stream.owe(10)
    stream.owe(20)

    assert 20 == stream.owed_bytes
