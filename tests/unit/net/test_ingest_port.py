"""Tests of `sseserver.net.ingest_port`, on fake transports and a clock of the test's."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from sseserver.config import IngestConfig
from sseserver.net import ingest_port
from sseserver.net.ingest_port import SLICE_SECONDS, TURN_SECONDS, IngestPort
from tests.support.captured_log import captured_log
from tests.support.fake_clock import FakeClock
from tests.support.fake_transport import FakeTransport
from tests.unit.net.fake_pipeline import FATAL, FakePipeline

if TYPE_CHECKING:
    from sseserver.ingest.pipeline import Pipeline

NOT_ALLOWED = b'{"ok":false,"error":{"code":"not_allowed","message":"This user may not publish"}}\n'


class Port:
    """An ingest port with a fake pipeline behind it and fake transports before it."""

    def __init__(self, **config: Any) -> None:
        self.clock = FakeClock()
        self.pipeline = FakePipeline(self.clock)
        self.port = IngestPort(
            cast("Pipeline", self.pipeline), IngestConfig(**config), self.clock.monotonic
        )

    def connect(self, sock: object = None) -> FakeTransport:
        """Accept a feed."""
        return FakeTransport(self.port.make_feed(), None, sock=sock)

    @property
    def accepted(self) -> list[bytes | None]:
        """Every line that was accepted, without padding."""
        return [line and line.rstrip(b".") for line in self.pipeline.accepted]


class Descriptorless:
    """A connection of this user in a process that has no descriptor to spare."""

    def fileno(self) -> int:
        return -1

    def getsockopt(self, *_: int) -> bytes:
        return os.getpid().to_bytes(4, "little") + os.getuid().to_bytes(4, "little") + bytes(4)


@contextmanager
def connected_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return our end and the feed's end of a real connection."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


def lines(*names: str, size: int = 0) -> bytes:
    """Return lines with these names, padded to a size."""
    return b"".join(name.encode().ljust(size, b".") + b"\n" for name in names)


def numbered(count: int, prefix: str = "") -> list[str]:
    """Return names of lines."""
    return [f"{prefix}{number}" for number in range(count)]


async def turns(count: int = 1) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_idle(port: Port) -> None:
    """Let the event loop turn until no more lines are accepted."""
    known = -1
    while len(port.accepted) > known:
        known = len(port.accepted)
        await turns(2)


# ---- lines and answers ------------------------------------------------------------------


async def test_lines_are_applied_and_answered_in_order() -> None:
    """Whatever the reads, lines go on whole and in order, and so do the answers."""
    port = Port()
    feed = port.connect()
    for data in (b"o", b"ne\ntwo\nth", b"ree\n", b"\n", b"four"):
        feed.receive(data)
        await turns()

    assert port.accepted == [b"one", b"two", b"three"]
    assert feed.take_sent() == b"one\ntwo\nthree\n"


async def test_a_line_is_answered_before_its_read_returns() -> None:
    """A lone line waits for no turn of the loop."""
    feed = Port().connect()
    feed.receive(b"one\n")

    assert feed.take_sent() == b"one\n"


async def test_an_oversize_line_is_answered_in_its_place() -> None:
    """A line past the limit is skipped to its newline, between its neighbours."""
    port = Port(max_line_bytes=256)
    feed = port.connect()
    feed.receive(b"one\n" + b"x" * 200)
    await turns()
    feed.receive(b"x" * 100 + b"\ntwo\n")
    await turns()

    assert feed.take_sent() == b"one\ntoo large: 256\ntwo\n"


async def test_lines_carry_the_time_of_their_read() -> None:
    """Latency counts from when a line was read, however long it waited for its turn."""
    port = Port()
    port.pipeline.seconds_per_line = TURN_SECONDS
    feed = port.connect()
    read_at = port.clock.monotonic()
    feed.receive(lines(*numbered(20), size=20_000))
    await until_idle(port)
    port.clock.advance(1)
    feed.receive(b"late\n")

    assert port.pipeline.received == [read_at] * 20 + [port.clock.monotonic() - TURN_SECONDS]


async def test_connections_are_logged() -> None:
    """A feed's coming and going have a line each, with the user and the error."""
    port = Port()
    with captured_log() as log, connected_pair() as (ours, _):
        feed = port.connect(ours)
        feed.lose(ConnectionResetError("reset"))
        port.connect().lose()

    assert [(line["event"], line["uid"], line.get("error")) for line in log.lines] == [
        ("feed_connected", os.getuid(), None),
        ("feed_disconnected", os.getuid(), "reset"),
        ("feed_connected", None, None),
        ("feed_disconnected", None, None),
    ]
    assert len(port.port.feeds) == 0


