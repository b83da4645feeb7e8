"""The ingest port: lines of feeds in, answers in order.

Feeds are served in slices, one of a few milliseconds a loop turn and within it in turn, so that
a burst never delays client sockets nor other feeds for long. A feed that writes faster, or does
not read its answers, is held back by its socket: it is not read from while lines of it wait,
so that one read is all that is ever held of it, and nothing is dropped (contract section 3;
design section 6).
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import structlog

from sseserver.config import IngestConfig
from sseserver.errors import FeedError, FeedErrorCode
from sseserver.ingest.pipeline import Pipeline
from sseserver.net.ingest_socket import CredentialSocket, peer_uid
from sseserver.net.roster import Roster
from sseserver.net.unread_bytes import second_descriptor, take_unread
from sseserver.wire.ndjson import LineSplitter, encode_error

if TYPE_CHECKING:
    import socket

SLICE_SECONDS: Final = 0.004
"""Time that ingest may take of one loop turn."""

TURN_SECONDS: Final = 0.001
"""Time of it that one feed may take while others wait."""

LINGER_SECONDS: Final = 2.0
"""How long a feed that has been told the end may take to close its side; like that of streams."""

_CLOCK_COST: Final = 16_384
_LINE_COST: Final = 256
"""The clock is looked at after so many bytes, a line counting as some more: every 40 lines of
the usual size (0.2 ms), and after each one of many KiB."""

_log = structlog.get_logger()


class IngestPort:
    """Serves every feed of the process.

    Args:
        pipeline: Where lines go.
        config: Line limit and allowed users.
        monotonic: Monotonic seconds.

    Attributes:
        feeds: Every open connection.
        max_feeds: How many there may be.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        config: IngestConfig,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pipeline = pipeline
        self.config = config
        self.monotonic = monotonic
        self.feeds: Roster[Feed] = Roster()
        self.max_feeds = sys.maxsize
        self.is_finished = False
        self._ready: deque[Feed] = deque()
        self._has_worked = False

    def make_feed(self) -> "Feed":
        """Return the protocol of a new connection."""
        return Feed(self)

    def configure(self, config: IngestConfig) -> None:
        """Take what can change while running; it holds for open connections too."""
        self.config = config
        for feed in self.feeds:
            feed.configure()

    def want_turn(self, feed: "Feed") -> None:
        """Serve a feed that has lines: now, unless this loop turn has had its slice."""
        self._ready.append(feed)
        if not self._has_worked:
            self._work()

    def finish(self) -> None:
        """Apply and answer what has been read, and take no more."""
        self.is_finished = True
        # Those that wait for their turn include some that have left already.
        for feed in dict.fromkeys((*self._ready, *self.feeds)):
            feed.finish()
        self._ready.clear()

    def _work(self) -> None:
        self._has_worked = True
        ready = self._ready
        now = self.monotonic()
        deadline = now + SLICE_SECONDS
        try:
            while ready and now < deadline:
                feed = ready.popleft()
                if feed.serve(min(deadline, now + TURN_SECONDS)):
                    ready.append(feed)
                now = self.monotonic()
        finally:
            # Last, so that what was published is flushed before more is taken.
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._has_worked = False
        if self._ready:
            self._work()


