"""The specification's performance test in locust's tables: 1000 connections, 100 events/s each.

Each locust user is a browser tab with one stream, and ten tabs belong to one trader, for whom a
feed publishes orders through the ingest socket; with `--stream prices`, all tabs get the same
prices instead. Every event carries its number and the moment it was due. Locust shows, in
milliseconds:

    SSE   first event  from connecting until `connected` has arrived
    SSE   delivery     from when an event was due until a tab has read it
    FEED  publish      from when an event was due until it was written to the ingest socket

What is refused, an event that is missing or comes twice, and a stream that ends are failures.

Start a server that exempts loopback from the attempt limit, then load it, headless or (without
`--headless`) on locust's own page; where there are two cores, one for each:

    SSESERVER__LIMITS__EXEMPT_NETWORKS=127.0.0.0/8 taskset -c 0 sseserver serve
    taskset -c 1 locust -f bench/locustfile.py --headless -u 1000 -r 100 -t 40s \
        --host http://127.0.0.1:8080

`--tabs 1` gives every connection orders of its own, of which a server on one core carries fewer:
add `--events-per-second 40`. `--processes` divides the traders among processes of locust.

Source: specification, "Performance Tests".
"""

import itertools
import logging
import os
from argparse import ArgumentParser
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust import User, events, task
from locust.env import Environment
from locust.runners import MasterRunner

from bench.locust_table import Row
from bench.numbered_streams import (
    NS_PER_MS,
    NS_PER_SECOND,
    Audience,
    Feed,
    Reader,
    Stream,
    clock,
    milliseconds,
)

RECEIVE_BYTES: Final = 65_536
OPENING_SECONDS: Final = 60.0
REPORT_SECONDS: Final = 0.25
DRAIN_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 1.0
LATE_SHARE: Final = 0.01

SNAPSHOTS: Final = {"orders": b'"snapshot":true', "prices": b'"initializing":true'}
"""What the last event of an opening has in it."""

logger = logging.getLogger(__name__)


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this load to locust's."""
    parser.add_argument("--ingest", default="sseserver.sock", help="ingest socket of the server")
    parser.add_argument("--stream", choices=tuple(SNAPSHOTS), default="orders")
    parser.add_argument("--tabs", type=int, default=10, help="streams of one trader (orders)")
    parser.add_argument(
        "--events-per-second",
        type=float,
        default=100.0,
        help="to each stream; prices above batching.threshold_per_second are conflated, and so "
        "missing",
    )


class Load:
    """One test: what is published, what arrives, and the rows that tell of it."""

    def __init__(self, environment: Environment) -> None:
        assert environment.parsed_options is not None
        self.options = environment.parsed_options
        self.first_events, self.deliveries, self.streams = rows = [
            Row(environment.stats, "SSE", name) for name in ("first event", "delivery", "stream")
        ]
        published = Row(environment.stats, "FEED", "publish")
        self._rows = (*rows, published)
        self._audiences: dict[str, Audience] = {}
        self._tabs = itertools.count()
        self.reader = Reader(self.deliveries)
        self.feed = Feed(
            self.options.ingest, self._audiences, self.options.events_per_second, published
        )
        self._started = clock()
        work = (self.reader.run, self.feed.run, self.feed.read_answers, self._report_for_ever)
        self._greenlets = [gevent.spawn(part) for part in work]

    def next_audience(self) -> Audience:
        """Return to whom the next tab belongs."""
        user_id = ""
        if self.options.stream == "orders":  # each process of locust has traders of its own
            user_id = f"locust-{os.getpid()}-{next(self._tabs) // self.options.tabs}"
        return self._audiences.setdefault(user_id, Audience(user_id))

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(REPORT_SECONDS)
            self._report()

    def _report(self) -> None:
        for row in self._rows:
            row.report()

    def settle(self) -> None:
        """Publish no more, wait for what is on its way, and count what is missing."""
        self.feed.finish()
        until = clock() + DRAIN_SECONDS * NS_PER_SECOND
        while (missing := self._missing()) and clock() < until:
            gevent.sleep(REPORT_SECONDS)
        if missing:
            self.deliveries.fail("missing", missing)
        self._report()
        self._tell_of_delays()
        gevent.killall(self._greenlets)

    def _missing(self) -> int:
        return sum(stream.missing for stream in self.reader.streams.values())

    def _tell_of_delays(self) -> None:
        share = self.feed.late_ms * NS_PER_MS / (clock() - self._started)
        logger.log(
            logging.WARNING if share > LATE_SHARE else logging.INFO,
            "locust itself was late %.1f%% of the time, by at most %d ms; the times include that",
            share * 100,
            self.feed.latest_ms,
        )


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Connect the feed; a master has no users to feed."""
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        Tab.load = Load(environment)
    except OSError as error:
        raise SystemExit(f"no server reads the ingest socket, see --ingest: {error}") from error


@events.test_stopping.add_listener
@events.quitting.add_listener
def end(**_: Any) -> None:
    """Settle the account, before the users go and the exit code is chosen."""
    if Tab.load is not None:
        load, Tab.load = Tab.load, None
        load.settle()


class Tab(User):
    """A browser tab with one stream."""

    load: ClassVar[Load | None] = None

    def on_start(self) -> None:
        """Become a tab of a trader, who has a session."""
        assert self.load is not None
        self._load = self.load
        self._audience = self._load.next_audience()
        user_id = self._audience.user_id
        if user_id:
            self._load.feed.ask(op="session.put", sessionId=user_id, userId=user_id)

    @task
    def follow(self) -> None:
        """Open the stream and stay on it."""
        address = urlsplit(str(self.host))
        started = clock()
        try:
            with socket.create_connection((address.hostname, address.port or 80)) as connection:
                stream = self._open(connection, address.netloc, started)
                self._load.reader.follow(stream)
        except OSError as error:
            self._load.first_events.fail(str(error))
        else:
            self._load.streams.fail("the server ended the stream")
            self._load.deliveries.fail("missing", stream.missing)
        gevent.sleep(RETRY_SECONDS)

    def _open(self, connection: Any, host: str, started: int) -> Stream:
        """Read a stream up to its live events."""
        name = self._load.options.stream
        connection.settimeout(OPENING_SECONDS)
        connection.sendall(
            f"GET /api/stream/{name}?replay=0 HTTP/1.1\r\nHost: {host}\r\n"
            "Accept: text/event-stream\r\n"
            f"Cookie: session={self._audience.user_id}\r\n\r\n".encode()
        )
        received, end = read_past(connection, b"\r\n", b"")
        if b" 200 " not in received[:end]:
            raise OSError(f"refused: {received[:end].decode().strip()}")
        received, end = read_past(connection, b"\n\n", received)
        if b"event: connected\n" not in received[:end]:
            raise OSError("refused by an event")
        self._load.first_events.times[milliseconds(clock() - started)] += 1
        received, end = read_past(connection, SNAPSHOTS[name], received)
        received, end = read_past(connection, b"\n\n", received, end)
        return Stream(connection, self._audience, received[end:])


def read_past(connection: Any, text: bytes, received: bytes, start: int = 0) -> tuple[bytes, int]:
    """Read until a text has come; return all that was read, and where the text ends."""
    while (found := received.find(text, start)) < 0:
        data = connection.recv(RECEIVE_BYTES)
        if not data:
            raise OSError("the server ended the stream in its opening")
        received += data
    return received, found + len(text)
