"""The ingest port: a Unix socket, lines in, answers in order.

Feeds are served in slices of a few milliseconds, in turn, so that a burst never delays client
sockets. A feed that writes faster, or does not read its answers, is held back by its socket:
reading is paused, nothing is dropped (contract section 3; design section 6).
"""

import asyncio
import errno
import os
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import structlog

from sseserver.config import IngestConfig
from sseserver.errors import FeedError, FeedErrorCode, StartError
from sseserver.ingest.pipeline import Pipeline
from sseserver.net.roster import Roster
from sseserver.wire.ndjson import LineSplitter, encode_error

SLICE_SECONDS: Final = 0.004
"""Time that ingest may take of one loop turn."""

_LINES_PER_CLOCK: Final = 64
_MAX_PENDING_LINES: Final = 4096
_PROBE_SECONDS: Final = 1.0
_BACKLOG: Final = 128
_CREDENTIALS: Final = struct.Struct("=iii")
"""`struct ucred`: process, user, group (unix(7), SO_PEERCRED)."""

_log = structlog.get_logger()


class IngestPort:
    """Serves every feed of the process.

    Args:
        pipeline: Where lines go.
        config: Line limit and allowed users.
    """

    def __init__(self, pipeline: Pipeline, config: IngestConfig) -> None:
        self.pipeline = pipeline
        self.config = config
        self.feeds: Roster[Feed] = Roster()
        self._ready: deque[Feed] = deque()
        self._is_working = False

    def make_feed(self) -> "Feed":
        """Return the protocol of a new connection."""
        return Feed(self)

    def want_turn(self, feed: "Feed") -> None:
        """Serve a feed that has lines: now, if nobody is being served, else in turn."""
        self._ready.append(feed)
        if not self._is_working:
            self._work()

    def finish(self) -> None:
        """Apply and answer what has been read, and take no more."""
        for feed in self.feeds:
            feed.stop_reading()
        while self._ready:
            self._ready.popleft().serve(float("inf"))
        for feed in self.feeds:
            feed.close()

    def _work(self) -> None:
        self._is_working = True
        deadline = time.monotonic() + SLICE_SECONDS
        ready = self._ready
        while ready and time.monotonic() < deadline:
            feed = ready.popleft()
            if feed.serve(deadline):
                ready.append(feed)
        if ready:
            asyncio.get_running_loop().call_soon(self._work)
        else:
            self._is_working = False


class Feed(asyncio.Protocol):
    """One connection of a feed."""

    __slots__ = (
        "_answers",
        "_is_blocked",
        "_is_queued",
        "_is_stopped",
        "_lines",
        "_port",
        "_received",
        "_splitter",
        "_transport",
    )

    def __init__(self, port: IngestPort) -> None:
        self._port = port
        self._splitter = LineSplitter(port.config.max_line_bytes)
        self._lines: deque[bytes | None] = deque()
        self._answers: list[bytes] = []
        self._received = 0.0
        self._is_blocked = False
        self._is_queued = False
        self._is_stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check who connects, and start to read."""
        self._transport = cast("asyncio.Transport", transport)
        self._port.feeds.add(self)
        uid = peer_uid(self._transport)
        if not is_allowed(uid, self._port.config.allowed_uids):
            _log.warning("feed_not_allowed", uid=uid)
            error = FeedError(FeedErrorCode.NOT_ALLOWED, "This user may not publish")
            self._transport.write(encode_error(error))
            self.close()
            return
        _log.info("feed_connected", uid=uid)

    def data_received(self, data: bytes) -> None:
        """Split what has arrived into lines, and ask for a turn."""
        if self._is_stopped:
            return
        self._received = time.monotonic()
        self._lines.extend(self._splitter.feed(data))
        self._update_reading()
        self._want_turn()

    def pause_writing(self) -> None:
        """Take no more lines while the feed does not read its answers."""
        self._is_blocked = True
        self._update_reading()

    def resume_writing(self) -> None:
        """Go on: the answers have been taken."""
        self._is_blocked = False
        self._update_reading()
        self._want_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Apply the lines that arrived whole: the feed may have gone after sending them."""
        self._is_stopped = True
        self._is_blocked = False
        self._port.feeds.discard(self)
        self._want_turn()
        _log.info("feed_disconnected", error=None if exc is None else str(exc))

    def stop_reading(self) -> None:
        """Take no more bytes."""
        self._is_stopped = True
        self._is_blocked = False

    def close(self) -> None:
        """Close after the answers have been written."""
        self._is_stopped = True
        self._transport.close()

    def serve(self, deadline: float) -> bool:
        """Apply lines until `deadline` (monotonic seconds); True when some are left."""
        lines = self._lines
        accept = self._port.pipeline.accept
        answer = self._answers.append
        received = self._received
        count = 0
        while lines and not self._is_blocked:
            line = lines.popleft()
            if line is None:
                self._port.pipeline.refuse_oversize(self._splitter.max_line_bytes, answer)
            else:
                accept(line, received, answer)
            count += 1
            if not count % _LINES_PER_CLOCK:
                self._write_answers()
                if time.monotonic() >= deadline:
                    break
        self._write_answers()
        self._update_reading()
        self._is_queued = bool(lines) and not self._is_blocked
        return self._is_queued

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
        if self._is_stopped or self._transport.is_closing():
            return
        if self._is_blocked or len(self._lines) > _MAX_PENDING_LINES:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def peer_uid(transport: asyncio.Transport) -> int | None:
    """Return the user ID of the process at the other end; None where nobody says."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return cast("int", _CREDENTIALS.unpack(credentials)[1])


def is_allowed(uid: int | None, allowed_uids: Sequence[int]) -> bool:
    """Tell whether a feed of this user may publish; an empty list allows everybody."""
    return not allowed_uids or uid in allowed_uids


def bind_ingest_socket(config: IngestConfig) -> socket.socket:
    """Return the listening socket of the ingest port.

    A stale socket is replaced; a live one, and any other kind of file, is left alone.

    Raises:
        StartError: The path cannot be used.
    """
    path = Path(config.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale_socket(path)
        mask = os.umask(0o777 & ~int(config.mode, 8))
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(_BACKLOG)
    except (OSError, ValueError) as error:
        listener.close()
        raise StartError(f"cannot listen on {path}: {error}") from error
    except StartError:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listener


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot listen on {path}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise
        else:
            raise StartError(f"cannot listen on {path}: another server answers there")
    path.unlink(missing_ok=True)