# ---- slices -----------------------------------------------------------------------------


async def test_a_burst_is_applied_in_slices() -> None:
    """One loop turn applies lines for a slice of time and one more line, not the whole read."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS / 4
    feed = port.connect()
    feed.receive(lines(*numbered(40), size=20_000))
    in_turn = [len(port.accepted)]
    for _ in range(3):
        await turns()
        in_turn.append(len(port.accepted) - sum(in_turn))

    assert set(in_turn) <= {4, 5}


@pytest.mark.parametrize(("size", "most"), [(16, 62), (1_000, 14), (70_000, 1)])
async def test_the_clock_is_looked_at_by_lines_and_bytes(size: int, most: int) -> None:
    """However small or large lines are, a few KiB of them are applied without a look."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines(*numbered(200), size=size))

    assert 1 <= len(port.accepted) <= most


async def test_all_feeds_together_have_one_slice_a_turn() -> None:
    """Fifty feeds that send at the same moment do not stop the loop for fifty slices."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS / 8
    feeds = [port.connect() for _ in range(50)]
    started = port.clock.monotonic()
    for number, feed in enumerate(feeds):
        feed.receive(lines(*numbered(2, f"{number}-"), size=20_000))
    spent = port.clock.monotonic() - started
    await until_idle(port)

    assert spent <= SLICE_SECONDS * 1.25
    assert len(port.accepted) == 100


async def test_feeds_are_served_in_turn() -> None:
    """A feed with a few lines is not kept waiting until one with many has been served."""
    port = Port()
    port.pipeline.seconds_per_line = TURN_SECONDS / 2
    firehose, small = port.connect(), port.connect()
    firehose.receive(lines(*numbered(200, "big-"), size=20_000))
    small.receive(lines("small"))
    await until_idle(port)
    place = port.accepted.index(b"small")

    assert place <= (SLICE_SECONDS + 2 * TURN_SECONDS) / port.pipeline.seconds_per_line
    assert len(port.accepted) == 201


async def test_a_bug_in_one_feeds_turn_stops_no_other() -> None:
    """Even if serving a feed fails beyond what a line may do, others go on."""
    port = Port()
    broken, other = port.connect(), port.connect()
    with pytest.raises(SystemError):
        broken.receive(FATAL + b"\n")
    other.receive(b"one\n")
    await turns()

    assert other.take_sent() == b"one\n"


# ---- back-pressure ----------------------------------------------------------------------


async def test_nothing_is_read_while_lines_wait() -> None:
    """One read is all that is held of a feed that is faster than the server."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines(*numbered(3), size=20_000))
    reading = [feed.is_reading_now]
    for _ in range(2):
        await turns()
        reading.append(feed.is_reading_now)

    assert reading == [False, False, True]
    assert len(port.accepted) == 3


async def test_a_feed_that_does_not_read_its_answers_is_held_back() -> None:
    """Past 64 KiB of answers nobody takes, its lines wait and it is not read from."""
    port = Port()
    port.pipeline.answer_bytes = 1_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(lines(*numbered(500)))
    await until_idle(port)
    held = (len(port.accepted), feed.is_reading_now, feed.get_write_buffer_size())

    assert held[0] < 140
    assert held[1] is False
    assert held[2] < 65_536 + 140_000


async def test_a_feed_that_reads_again_goes_on() -> None:
    """Once its answers are taken everything it sent is applied, in order, and answered."""
    port = Port()
    port.pipeline.answer_bytes = 1_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(lines(*numbered(500)))
    await until_idle(port)
    while len(port.accepted) < 500:
        feed.take()
        await until_idle(port)
    answers = feed.take().split()

    assert port.accepted == answers == [name.encode() for name in numbered(500)]
    assert feed.is_reading_now


async def test_a_feed_that_is_held_back_delays_nobody() -> None:
    """While one feed is blocked another one is served at once."""
    port = Port()
    port.pipeline.answer_bytes = 1_000
    deaf, other = port.connect(), port.connect()
    deaf.takes_all = False
    deaf.receive(lines(*numbered(500)))
    await until_idle(port)
    other.receive(b"one\n")

    assert other.take_sent().split() == [b"one"]


async def test_reading_starts_when_answers_are_taken_and_no_line_waits() -> None:
    """A feed that was blocked by its last answer is read from again."""
    port = Port()
    port.pipeline.answer_bytes = 70_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(b"one\n")
    before = feed.is_reading_now
    feed.take()

    assert (before, feed.is_reading_now) == (False, True)


