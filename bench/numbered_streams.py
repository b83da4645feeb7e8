"""Streams whose events are numbered and dated: published when due, counted as they arrive.

For gevent, in one process: `Feed` writes for every `Audience`, and `Reader` reads every `Stream`.
All moments are nanoseconds of the monotonic clock.
"""

import itertools
import json
import math
import os
import re
import select
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import gevent
from gevent import monkey, socket
from gevent.event import Event

NS_PER_MS: Final = 1_000_000
NS_PER_SECOND: Final = 1_000_000_000

ANSWER_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.001
"""The feed gathers what falls due meanwhile into one write."""
LATE_MS: Final = 10
"""Of the 100 ms that the specification allows an event: more would change what a figure says."""

_LINES_AT_ONCE: Final = 500
_READ_BYTES: Final = 65_536
_READS_AT_ONCE: Final = 128
"""Streams that are read before the feed has its turn again: less than a millisecond."""

_SYMBOLS: Final = 10
_MARK: Final = re.compile(rb'"(\d+)@(\d+)"')
"""Number and moment; the reason of an order, for unknown fields would cost the server more."""

clock = time.monotonic_ns


def milliseconds(nanoseconds: int) -> int:
    """Return a time as locust's table has it."""
    return round(nanoseconds / NS_PER_MS)


class Tally(Protocol):
    """Where events are counted, by milliseconds, and failures by their reason."""

    times: Counter[int]

    def fail(self, reason: str, count: int = 1) -> None:
        """Count failures."""


class Audience:
    """Streams that get the same events: those of one user, or of prices.

    Attributes:
        user_id: Whose orders they are; none for prices.
        published: How many events, which is the number of the next.
        streams: How many are open.
    """

    def __init__(self, user_id: str = "") -> None:
        self.user_id = user_id
        self.published = 0
        self.streams = 0

    def publish(self, due: int) -> bytes:
        """Return the next event as a line for the ingest port."""
        number = self.published
        self.published += 1
        symbol = f"S{number % _SYMBOLS}"
        price = f"{100 + number % 97}.25"
        mark = f"{number}@{due}"
        if self.user_id:
            line = (
                f'{{"type":"order:update","userId":"{self.user_id}","data":{{"orderId":"{symbol}",'
                f'"symbol":"{symbol}","side":"buy","qty":100,"status":"accepted",'
                f'"limitPrice":"{price}","reason":"{mark}"}}}}\n'
            )
        else:
            line = (
                f'{{"type":"price:update","data":{{"symbol":"{symbol}",'
                f'"price":"{price}","mark":"{mark}"}}}}\n'
            )
        return line.encode()


class Stream:
    """One open stream: what has arrived on it.

    Args:
        connection: A connection of gevent whose opening was read.
        audience: Whose events it gets.
        rest: What was read behind the opening.
    """

    def __init__(self, connection: Any, audience: Audience, rest: bytes) -> None:
        self.connection = connection
        self.audience = audience
        self.ended = Event()
        self._rest = rest
        # Events published before are there or on their way; all that come later must arrive.
        self._next = audience.published
        self._has_begun = False

    @property
    def missing(self) -> int:
        """How many events were published and have not arrived."""
        return self.audience.published - self._next

    def take(self, data: bytes, deliveries: Tally) -> None:
        """Count the events in what was read."""
        now = clock()
        events, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        for digits, due in _MARK.findall(events):
            number = int(digits)
            if number > self._next:
                deliveries.fail("missing", number - self._next)
            elif number < self._next and self._has_begun:
                deliveries.fail("repeated, or out of order")
            self._next = number + 1
            self._has_begun = True
            deliveries.times[milliseconds(now - int(due))] += 1


class Reader:
    """Reads all streams in one greenlet: to wake one for each event costs more than reading it.

    Attributes:
        streams: Those that are followed, by their descriptor.
    """

    def __init__(self, deliveries: Tally) -> None:
        self.streams: dict[int, Stream] = {}
        self._deliveries = deliveries
        self._ready = monkey.get_original("select", "epoll")()

    def run(self) -> None:
        """Read what there is, for ever."""
        while True:
            socket.wait_read(self._ready.fileno())
            for descriptor, _ in self._ready.poll(0, _READS_AT_ONCE):
                self._read(descriptor)

    def _read(self, descriptor: int) -> None:
        stream = self.streams[descriptor]
        try:
            data = os.read(descriptor, _READ_BYTES)
        except ConnectionError:
            data = b""
        if data:
            stream.take(data, self._deliveries)
        else:
            self._ready.unregister(descriptor)
            stream.ended.set()

    def follow(self, stream: Stream) -> None:
        """Read a stream until the server ends it."""
        descriptor = stream.connection.fileno()
        stream.take(b"", self._deliveries)
        stream.audience.streams += 1
        self.streams[descriptor] = stream
        self._ready.register(descriptor, select.EPOLLIN)
        try:
            stream.ended.wait()
        finally:
            if not stream.ended.is_set():
                self._ready.unregister(descriptor)
            del self.streams[descriptor]
            stream.audience.streams -= 1


