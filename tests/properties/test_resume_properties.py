"""A connection may break after any byte: resuming loses nothing and repeats nothing.

The core without I/O, so that thousands of cuts take seconds. The same promise is tested on the
real process in `tests/integration/test_cut_anywhere.py`.
"""

import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sseserver.errors import CloseReason
from sseserver.event_id import parse_event_id
from tests.support.core import Core, request_for
from tests.support.fake_connection import FakeConnection, decode
from tests.support.reference_eventsource import ReferenceEventSource

ENCODINGS = ["identity", "gzip", "zstd"]


def numbers_of(source: ReferenceEventSource) -> list[int]:
    """Return the numbers of the facts in a stream."""
    return [json.loads(event.data)["n"] for event in source.events if event.type == "alert:new"]


def ids_of(source: ReferenceEventSource) -> list[int]:
    """Return the IDs of the events that carried one, as integers."""
    ids = [parse_event_id(event.last_event_id) for event in source.events]
    return [value for value in ids if value is not None]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_stream_cut_after_every_byte_resumes_exactly(encoding: str, *, is_chunked: bool) -> None:
    """Cut in opening, replay and live flow: every fact arrives once, in order."""
    core = Core()
    for number in range(3):
        core.fact("user-1", number)
    whole = core.connect(request_for(encoding=encoding, is_chunked=is_chunked))
    for number in range(3, 8):
        core.fact("user-1", number)
        core.hub.flush()
    body = whole.body
    assert numbers_of(whole.source()) == list(range(8))

    for size in range(len(body) + 1):
        before = ReferenceEventSource()
        before.feed(decode(body[:size], encoding, is_chunked=is_chunked))
        again = core.connect(
            request_for(
                encoding=encoding,
                is_chunked=is_chunked,
                is_counted=False,
                last_event_id=parse_event_id(before.last_event_id),
            )
        )
        after = again.source()
        again.cut()

        assert numbers_of(before) + numbers_of(after) == list(range(8)), size
        assert "stream:gap" not in [event.type for event in after.events], size
        assert ids_of(before) + ids_of(after) == sorted({*ids_of(before), *ids_of(after)}), size


class Progress(NamedTuple):
    """How many facts a client has seen or was told are lost, and whether more may be."""

    known: int
    is_told_of_gap: bool


class Resuming(RuleBasedStateMachine):
    """Clients that stall, break at any byte and come back, while facts are published.

    The model of each client is how many facts it has seen or was told are lost. A gap allows it
    to miss what comes next, until the first fact behind it.
    """

    LIMIT = 5
    BACKLOG = 4096

    @initialize(encoding=st.sampled_from(ENCODINGS), is_chunked=st.booleans())
    def start(self, encoding: str, *, is_chunked: bool) -> None:
        self.core = Core(
            {"buffer.events_per_user": self.LIMIT, "limits.max_backlog_bytes": self.BACKLOG}
        )
        self.encoding = encoding
        self.is_chunked = is_chunked
        self.published = 0
        self.clients: list[tuple[FakeConnection, Progress]] = []

    def connect(self, last_event_id: int | None, progress: Progress) -> None:
        connection = FakeConnection(self.core.hub, self.BACKLOG // 2)
        connection.open(
            request_for(
                encoding=self.encoding,
                is_chunked=self.is_chunked,
                is_counted=False,
                last_event_id=last_event_id,
            )
        )
        self.clients.append((connection, progress))

    @rule()
    def open(self) -> None:
        if len(self.clients) < 4:
            self.connect(None, Progress(max(0, self.published - self.LIMIT), is_told_of_gap=False))

    @rule(count=st.integers(1, 40), flushes=st.booleans())
    def publish(self, count: int, *, flushes: bool) -> None:
        for _ in range(count):
            self.core.fact("user-1", self.published)
            self.published += 1
        if flushes:
            self.core.hub.flush()

    @rule()
    def flush(self) -> None:
        self.core.hub.flush()

    @rule(milliseconds=st.integers(-5000, 5000))
    def step_clock(self, milliseconds: int) -> None:
        self.core.clock.step_wall(milliseconds)

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.5, 31.0]))
    def wait(self, seconds: float) -> None:
        self.core.pass_time(seconds)

    @rule(index=st.integers(0, 3), stalls=st.booleans())
    def stall(self, index: int, *, stalls: bool) -> None:
        if index < len(self.clients):
            connection = self.clients[index][0]
            connection.takes_all = not stalls
            if not stalls:
                connection.take_until_drained()

    @rule(index=st.integers(0, 3), size=st.integers(1, 3000))
    def take(self, index: int, size: int) -> None:
        if index < len(self.clients):
            self.clients[index][0].take(size)

    @rule(index=st.integers(0, 3), cut=st.integers(0, 3000))
    def break_and_return(self, index: int, cut: int) -> None:
        if index >= len(self.clients):
            return
        connection, progress = self.clients.pop(index)
        body = connection.body
        source = ReferenceEventSource()
        source.feed(
            decode(body[: max(0, len(body) - cut)], self.encoding, is_chunked=self.is_chunked)
        )
        connection.cut()
        progress = self.check(source, progress)
        last_event_id = parse_event_id(source.last_event_id)
        if last_event_id is not None:
            self.connect(last_event_id, progress)

    def check(self, source: ReferenceEventSource, progress: Progress) -> Progress:
        """Check what a client has received, and return how far it is with that."""
        numbers = numbers_of(source)
        ids = ids_of(source)
        is_told_of_gap = progress.is_told_of_gap or "stream:gap" in [
            event.type for event in source.events
        ]
        assert ids == sorted(set(ids))
        if not numbers:
            return Progress(progress.known, is_told_of_gap)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if is_told_of_gap:
            assert numbers[0] >= progress.known
        else:
            assert numbers[0] == progress.known
        return Progress(numbers[-1] + 1, is_told_of_gap=False)

    @invariant()
    def nobody_misses_or_repeats(self) -> None:
        for connection, progress in getattr(self, "clients", []):
            self.check(connection.source(), progress)

    @invariant()
    def a_client_is_cut_off_only_for_its_backlog(self) -> None:
        for connection, _ in getattr(self, "clients", []):
            assert connection.reason in (None, CloseReason.SLOW_CONSUMER)

    def teardown(self) -> None:
        if not hasattr(self, "clients"):
            return
        self.core.hub.flush()
        for connection, _ in self.clients:
            if connection.reason is None:
                connection.takes_all = True
                connection.take_until_drained()
        self.core.hub.flush()
        for connection, progress in self.clients:
            source = connection.source()
            self.check(source, progress)
            if connection.reason is None and numbers_of(source):
                assert numbers_of(source)[-1] == self.published - 1


TestResuming = Resuming.TestCase
TestResuming.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(-3000, 3000), min_size=1, max_size=60))
@settings(deadline=None)
def test_ids_increase_when_the_clock_steps_back(steps: list[int]) -> None:
    """IDs strictly increase along a connection, whatever the wall clock does."""
    core = Core()
    connection = core.connect(request_for())
    for number, step in enumerate(steps):
        core.clock.step_wall(step)
        core.fact("user-1", number)
        core.hub.flush()
    ids = ids_of(connection.source())

    assert ids == sorted(set(ids))
    assert len(ids) == len(steps) + 1
