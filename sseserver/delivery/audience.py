"""An audience: the connections that receive exactly the same bytes from now on.

They share the stream, the subscription (user, strategy or symbol set), the content coding and
the HTTP framing. A flush joins the frames queued since the last one, encodes them once, adds
the chunk framing once and hands the same `bytes` to every member (design section 2).

Invariants:

* A member joins when nothing is queued, so it is sent neither what its opening already said
  nor less. Who comes while frames are queued *waits* for the flush.
* Everything written to all members goes through `flush` or the keepalive: nothing may shift
  one member's deflate window while it shares a context.
* A newcomer to a shared context is *unsynchronised*: it gets pieces without context until the
  next reset, of which there is at most one a second.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Protocol

from sseserver.wire.compression import Coding, GzipCoding, GzipTrailer
from sseserver.wire.sse_frame import KEEPALIVE, chunk

RESET_INTERVAL_SECONDS: Final = 1.0
"""A reset costs the ratio of the next frames: at most one a second (design section 2)."""


class Member(Protocol):
    """A connection as an audience sees it."""

    write: Callable[[bytes], None]
    """Hands bytes to the transport; may report back-pressure, never raises."""

    trailer: GzipTrailer | None
    """What a gzip stream has carried; None for other codings."""


class Audience:
    """Members, the frames queued for them, and their shared encoder.

    Args:
        key: What makes two connections equal; for whoever keeps audiences.
        coding: The shared encoder.
        is_chunked: Whether the members' framing is chunked (HTTP/1.1).
        on_dirty: Called when the first frame is queued: a flush must follow.
        keepalive_seconds: Silence after which a keepalive comment is written.
        now: Monotonic seconds.

    Attributes:
        written_id: The newest ID that was written to the members.
        waiting: Called after the next flush: connections that came while frames were queued.
        snapshot: A snapshot that newcomers share until the next flush.
    """

    __slots__ = (
        "_coding",
        "_is_chunked",
        "_next_reset",
        "_on_dirty",
        "_pending",
        "_queued_id",
        "_unsynchronised",
        "bytes_written",
        "keepalive_seconds",
        "key",
        "last_write",
        "members",
        "oldest_received",
        "snapshot",
        "timer_slot",
        "waiting",
        "written_id",
    )

    def __init__(
        self,
        key: Hashable,
        coding: Coding,
        *,
        is_chunked: bool,
        on_dirty: Callable[["Audience"], None],
        keepalive_seconds: float,
        now: float,
    ) -> None:
        self.key = key
        self._coding = coding
        self._is_chunked = is_chunked
        self._on_dirty = on_dirty
        self.keepalive_seconds = keepalive_seconds
        self.members: dict[Member, Callable[[bytes], None]] = {}
        self._unsynchronised: dict[Member, Callable[[bytes], None]] = {}
        self.waiting: list[Callable[[], None]] = []
        self.snapshot: Sequence[tuple[str, bytes]] | None = None
        self._pending: list[bytes] = []
        self._queued_id = 0
        self.written_id = 0
        self.oldest_received = 0.0
        self.last_write = now
        self._next_reset = now
        self.bytes_written = 0
        self.timer_slot = -1

    def __len__(self) -> int:
        return len(self.members) + len(self._unsynchronised)

    @property
    def is_dirty(self) -> bool:
        """Whether frames wait for a flush."""
        return bool(self._pending)

    def push(self, frame: bytes, event_id: int, received: float) -> None:
        """Queue one event for every member; nothing is written before the next flush.

        Args:
            frame: Encoded once, shared between audiences, never modified.
            event_id: The ID in the frame; later than any pushed before.
            received: Monotonic seconds at which the event came in, for the latency histogram.
        """
        pending = self._pending
        if not pending:
            if not self.members and not self._unsynchronised:
                return
            self.oldest_received = received
            self._on_dirty(self)
        pending.append(frame)
        self._queued_id = event_id

    def flush(self, now: float) -> tuple[int, int]:
        """Write what is queued, once, to every member, then let those who waited go on.

        Returns:
            How many events were delivered (frames x members), and how many writes that took.
        """
        pending = self._pending
        members = len(self)
        if pending:
            self._pending = []
            self.written_id = self._queued_id
            if members:
                self._write(b"".join(pending), now)
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for go_on in waiting:
                go_on()
        return len(pending) * members, members if pending else 0

    def admit(self, member: Member, plain: bytes, now: float) -> bytes:
        """Make `member` one of the audience and return the last bytes of its opening, encoded.

        The first member's opening goes through the shared context, which is empty then: it
        seeds the window with the words that the next events repeat.
        """
        assert not self._pending, "a member joins when nothing is queued"
        coding = self._coding
        if not isinstance(coding, GzipCoding):
            self.members[member] = member.write
            return self.framed(coding.apart(plain)) if plain else b""
        trailer = member.trailer
        assert trailer is not None, "a gzip stream keeps its trailer"
        if not len(self):
            coding.reset()
            trailer.join(coding)
            self.members[member] = member.write
            self._next_reset = now + RESET_INTERVAL_SECONDS
            return self.framed(coding.shared(plain)) if plain else b""
        trailer.add(plain)
        trailer.join(coding)
        if coding.has_context:
            self._unsynchronised[member] = member.write
        else:
            self.members[member] = member.write
        return self.framed(coding.apart(plain)) if plain else b""

    def leave(self, member: Member) -> bool:
        """Take `member` out; False when it was not in.

        What is still queued is not sent to it.
        """
        group = self.members if member in self.members else self._unsynchronised
        if group.pop(member, None) is None:
            return False
        if isinstance(self._coding, GzipCoding) and member.trailer is not None:
            member.trailer.leave(self._coding)
        return True

    def framed(self, data: bytes) -> bytes:
        """Return encoded bytes in the members' HTTP framing."""
        return chunk(data) if self._is_chunked else data

    def close(self) -> None:
        """Give back the context; the audience is empty and forgotten after this."""
        self._coding.close()

    def on_timer(self, now: float) -> float:
        """Write the keepalive when `keepalive_seconds` passed since the last write.

        Source: contract section 5; specification, "Periodic keepalive".
        """
        due = self.last_write + self.keepalive_seconds
        if now < due:
            return due
        if not self._pending:
            self._write(KEEPALIVE, now)
        return now + self.keepalive_seconds

    def _write(self, plain: bytes, now: float) -> None:
        self.last_write = now
        if self._unsynchronised and (not self.members or now >= self._next_reset):
            self._synchronise(now)
        shared = self._coding.shared(plain)
        if self._is_chunked:
            shared = chunk(shared)
        for write in self.members.values():
            write(shared)
        self.bytes_written += len(shared) * len(self.members)
        if self._unsynchronised:
            apart = self.framed(self._coding.apart(plain))
            for write in self._unsynchronised.values():
                write(apart)
            self.bytes_written += len(apart) * len(self._unsynchronised)

    def _synchronise(self, now: float) -> None:
        assert isinstance(self._coding, GzipCoding), "only a shared context has newcomers"
        self._coding.reset()
        self.members.update(self._unsynchronised)
        self._unsynchronised.clear()
        self._next_reset = now + RESET_INTERVAL_SECONDS
