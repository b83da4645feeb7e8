"""Tests of `sseserver.delivery.audience`; against a naive model in `tests/properties`."""

from functools import partial

import pytest

from sseserver.delivery.audience import Audience
from sseserver.wire.compression import IDENTITY, ZSTD, Coding, ContextBudget, GzipCoding
from sseserver.wire.sse_frame import KEEPALIVE, chunk
from tests.unit.delivery.fake_member import LEVEL, FakeMember

NOW = 50.0
KEEPALIVE_SECONDS = 30.0
CODINGS = ["identity", "zstd", "gzip", "gzip without context"]


def frame(number: int) -> bytes:
    """Return a frame that resembles its neighbours."""
    return b'event: price:update\ndata: {"symbol":"AAPL","price":%d}\n\n' % number


class Fixture:
    """An audience with everything it needs, and members that fit it."""

    def __init__(self, coding: str = "identity", *, is_chunked: bool = False) -> None:
        self.encoding = coding.partition(" ")[0]
        self.is_chunked = is_chunked
        self.dirty: list[Audience] = []
        self.budget = ContextBudget(int(coding == "gzip"))
        made: Coding = IDENTITY
        if self.encoding == "zstd":
            made = ZSTD
        if self.encoding == "gzip":
            made = GzipCoding(LEVEL, self.budget)
        self.audience = Audience(
            ("prices", None),
            made,
            is_chunked=is_chunked,
            on_dirty=self.dirty.append,
            keepalive_seconds=KEEPALIVE_SECONDS,
            now=NOW,
        )

    def member(self, opening: bytes = b"", now: float = NOW) -> FakeMember:
        """Return a connection that has joined, with the last bytes of its opening."""
        member = FakeMember(self.encoding, is_chunked=self.is_chunked)
        self.join(member, opening, now)
        return member

    def join(self, member: FakeMember, opening: bytes = b"", now: float = NOW) -> None:
        """Let a connection join."""
        data = self.audience.admit(member, opening, now)
        if data:
            member.write(data)

    def send(self, *numbers: int, now: float = NOW) -> tuple[int, int]:
        """Queue frames and flush them; return deliveries and writes."""
        for number in numbers:
            self.audience.push(frame(number), number, now)
        return self.audience.flush(now)


@pytest.fixture(params=CODINGS)
def any_coding(request: pytest.FixtureRequest) -> Fixture:
    """Return a chunked audience in each coding."""
    return Fixture(request.param, is_chunked=True)


@pytest.fixture
def gzip() -> Fixture:
    """Return an audience that shares a deflate context."""
    return Fixture("gzip")


def test_a_new_audience_is_empty() -> None:
    """It has its key, nobody in it, and has written nothing; no wheel holds it."""
    audience = Fixture().audience

    assert (("prices", None), 0, False, 0, None, 0.0, NOW, 0, -1) == (
        audience.key,
        len(audience),
        audience.is_dirty,
        audience.written_id,
        audience.snapshot,
        audience.oldest_received,
        audience.last_write,
        audience.bytes_written,
        audience.timer_slot,
    )


# ---- queueing and flushing ---------------------------------------------------------------


def test_nothing_is_written_before_a_flush(any_coding: Fixture) -> None:
    """`push` queues; the members' transports are not touched."""
    member = any_coding.member()
    any_coding.audience.push(frame(1), 1, NOW)

    assert ([], True) == (member.plain, any_coding.audience.is_dirty)


def test_a_flush_joins_what_is_queued_into_one_write(any_coding: Fixture) -> None:
    """Three frames reach each member in one write, in order."""
    members = [any_coding.member() for _ in range(2)]
    any_coding.send(1, 2, 3)

    assert [[frame(1) + frame(2) + frame(3)]] * 2 == [member.plain for member in members]


def test_all_members_are_handed_the_same_object(any_coding: Fixture) -> None:
    """Bytes are made once, whatever the number of members."""
    members = [any_coding.member() for _ in range(3)]
    any_coding.send(1, now=NOW + 5)

    assert 1 == len({id(member.writes[-1]) for member in members})


