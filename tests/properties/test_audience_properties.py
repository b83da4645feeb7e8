"""An audience against one list of writes for each connection.

Every write must say at once, to a peer that decodes as bytes arrive, exactly what the model
says that it was sent; and every stream must end with a trailer that fits all of it.
"""

from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sseserver.delivery.audience import Audience
from sseserver.wire.compression import IDENTITY, ZSTD, Coding, ContextBudget, GzipCoding
from sseserver.wire.sse_frame import KEEPALIVE
from tests.unit.delivery.fake_member import FakeMember

KEEPALIVE_SECONDS = 30.0
FRAME = b'event: price:update\ndata: {"symbol":"SYM%d","price":%d}\nid: 1735819800000-%09d\n\n'

numbers = st.integers(0, 9)
indexes = st.integers(0, 7)
small_frames = st.builds(lambda a, b, c: FRAME % (a, b, c), numbers, numbers, numbers)
plain_bytes = st.one_of(
    small_frames,
    st.builds(lambda frame, times: frame * times, small_frames, st.sampled_from([2, 60, 600])),
    st.binary(min_size=1, max_size=300),
)
openings = st.one_of(st.just(b""), plain_bytes)


class Sharing(RuleBasedStateMachine):
    """Connections join, wait, are parked, written apart, leave and end, while frames flow."""

    @initialize(
        coding=st.sampled_from(["identity", "zstd", "gzip"]),
        contexts=st.sampled_from([1, 1, 0]),
        level=st.integers(1, 9),
        is_chunked=st.booleans(),
    )
    def start(self, coding: str, contexts: int, level: int, *, is_chunked: bool) -> None:
        self.encoding = coding
        self.level = level
        self.is_chunked = is_chunked
        self.budget = ContextBudget(contexts)
        self.now = 100.0
        self.expected: dict[FakeMember, list[bytes]] = {}
        self.inside: list[FakeMember] = []
        self.waiting: list[FakeMember] = []
        self.parked: list[FakeMember] = []
        self.pending: list[bytes] = []
        self.dirty = 0
        self.next_id = 1
        self.make_audience()

    def make_audience(self) -> None:
        """Begin with an empty audience."""
        coding: Coding = IDENTITY
        if self.encoding == "zstd":
            coding = ZSTD
        if self.encoding == "gzip":
            coding = GzipCoding(self.level, self.budget)
        self.last_write = self.now
        self.audience = Audience(
            "key",
            coding,
            is_chunked=self.is_chunked,
            on_dirty=self.note_dirty,
            keepalive_seconds=KEEPALIVE_SECONDS,
            now=self.now,
        )

    def note_dirty(self, audience: Audience) -> None:
        """Count the wishes for a flush."""
        assert self.audience is audience
        self.dirty += 1

    def admit(self, member: FakeMember, opening: bytes) -> None:
        """Let a connection join, or wait until it may."""
        if self.audience.is_dirty:
            self.waiting.append(member)
            self.audience.waiting.append(partial(self.go_on, member, opening))
            return
        data = self.audience.admit(member, opening, self.now)
        self.inside.append(member)
        assert bool(opening) == bool(data), "nothing is framed around nothing"
        if data:
            self.expected[member].append(opening)
            member.write(data)

    def go_on(self, member: FakeMember, opening: bytes) -> None:
        """Join after the flush, unless the connection has gone meanwhile."""
        if member in self.waiting:
            self.waiting.remove(member)
            self.admit(member, opening)

    @rule(first=openings, second=openings)
    def open(self, first: bytes, second: bytes) -> None:
        if len(self.expected) >= 8:
            return
        member = FakeMember(self.encoding, is_chunked=self.is_chunked)
        self.expected[member] = []
        self.write_apart(member, first)
        self.admit(member, second)

    def write_apart(self, member: FakeMember, plain: bytes) -> None:
        """Write to a connection that is in no audience."""
        if plain:
            self.expected[member].append(plain)
            member.write_apart(plain)

    @rule(frames=st.lists(plain_bytes, min_size=1, max_size=4))
    def push(self, frames: list[bytes]) -> None:
        for frame in frames:
            if self.pending or self.inside:
                self.pending.append(frame)
            self.audience.push(frame, self.next_id, self.now)
            self.next_id += 1

    @rule()
    def flush(self) -> None:
        pending, self.pending = self.pending, []
        members = len(self.inside)
        if pending:
            self.expect(b"".join(pending))
        assert (len(pending) * members, members if pending else 0) == self.audience.flush(self.now)
        assert int(bool(pending)) == self.dirty
        self.dirty = 0

    def expect(self, plain: bytes) -> None:
        """Note one write to all members."""
        if self.inside:
            self.last_write = self.now
        for member in self.inside:
            self.expected[member].append(plain)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.4, 0.6, 1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look_at_the_timer(self) -> None:
        due = self.last_write + KEEPALIVE_SECONDS
        if self.now >= due:
            if not self.pending:
                self.expect(KEEPALIVE)
                self.last_write = self.now
            due = self.now + KEEPALIVE_SECONDS
        assert due == self.audience.on_timer(self.now)

    @precondition(lambda self: self.inside)
    @rule(index=indexes)
    def park(self, index: int) -> None:
        member = self.inside.pop(index % len(self.inside))
        assert self.audience.leave(member)
        self.parked.append(member)

    @precondition(lambda self: self.parked)
    @rule(index=indexes, plain=plain_bytes)
    def catch_up(self, index: int, plain: bytes) -> None:
        self.write_apart(self.parked[index % len(self.parked)], plain)

    @precondition(lambda self: self.parked)
    @rule(index=indexes, plain=openings)
    def resume(self, index: int, plain: bytes) -> None:
        self.admit(self.parked.pop(index % len(self.parked)), plain)

    @precondition(lambda self: self.expected)
    @rule(index=indexes, farewell=openings)
    def end(self, index: int, farewell: bytes) -> None:
        member = list(self.expected)[index % len(self.expected)]
        was_inside = member in self.inside
        assert was_inside == self.audience.leave(member)
        for group in (self.inside, self.waiting, self.parked):
            if member in group:
                group.remove(member)
        self.write_apart(member, farewell)
        member.end()
        assert self.expected.pop(member) == member.plain
        assert member.is_ended_properly

    @precondition(lambda self: not (self.inside or self.waiting or self.pending))
    @rule()
    def forget(self) -> None:
        self.audience.flush(self.now)
        self.audience.close()
        assert 0 == self.budget.in_use
        self.make_audience()

    @invariant()
    def every_write_says_what_was_sent(self) -> None:
        members = getattr(self, "expected", {})
        assert list(members.values()) == [member.plain for member in members]

    @invariant()
    def the_audience_knows_who_receives(self) -> None:
        if hasattr(self, "audience"):
            assert (len(self.inside), bool(self.pending)) == (
                len(self.audience),
                self.audience.is_dirty,
            )

    def teardown(self) -> None:
        """Every stream that is still open can be ended properly."""
        while getattr(self, "expected", {}):
            self.end(0, b"")


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