class Feed:
    """Publishes each event when it is due, whatever became of those before.

    Args:
        path: The ingest socket.
        audiences: For whom, if they have streams; may grow.
        events_per_second: For each audience.
        written: How much later than due events were written.

    Attributes:
        late_ms: Milliseconds for which others kept the feed from its work.
        latest_ms: The longest time at once.
    """

    def __init__(
        self, path: str, audiences: Mapping[str, Audience], events_per_second: float, written: Tally
    ) -> None:
        self._audiences = audiences
        self._interval = NS_PER_SECOND / events_per_second
        self._written = written
        self._lines: list[bytes] = []
        self._due: list[int] = []
        self._asked: list[Event] = []
        self._schedule = self._turns()
        self._coming = next(self._schedule)
        self._end: float = math.inf
        self.late_ms = self.latest_ms = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)

    def run(self) -> None:
        """Write what is due and what is asked, until the server ends the connection."""
        try:
            while True:
                for due, audience in self._take_due(min(clock(), self._end), _LINES_AT_ONCE):
                    self._lines.append(audience.publish(due))
                    self._due.append(due)
                self._write()
                self._pause(0 if self._is_behind() else PAUSE_SECONDS)
        except OSError as error:
            self._written.fail(str(error))

    def _is_behind(self) -> bool:
        return self._coming[0] <= min(clock(), self._end)

    def _take_due(self, until: float, count: float = math.inf) -> Iterator[tuple[int, Audience]]:
        while self._coming[0] <= until and count > 0:
            due, audience = self._coming
            self._coming = next(self._schedule)
            count -= 1
            if audience is not None:
                yield due, audience

    def _turns(self) -> Iterator[tuple[int, Audience | None]]:
        """Yield when each event is due, and to whom: to all in turn, at even distances."""
        start = clock()
        for turn in itertools.count():
            audiences = [found for found in self._audiences.values() if found.streams]
            for place, audience in enumerate(audiences or [None]):
                position = turn + place / max(1, len(audiences))
                yield start + int(position * self._interval), audience

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self._socket.sendall(b"".join(lines))
        now = clock()
        for due in self._due:
            self._written.times[milliseconds(now - due)] += 1
        self._due.clear()

    def _pause(self, seconds: float) -> None:
        """Let others work, and note how much longer they took."""
        until = clock() + int(seconds * NS_PER_SECOND)
        gevent.sleep(seconds)
        late_ms = milliseconds(clock() - until)
        if late_ms > LATE_MS:
            self.late_ms += late_ms
            self.latest_ms = max(self.latest_ms, late_ms)

    def ask(self, **message: str) -> None:
        """Send a line, and return when the server has done it and all that were before it."""
        answered = Event()
        self._lines.append(json.dumps({"ref": len(self._asked), **message}).encode() + b"\n")
        self._asked.append(answered)
        answered.wait(ANSWER_SECONDS)

    def finish(self) -> None:
        """Publish what is due by now, and return when the server has handed it on.

        What cannot be written any more, because the server is too slow or gone, has failed.
        """
        self._end = clock()
        until = self._end + ANSWER_SECONDS * NS_PER_SECOND
        while self._is_behind() and clock() < until:
            gevent.sleep(PAUSE_SECONDS)
        self._written.fail("not written in time", sum(1 for _ in self._take_due(self._end)))
        self.ask(op="ping")

    def read_answers(self) -> None:
        """Report refusals; nothing else is answered but what is asked."""
        with suppress(ConnectionError):  # which the next write reports
            for line in self._socket.makefile("rb"):
                answer = json.loads(line)
                if not answer["ok"]:
                    self._written.fail(f"refused: {answer['error']['code']}")
                if "ref" in answer:
                    self._asked[answer["ref"]].set()