def test_a_single_frame_is_not_copied() -> None:
    """In identity a lone frame goes to the transport as the object that was pushed."""
    fixture = Fixture()
    member = fixture.member()
    data = frame(1)
    fixture.audience.push(data, 1, NOW)
    fixture.audience.flush(NOW)

    assert member.writes[0] is data


def test_chunk_framing_goes_around_the_encoded_bytes() -> None:
    """One flush is one chunk."""
    fixture = Fixture(is_chunked=True)
    member = fixture.member()
    fixture.send(1, 2)

    assert [chunk(frame(1) + frame(2))] == member.writes


def test_framed_follows_the_audience() -> None:
    """`framed` chunks for members whose framing is chunked, and only for them."""
    framed = [Fixture(is_chunked=chunked).audience.framed(b"x") for chunked in (True, False)]

    assert [b"1\r\nx\r\n", b"x"] == framed


def test_a_flush_reports_deliveries_and_writes(any_coding: Fixture) -> None:
    """Three frames to two members are six deliveries in two writes."""
    any_coding.member()
    any_coding.member()

    assert (6, 2) == any_coding.send(1, 2, 3)


def test_an_empty_flush_does_nothing() -> None:
    """Without anything queued nobody is written to."""
    fixture = Fixture()
    member = fixture.member()

    assert ((0, 0), []) == (fixture.audience.flush(NOW), member.writes)


def test_a_flush_empties_the_queue() -> None:
    """What was written is not written again."""
    fixture = Fixture()
    member = fixture.member()
    fixture.send(1)
    fixture.send(2)

    assert ([frame(1), frame(2)], False) == (member.plain, fixture.audience.is_dirty)


def test_the_first_frame_asks_for_a_flush() -> None:
    """`on_dirty` is called once for any number of frames, and again after a flush."""
    fixture = Fixture()
    fixture.member()
    fixture.send(1, 2)
    fixture.send(3)

    assert [fixture.audience] * 2 == fixture.dirty


def test_nothing_is_queued_for_nobody() -> None:
    """An audience without members neither keeps frames nor asks for a flush."""
    fixture = Fixture()
    fixture.audience.push(frame(1), 1, NOW)

    assert ([], False) == (fixture.dirty, fixture.audience.is_dirty)


def test_frames_whose_members_have_left_are_dropped(any_coding: Fixture) -> None:
    """A flush after the last member has gone writes nothing, and the queue is empty."""
    member = any_coding.member()
    any_coding.audience.push(frame(1), 1, NOW)
    any_coding.audience.leave(member)
    any_coding.audience.push(frame(2), 2, NOW)

    assert ((0, 0), False, []) == (
        any_coding.audience.flush(NOW),
        any_coding.audience.is_dirty,
        member.plain,
    )


def test_the_written_id_is_the_last_of_the_flush() -> None:
    """`written_id` moves with a flush, not with a push."""
    fixture = Fixture()
    fixture.member()
    ids = [fixture.audience.written_id]
    fixture.audience.push(frame(1), 11, NOW)
    fixture.audience.push(frame(2), 12, NOW)
    ids.append(fixture.audience.written_id)
    fixture.audience.flush(NOW)

    assert [0, 0, 12] == [*ids, fixture.audience.written_id]


def test_the_oldest_frame_gives_the_latency() -> None:
    """`oldest_received` is the arrival of the first frame queued since the last flush."""
    fixture = Fixture()
    fixture.member()
    received = []
    for times in ((1.0, 2.0), (3.0, 4.0)):
        for time in times:
            fixture.audience.push(frame(1), 1, time)
        received.append(fixture.audience.oldest_received)
        fixture.audience.flush(NOW)

    assert [1.0, 3.0] == received


def test_written_bytes_are_counted_for_each_member(any_coding: Fixture) -> None:
    """`bytes_written` is what all flushes handed to transports, framing included."""
    members = [any_coding.member() for _ in range(3)]
    any_coding.send(1)
    any_coding.send(2, now=NOW + 5)

    assert any_coding.audience.bytes_written == sum(
        len(data) for member in members for data in member.writes
    )