# ---- the end of a feed ------------------------------------------------------------------


async def test_a_half_closed_feed_gets_its_answers() -> None:
    """A feed that has said it is done is answered to its last line, and then closed."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines("one", "two", size=20_000))
    feed.resume_reading()  # as when the end came with the read
    feed.receive_eof()
    open_meanwhile = feed.is_open
    await until_idle(port)

    assert open_meanwhile
    assert feed.take_sent() == b"one\ntwo\n"
    assert not feed.is_open


async def test_a_feed_without_lines_is_closed_with_it() -> None:
    """Nothing is left to say to a feed that ends after its answers."""
    port = Port()
    feed = port.connect()
    feed.receive(b"one\n")
    feed.receive_eof()

    assert not feed.is_open


async def test_lines_of_a_feed_that_is_gone_are_applied() -> None:
    """What arrived whole counts, though nobody is there to be answered."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines("one", "two", "three", size=20_000) + b"torn")
    feed.lose()
    await until_idle(port)

    assert port.accepted == [b"one", b"two", b"three"]
    assert feed.take_sent() == b"one\n"


async def test_lines_of_a_blocked_feed_that_is_gone_are_applied() -> None:
    """The same where the feed had stopped to read."""
    port = Port()
    port.pipeline.answer_bytes = 1_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(lines(*numbered(500)))
    await until_idle(port)
    feed.lose(BrokenPipeError())
    await until_idle(port)

    assert len(port.accepted) == 500


async def test_lines_nobody_had_read_are_applied() -> None:
    """A connection that breaks at an answer still holds lines: the whole ones count."""
    port = Port()
    with connected_pair() as (ours, theirs):
        feed = port.connect(ours)
        feed.receive(b"one\ntw")
        theirs.sendall(b"o\nthree\ntorn")
        theirs.close()
        feed.lose(BrokenPipeError())
        await turns()

    assert port.accepted == [b"one", b"two", b"three"]


async def test_a_feed_that_stays_open_is_not_read_behind_its_back() -> None:
    """What a lost connection's socket holds is not waited for."""
    port = Port()
    with connected_pair() as (ours, theirs):
        feed = port.connect(ours)
        theirs.sendall(b"one\n")
        feed.lose(OSError("some other trouble"))

    assert port.accepted == [b"one"]


async def test_no_descriptor_is_needed_to_serve_a_feed() -> None:
    """Without a spare descriptor a feed is served all the same."""
    port = Port()
    feed = port.connect(Descriptorless())
    feed.receive(b"one\n")
    feed.lose(BrokenPipeError())

    assert port.accepted == [b"one"]


# ---- the end of the server --------------------------------------------------------------


async def test_what_has_been_read_is_applied_before_the_end() -> None:
    """Finishing applies and answers every line that was read, and closes our side."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feeds = [port.connect(), port.connect()]
    for number, feed in enumerate(feeds):
        feed.receive(lines(*numbered(10, f"{number}-"), size=20_000) + b"torn")
    port.port.finish()

    for number, feed in enumerate(feeds):
        assert feed.take_sent().decode().split() == numbered(10, f"{number}-")
        assert feed.has_eof
    assert len(port.accepted) == 20


async def test_a_blocked_feeds_lines_are_applied_before_the_end() -> None:
    """The lines of a feed that does not read its answers are not lost, nor its answers."""
    port = Port()
    port.pipeline.answer_bytes = 1_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(lines(*numbered(500)))
    await until_idle(port)
    port.port.finish()

    assert len(port.accepted) == 500
    assert feed.take().decode().split() == numbered(500)


async def test_answers_nobody_takes_do_not_stop_the_end() -> None:
    """A feed whose socket fills up while the rest is applied is applied to the last line."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    port.pipeline.answer_bytes = 1_000
    feed = port.connect()
    feed.takes_all = False
    feed.receive(lines(*numbered(200), size=500))
    waiting = 200 - len(port.accepted)
    port.port.finish()

    assert waiting > 150
    assert len(port.accepted) == 200
    assert feed.take().decode().split() == numbered(200)