class Feed(asyncio.Protocol):
    """One connection of a feed.

    It is *blocked* while the feed does not read its answers, *ended* when no more bytes are
    taken from it, and *closing* once it has been told so. It *has left* when it said itself
    that nothing more comes.
    """

    __slots__ = (
        "_answers",
        "_has_left",
        "_is_blocked",
        "_is_closing",
        "_is_ended",
        "_is_finishing",
        "_is_queued",
        "_lines",
        "_port",
        "_received",
        "_spare",
        "_splitter",
        "_transport",
        "_uid",
    )

    def __init__(self, port: IngestPort) -> None:
        self._port = port
        self._splitter = LineSplitter(port.config.max_line_bytes)
        self._lines: deque[bytes | None] = deque()
        self._answers: list[bytes] = []
        self._received = 0.0
        self._uid: int | None = None
        self._spare: socket.socket | None = None
        self._has_left = False
        self._is_blocked = False
        self._is_closing = False
        self._is_ended = False
        self._is_finishing = False
        self._is_queued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check who connects, and start to read."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self._uid = peer_uid(cast("CredentialSocket | None", sock))
        if self._port.is_finished:  # accepted while the listener was being closed
            self._close()
        elif self._takes_place() and self._check_user():
            self._spare = second_descriptor(sock)
            _log.info("feed_connected", uid=self._uid)

    def configure(self) -> None:
        """Take a new configuration; a feed that may not publish any more is closed."""
        self._splitter.max_line_bytes = self._port.config.max_line_bytes
        if not self._is_closing:
            self._check_user()

    def data_received(self, data: bytes) -> None:
        """Split what has arrived into lines, and ask for a turn."""
        if not self._is_ended:
            self._received = self._port.monotonic()
            self._take(data)

    def eof_received(self) -> bool:
        """Keep a half-closed connection open until its lines are applied and answered."""
        self._is_ended = True
        self._has_left = True
        return bool(self._lines)

    def pause_writing(self) -> None:
        """Take no more lines while the feed does not read its answers."""
        self._is_blocked = not self._is_finishing
        self._update_reading()

    def resume_writing(self) -> None:
        """Go on: the answers have been taken."""
        self._is_blocked = False
        self._update_reading()
        self._want_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Apply the lines that arrived whole: the feed may have gone after sending them.

        One that closes without reading an answer breaks the connection at the next answer,
        with lines in the socket that nobody has read yet. They are no worse than the others.
        """
        left = b"" if self._spare is None else take_unread(self._spare)
        is_ended, self._is_ended = self._is_ended, True
        self._is_blocked = False
        self._port.feeds.discard(self)
        if left and not is_ended:
            self._take(left)
        self._want_turn()
        _log.info("feed_disconnected", uid=self._uid, error=None if exc is None else str(exc))

    def finish(self) -> None:
        """Apply and answer what has been read, whether answers are taken or not, and close."""
        self._is_finishing = True
        self._is_ended = True
        self._is_blocked = False
        self.serve(float("inf"))

    def serve(self, deadline: float) -> bool:
        """Apply lines until `deadline` (monotonic seconds); True when some are left."""
        lines = self._lines
        pipeline = self._port.pipeline
        answer = self._answers.append
        received = self._received
        pipeline.look_at_clock()
        cost = 0
        while lines and not self._is_blocked:
            line = lines.popleft()
            cost += _LINE_COST
            if line is None:
                pipeline.refuse_oversize(self._splitter.max_line_bytes, answer)
            else:
                pipeline.accept(line, received, answer)
                cost += len(line)
            if cost >= _CLOCK_COST:
                cost = 0
                self._write_answers()
                if self._port.monotonic() >= deadline:
                    break
                pipeline.look_at_clock()
        self._write_answers()
        if self._is_ended and not lines:
            self._close()
        self._update_reading()
        self._is_queued = bool(lines) and not self._is_blocked
        return self._is_queued

    def _take(self, data: bytes) -> None:
        self._lines.extend(self._splitter.feed(data))
        self._want_turn()
        self._update_reading()

    def _want_turn(self) -> None:
        if self._lines and not self._is_queued and not self._is_blocked:
            self._is_queued = True
            self._port.want_turn(self)

    def _write_answers(self) -> None:
        if self._answers:
            if not self._transport.is_closing():
                self._transport.write(b"".join(self._answers))
            self._answers.clear()

    def _update_reading(self) -> None:
        if self._is_ended or self._transport.is_closing():
            return
        if self._lines or self._is_blocked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _check_user(self) -> bool:
        """Tell whether this user may publish; one who may not is told so, and closed."""
        allowed_uids = self._port.config.allowed_uids
        if not allowed_uids or self._uid in allowed_uids:
            return True
        _log.warning("feed_not_allowed", uid=self._uid)
        error = FeedError(FeedErrorCode.NOT_ALLOWED, "This user may not publish")
        self._answers.append(encode_error(error))
        self._lines.clear()
        self._write_answers()
        self._close()
        return False

    def _takes_place(self) -> bool:
        """Take a place among the feeds; one too many is told so, and closed without a linger."""
        if len(self._port.feeds) < self._port.max_feeds:
            self._port.feeds.add(self)
            return True
        _log.error("too_many_feeds", max_feeds=self._port.max_feeds)
        error = FeedError(FeedErrorCode.UNAVAILABLE, "Too many feeds are connected")
        self._transport.write(encode_error(error))
        self._is_closing = True
        self._is_ended = True
        self._transport.close()
        return False

    def _close(self) -> None:
        """Close after the answers, and read on meanwhile: a reset would overtake them."""
        if self._is_closing or self._transport.is_closing():
            return
        self._is_closing = True
        self._is_ended = True
        if self._has_left:
            self._transport.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_linger)

    def _end_linger(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_linger)
        else:
            self._transport.close()