# ---- joining and leaving -----------------------------------------------------------------


def test_an_opening_is_decodable_and_goes_before_what_is_live(any_coding: Fixture) -> None:
    """A member's stream is its own opening, then what is flushed from then on."""
    first = any_coding.member(b"first opening")
    any_coding.send(1)
    second = any_coding.member(b"second opening")
    any_coding.send(2)

    assert (
        [b"first opening", frame(1), frame(2)],
        [b"second opening", frame(2)],
    ) == (first.plain, second.plain)


def test_an_empty_opening_writes_nothing(any_coding: Fixture) -> None:
    """Nothing is framed around nothing: an empty chunk would end the stream."""
    members = [FakeMember(any_coding.encoding, is_chunked=True) for _ in range(2)]

    assert [b"", b""] == [any_coding.audience.admit(member, b"", NOW) for member in members]


def test_nobody_joins_while_frames_are_queued() -> None:
    """A member that joined now would be sent what its opening already said: a bug."""
    fixture = Fixture()
    fixture.member()
    fixture.audience.push(frame(1), 1, NOW)

    with pytest.raises(AssertionError, match="when nothing is queued"):
        fixture.member()


def test_a_gzip_member_needs_a_trailer(gzip: Fixture) -> None:
    """A connection that does not keep its CRC could not be ended: a bug."""
    with pytest.raises(AssertionError, match="trailer"):
        gzip.audience.admit(FakeMember("identity"), b"", NOW)


def test_who_waits_goes_on_after_the_flush(any_coding: Fixture) -> None:
    """Those who came while frames were queued join after the flush and miss nothing later."""
    member = any_coding.member()
    newcomer = FakeMember(any_coding.encoding, is_chunked=True)
    any_coding.audience.push(frame(1), 1, NOW)
    any_coding.audience.waiting.append(partial(any_coding.join, newcomer, b"opening"))
    any_coding.audience.flush(NOW)
    any_coding.send(2)

    assert ([frame(1), frame(2)], [b"opening", frame(2)]) == (member.plain, newcomer.plain)


def test_who_waits_goes_on_once() -> None:
    """The next flush does not call them again."""
    fixture = Fixture()
    calls: list[int] = []
    fixture.audience.waiting.append(partial(calls.append, 1))
    fixture.audience.flush(NOW)
    fixture.audience.flush(NOW)

    assert [1] == calls


def test_who_still_must_wait_waits_for_the_next_flush() -> None:
    """One that asks again while it goes on is called after the next flush, not in this one."""
    fixture = Fixture()
    calls: list[int] = []

    def wait_again() -> None:
        calls.append(1)
        if len(calls) < 3:
            fixture.audience.waiting.append(wait_again)

    fixture.audience.waiting.append(wait_again)
    counts = []
    for _ in range(4):
        fixture.audience.flush(NOW)
        counts.append(len(calls))

    assert [1, 2, 3, 3] == counts


def test_a_flush_does_not_count_those_who_only_waited() -> None:
    """Who joins after the write was not delivered anything."""
    fixture = Fixture()
    fixture.member()
    fixture.audience.push(frame(1), 1, NOW)
    fixture.audience.waiting.append(partial(fixture.join, FakeMember(), b"opening"))

    assert (1, 1) == fixture.audience.flush(NOW)


def test_a_member_that_left_is_written_nothing_more(any_coding: Fixture) -> None:
    """Not even what was queued while it was a member."""
    member, other = any_coding.member(), any_coding.member()
    any_coding.audience.push(frame(1), 1, NOW)
    any_coding.audience.leave(member)
    any_coding.audience.flush(NOW)

    assert ([], [frame(1)]) == (member.plain, other.plain)


