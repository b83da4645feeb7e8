"""What a stream whose events are numbered makes of the bytes it reads."""

from collections import Counter

import pytest

from bench.numbered_streams import Audience, Stream, clock


class FakeTally:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.times: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    def fail(self, reason: str, count: int = 1) -> None:
        self.failures[reason] += count


def frames(*numbers: int) -> bytes:
    """Return events with these numbers, due now, as they come over the wire."""
    return b"".join(
        b'event: order:update\ndata: {"orderId":"S1","reason":"%d@%d"}\nid: 1-a\n\n'
        % (number, clock())
        for number in numbers
    )


def stream_after(published: int) -> Stream:
    """Return a stream that opened when so many events were published."""
    audience = Audience("user-1")
    for _ in range(published):
        audience.publish(clock())
    return Stream(None, audience, b"")


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_every_event_is_counted_however_the_bytes_are_cut(size: int) -> None:
    """An event counts once, when its last byte has come, and its time is that since it was due."""
    tally, stream, data = FakeTally(), stream_after(3), frames(3, 4, 5)

    for start in range(0, len(data), size):
        stream.take(data[start : start + size], tally)

    assert 3 == tally.times.total()
    assert min(tally.times) >= 0
    assert {} == tally.failures


def test_what_was_published_before_the_opening_may_arrive() -> None:
    """Events that were on their way when the stream opened are as good as none."""
    tally, stream = FakeTally(), stream_after(3)

    stream.take(frames(2, 3), tally)

    assert ({}, 2) == (tally.failures, tally.times.total())


@pytest.mark.parametrize(
    ("numbers", "failures"),
    [
        ((5,), {"missing": 2}),
        ((3, 4, 8), {"missing": 3}),
        ((3, 4, 4), {"repeated, or out of order": 1}),
        ((3, 5, 4), {"missing": 1, "repeated, or out of order": 1}),
    ],
)
def test_a_hole_and_a_repetition_are_failures(
    numbers: tuple[int, ...], failures: dict[str, int]
) -> None:
    """Each event that was passed over fails, also before the first, and each that comes again."""
    tally = FakeTally()

    stream_after(3).take(frames(*numbers), tally)

    assert failures == tally.failures


def test_what_has_not_arrived_is_missing() -> None:
    """At the end, all that was published since the opening is owed."""
    stream = stream_after(3)
    for _ in range(4):
        stream.audience.publish(clock())

    assert 4 == stream.missing
    stream.take(frames(3, 4), FakeTally())
    assert 2 == stream.missing