async def test_a_lost_feeds_lines_are_applied_before_the_end() -> None:
    """A feed that has gone counts too."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines("one", "two", "three", size=20_000))
    feed.lose()
    port.port.finish()

    assert port.accepted == [b"one", b"two", b"three"]


async def test_nothing_is_taken_after_the_end() -> None:
    """What comes later is dropped without an answer, so that its feed knows."""
    port = Port()
    feed = port.connect()
    port.port.finish()
    feed.receive(b"one\n")
    await turns()

    assert (port.accepted, feed.take_sent()) == ([], b"")


async def test_a_feed_that_comes_too_late_is_closed() -> None:
    """A connection that was accepted while the listener closed is ended at once."""
    port = Port()
    port.port.finish()
    feed = port.connect()

    assert (feed.has_eof, len(port.port.feeds)) == (True, 0)


async def test_bytes_left_in_the_socket_are_not_taken_after_the_end() -> None:
    """A feed that breaks during the drain leaves nothing behind that would still be applied."""
    port = Port()
    with connected_pair() as (ours, theirs):
        feed = port.connect(ours)
        port.port.finish()
        theirs.sendall(b"one\n")
        feed.lose(BrokenPipeError())

    assert port.accepted == []


async def test_a_feed_that_closes_its_side_is_closed() -> None:
    """The connection ends when the feed has seen the end."""
    port = Port()
    feed = port.connect()
    port.port.finish()
    feed.receive_eof()

    assert (feed.is_open, feed.is_aborted) == (False, False)


async def test_a_feed_that_does_not_close_is_waited_for_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a moment it is closed all the same, but not before it took its answers."""
    monkeypatch.setattr(ingest_port, "LINGER_SECONDS", 0.0)
    port = Port()
    feed, gone = port.connect(), port.connect()
    feed.takes_all = False
    feed.receive(b"one\n")
    port.port.finish()
    gone.close()
    await turns(10)
    waiting = feed.is_open
    answers = feed.take()
    while feed.is_open:
        await turns()

    assert (waiting, answers) == (True, b"one\n")


# ---- who may publish --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed_uids", "is_known", "is_allowed"),
    [
        ((), True, True),
        ((), False, True),
        ((os.getuid() + 1, os.getuid()), True, True),
        ((os.getuid() + 1,), True, False),
        ((os.getuid(),), False, False),
    ],
)
async def test_only_listed_users_may_publish(
    allowed_uids: tuple[int, ...], *, is_known: bool, is_allowed: bool
) -> None:
    """An empty list allows everybody; with one, others are told `not_allowed` and closed."""
    port = Port(allowed_uids=allowed_uids)
    with connected_pair() as (ours, _), captured_log() as log:
        feed = port.connect(ours if is_known else None)
        feed.receive(b"one\n")
        await turns()
        events = [line["event"] for line in log.lines]
        feed.lose()

    if is_allowed:
        assert (feed.take_sent(), feed.has_eof) == (b"one\n", False)
        assert events == ["feed_connected"]
    else:
        assert (feed.take_sent(), feed.has_eof) == (NOT_ALLOWED, True)
        assert events == ["feed_not_allowed"]
    assert port.accepted == ([b"one"] if is_allowed else [])


async def test_a_user_taken_off_the_list_is_closed() -> None:
    """A new list holds for the feeds that are connected, once each."""
    port = Port()
    with connected_pair() as (ours, _):
        feed = port.connect(ours)
        for _ in range(2):
            port.port.configure(IngestConfig(allowed_uids=(os.getuid() + 1,)))
        feed.lose()

    assert (feed.take_sent(), feed.has_eof) == (NOT_ALLOWED, True)


async def test_feeds_past_the_room_are_told_so_and_closed() -> None:
    """They hold no place; when one of those that were there leaves, there is room again."""
    port = Port()
    port.port.max_feeds = 2
    feeds = [port.connect() for _ in range(4)]
    open_ones = [feed.is_open for feed in feeds]
    sent = [json.loads(feed.take_sent() or b"null") for feed in feeds]
    feeds[0].lose()
    newest = port.connect()

    assert open_ones == [True, True, False, False]
    assert sent[:2] == [None, None]
    assert [answer["error"]["code"] for answer in sent[2:]] == ["unavailable"] * 2
    assert newest.is_open


async def test_lines_of_a_user_taken_off_the_list_are_dropped() -> None:
    """What waits for its turn is not applied any more."""
    port = Port()
    port.pipeline.seconds_per_line = SLICE_SECONDS
    feed = port.connect()
    feed.receive(lines("one", "two", size=20_000))
    port.port.configure(IngestConfig(allowed_uids=(0,)))
    await until_idle(port)

    assert port.accepted == [b"one"]
    assert feed.take_sent() == b"one\n" + NOT_ALLOWED


async def test_a_new_line_limit_holds_for_connected_feeds() -> None:
    """`max_line_bytes` can change while feeds are connected."""
    port = Port()
    feed = port.connect()
    port.port.configure(IngestConfig(max_line_bytes=256))
    feed.receive(b"x" * 300 + b"\n")

    assert feed.take_sent() == b"too large: 256\n"