def test_leave_says_whether_the_member_was_in(any_coding: Fixture) -> None:
    """Leaving twice is harmless."""
    members = [any_coding.member() for _ in range(2)]
    left = [any_coding.audience.leave(member) for member in (*members, *members)]

    assert [True, True, False, False] == left


def test_len_counts_all_who_receive(any_coding: Fixture) -> None:
    """Newcomers count from the moment they join."""
    first = any_coding.member()
    any_coding.member()
    before = len(any_coding.audience)
    any_coding.audience.leave(first)

    assert (2, 1) == (before, len(any_coding.audience))


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_ends_properly_after_leaving(coding: str, *, is_chunked: bool) -> None:
    """Own bytes, shared bytes, bytes written apart, shared bytes, and an end that fits all."""
    fixture = Fixture(coding, is_chunked=is_chunked)
    fixture.member(b"somebody else")
    fixture.send(1)
    member = fixture.member(b"opening")
    fixture.send(2)
    fixture.send(3, now=NOW + 2)
    fixture.audience.leave(member)
    fixture.send(4)
    member.write_apart(b"caught up")
    fixture.join(member)
    fixture.send(5)
    fixture.audience.leave(member)
    member.write_apart(b"farewell")
    member.end()

    assert (
        [b"opening", frame(2), frame(3), b"caught up", frame(5), b"farewell"],
        True,
    ) == (member.plain, member.is_ended_properly)


def test_close_gives_the_context_back(gzip: Fixture) -> None:
    """An audience that is forgotten frees its deflate context."""
    before = gzip.budget.in_use
    gzip.audience.close()

    assert (1, 0) == (before, gzip.budget.in_use)


# ---- the shared deflate context ----------------------------------------------------------


def test_the_first_opening_seeds_the_context(gzip: Fixture) -> None:
    """Words of the first member's opening need not be spelled out again."""
    unseeded = Fixture("gzip")
    members = gzip.member(frame(1)), unseeded.member()
    gzip.send(2)
    unseeded.send(2)
    sizes = [len(member.writes[-1]) for member in members]

    assert sizes[0] < sizes[1]


def test_newcomers_are_sent_pieces_apart_until_the_next_reset(gzip: Fixture) -> None:
    """Within a second of the last reset a newcomer's bytes differ from the members'."""
    member = gzip.member(frame(1))
    newcomer = gzip.member(frame(1), NOW + 0.2)
    gzip.send(2, now=NOW + 0.9)

    assert (frame(2), frame(2), True) == (
        member.plain[-1],
        newcomer.plain[-1],
        len(member.writes[-1]) < len(newcomer.writes[-1]),
    )


def test_newcomers_share_one_piece_apart(gzip: Fixture) -> None:
    """Pieces apart are encoded once for all newcomers."""
    gzip.member()
    first, second = gzip.member(), gzip.member()
    gzip.send(1)

    assert first.writes[-1] is second.writes[-1]


def test_newcomers_become_members_a_second_after_the_last_reset(gzip: Fixture) -> None:
    """From the reset on everybody is handed the same object, which all can decode."""
    member = gzip.member(frame(1))
    newcomer = gzip.member(now=NOW + 0.2)
    gzip.send(1, now=NOW + 1.0)

    assert (True, [frame(1)]) == (member.writes[-1] is newcomer.writes[-1], newcomer.plain)


def test_resets_are_at_most_one_a_second(gzip: Fixture) -> None:
    """After a reset for newcomers the next ones wait for a second from then."""
    member = gzip.member()
    gzip.member(now=NOW + 0.5)
    gzip.send(1, now=NOW + 1.5)
    newcomer = gzip.member(now=NOW + 1.6)
    shared = []
    for seconds in (1.7, 2.4, 2.5):
        gzip.send(2, now=NOW + seconds)
        shared.append(member.writes[-1] is newcomer.writes[-1])

    assert [False, False, True] == shared


def test_a_reset_waits_for_a_newcomer(gzip: Fixture) -> None:
    """Without newcomers the context is kept, however long ago the last reset was."""
    member = gzip.member()
    gzip.send(1)
    gzip.send(1, now=NOW + 0.5)
    gzip.send(1, now=NOW + 60)
    sizes = [len(data) for data in member.writes]

    assert max(sizes[1:]) < sizes[0] / 2


def test_newcomers_do_not_wait_for_members_that_have_gone(gzip: Fixture) -> None:
    """When only newcomers are left they share the context at once."""
    member = gzip.member()
    newcomers = [gzip.member() for _ in range(2)]
    gzip.audience.leave(member)
    gzip.send(1)
    gzip.send(1, now=NOW + 0.1)
    first, second = newcomers

    assert (True, True) == (
        first.writes[-1] is second.writes[-1],
        len(first.writes[-1]) < len(first.writes[0]),
    )


def test_a_first_member_after_others_does_not_see_their_window(gzip: Fixture) -> None:
    """An audience that was empty for a while starts from an empty context and a CRC of its own."""
    gone = gzip.member(frame(1))
    gzip.send(1, 2, 3)
    gzip.audience.leave(gone)
    member = gzip.member(frame(1))
    gzip.send(2)
    gzip.audience.leave(member)
    member.end()

    assert ([frame(1), frame(2)], True) == (member.plain, member.is_ended_properly)


def test_without_a_context_newcomers_are_members_at_once() -> None:
    """Pieces without context are valid for everybody, so all share them from the start."""
    fixture = Fixture("gzip without context")
    members = [fixture.member(frame(1)) for _ in range(2)]
    fixture.send(2)

    assert members[0].writes[-1] is members[1].writes[-1]


# ---- keepalive ---------------------------------------------------------------------------


def test_a_keepalive_follows_silence(any_coding: Fixture) -> None:
    """`keepalive_seconds` after the last write every member is sent the comment."""
    members = [any_coding.member() for _ in range(2)]
    due = NOW + KEEPALIVE_SECONDS

    assert (due + KEEPALIVE_SECONDS, [[KEEPALIVE]] * 2) == (
        any_coding.audience.on_timer(due),
        [member.plain for member in members],
    )


def test_a_write_puts_the_keepalive_off() -> None:
    """When the timer fires early, it says when it is due instead of writing."""
    fixture = Fixture()
    member = fixture.member()
    fixture.send(1, now=NOW + 10)
    due = fixture.audience.on_timer(NOW + KEEPALIVE_SECONDS)

    assert (NOW + 10 + KEEPALIVE_SECONDS, [frame(1)]) == (due, member.plain)


def test_a_keepalive_counts_as_a_write() -> None:
    """The next one follows `keepalive_seconds` after it, not sooner."""
    fixture = Fixture()
    fixture.member()
    first = fixture.audience.on_timer(NOW + KEEPALIVE_SECONDS + 1)

    assert first == fixture.audience.on_timer(NOW + KEEPALIVE_SECONDS + 2)


def test_no_keepalive_passes_frames_that_are_queued() -> None:
    """A flush is about to break the silence: the comment is not needed."""
    fixture = Fixture()
    member = fixture.member()
    fixture.audience.push(frame(1), 1, NOW)
    fixture.audience.on_timer(NOW + KEEPALIVE_SECONDS)

    assert [] == member.plain


def test_a_new_interval_holds_at_the_next_look() -> None:
    """A shorter `keepalive_seconds` takes effect when the timer fires next."""
    fixture = Fixture()
    member = fixture.member()
    fixture.audience.keepalive_seconds = 5.0

    assert (NOW + 15.0, [KEEPALIVE]) == (fixture.audience.on_timer(NOW + 10.0), member.plain)


def test_a_keepalive_goes_through_the_shared_context(gzip: Fixture) -> None:
    """It shifts every member's window alike: what follows still decodes for all."""
    members = [gzip.member(frame(1)) for _ in range(2)]
    gzip.audience.on_timer(NOW + KEEPALIVE_SECONDS)
    gzip.send(2, now=NOW + 31)

    assert [[frame(1), KEEPALIVE, frame(2)]] * 2 == [member.plain for member in members]
