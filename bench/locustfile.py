"""The specification's performance test in locust's own tables: 1000 connections, 100 events/s each.

Each locust user opens one stream and stays on it; a feed publishes through the ingest socket,
for all of them prices or, with `--private`, to each orders of its own. Every event carries a
number and the moment it was due. What arrives is reported as requests, in milliseconds: `first
event` of a stream, and `delivery` of each event from when it was due. An event that is missing,
a line that is refused and a stream that ends are failures.

Start a server that exempts loopback from the attempt limit, then load it, headless or on
locust's own page. Where there are two cores, give each of them one:

    SSESERVER__LIMITS__EXEMPT_NETWORKS=127.0.0.0/8 sseserver serve
    locust -f bench/locustfile.py --headless -u 1000 -r 100 -t 40s --host http://127.0.0.1:8080

One process of locust reads some 100,000 events a second; when it has no time left, it says so
itself, and its latencies are its own.

Source: specification, "Performance Tests".
"""

import itertools
import json
import re
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust import User, events, task
from locust.env import Environment
from locust.stats import StatsEntry, bucket_response_time

READ_BYTES: Final = 262_144
READ_SECONDS: Final = 60.0
REPORT_SECONDS: Final = 0.25
SLICE_SECONDS: Final = 0.002
"""How long the feed gathers events that are due before it sends them."""

SYMBOLS: Final = 20

_EVENT: Final = re.compile(rb'"dueAt":([0-9]+),"number":([0-9]+)')
_numbers = itertools.count(1)
_open_users: set[str] = set()
_deliveries: Counter[int] = Counter()
"""By milliseconds; reported together, for locust takes longer for one than reading it does."""


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this load to locust's."""
    parser.add_argument("--ingest", default="sseserver.sock", help="ingest socket of the server")
    parser.add_argument(
        "--events-per-second", type=float, default=100.0, help="events a second to each user"
    )
    parser.add_argument(
        "--private", action="store_true", help="orders to each user, instead of prices for all"
    )


class Feed:
    """One connection to the ingest port."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self.answers = self._socket.makefile("rb")

    def send(self, lines: str) -> None:
        """Send lines; only those with a `ref`, or refused, are answered."""
        self._socket.sendall(lines.encode("utf-8"))

    def close(self) -> None:
        """Close the connection."""
        self._socket.shutdown(socket.SHUT_RDWR)  # who waits for answers goes on
        self._socket.close()


@events.test_start.add_listener
def start_feeding(environment: Environment, **_: Any) -> None:
    """Publish to the open users, and report what they received, until the test stops."""
    if environment.runner is not None and environment.parsed_options is not None:
        feed = Feed(environment.parsed_options.ingest)
        gevent.spawn(_publish, environment, feed)
        gevent.spawn(_report_refusals, environment, feed)
        gevent.spawn(_report_deliveries, environment)


@events.quitting.add_listener
def report_the_rest(environment: Environment, **_: Any) -> None:
    """Report what was received since the last report."""
    _take_deliveries(environment)


def _publish(environment: Environment, feed: Feed) -> None:
    options = environment.parsed_options
    assert options is not None
    interval = 1 / options.events_per_second
    due_at = time.monotonic()
    number = 0
    while _is_running(environment):
        lines = []
        while due_at <= time.monotonic():
            number += 1
            mark = f'"dueAt":{int(due_at * 1e9)},"number":{number}'
            if options.private:
                lines += [_order(user_id, mark) for user_id in _open_users]
            else:
                lines.append(_price(number, mark))
            due_at += interval
        feed.send("".join(lines))
        gevent.sleep(SLICE_SECONDS)
    feed.close()


def _price(number: int, mark: str) -> str:
    return (
        f'{{"type":"price:update","data":{{"symbol":"S{number % SYMBOLS}",'
        f'"price":{100 + number % 97}.25,"volume":{number},{mark}}}}}\n'
    )


def _order(user_id: str, mark: str) -> str:
    return (
        f'{{"type":"order:update","userId":"{user_id}","data":{{"orderId":"{user_id}-1",'
        f'"symbol":"AAPL","side":"buy","qty":10,"status":"accepted",{mark}}}}}\n'
    )


def _report_refusals(environment: Environment, feed: Feed) -> None:
    for answer in feed.answers:
        refusal = RuntimeError(f"the server refused a line: {answer.decode().strip()}")
        _report(environment, "publish", 0, refusal)


def _report_deliveries(environment: Environment) -> None:
    while _is_running(environment):
        gevent.sleep(REPORT_SECONDS)
        _take_deliveries(environment)


def _take_deliveries(environment: Environment) -> None:
    if not _deliveries:
        return
    stats, now = environment.stats, time.time()
    received = StatsEntry(stats, "delivery", "SSE")
    received.num_requests = _deliveries.total()
    received.num_reqs_per_sec = {int(now): received.num_requests}
    received.total_response_time = sum(ms * count for ms, count in _deliveries.items())
    received.min_response_time = min(_deliveries)
    received.max_response_time = max(_deliveries)
    received.last_request_timestamp = now
    for ms, count in _deliveries.items():
        received.response_times[bucket_response_time(ms)] += count
    _deliveries.clear()
    stats.get(received.name, received.method).extend(received)
    stats.total.extend(received)


class StreamUser(User):
    """A browser tab with one stream."""

    def on_start(self) -> None:
        """Get a session, which the orders of a user need."""
        self.user_id = f"locust-{next(_numbers)}"
        options = self.environment.parsed_options
        self._path = "/api/stream/orders" if options.private else "/api/stream/prices"
        if options.private:
            feed = Feed(options.ingest)
            session = {"op": "session.put", "sessionId": self.user_id, "userId": self.user_id}
            feed.send(json.dumps({"ref": 1, **session}) + "\n")
            answer = json.loads(feed.answers.readline())
            assert answer["ok"], f"the server refused a session: {answer}"
            feed.close()

    def on_stop(self) -> None:
        """Take no more events."""
        _open_users.discard(self.user_id)

    @task
    def follow(self) -> None:
        """Stay on the stream, and report what arrives."""
        try:
            self._read_stream()
        except OSError as error:
            _report(self.environment, "stream", 0, error)
            gevent.sleep(1)
        finally:
            _open_users.discard(self.user_id)

    def _read_stream(self) -> None:
        started = time.monotonic()
        address = urlsplit(str(self.host))
        with socket.create_connection((address.hostname, address.port or 80)) as connection:
            connection.settimeout(READ_SECONDS)
            connection.sendall(
                f"GET {self._path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
                f"Accept: text/event-stream\r\nCookie: session={self.user_id}\r\n\r\n".encode()
            )
            head, _, body = _read_until(connection.recv, b"\n\n").partition(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise OSError(f"the stream was refused: {head.decode('latin-1')}")
            _report(self.environment, "first event", (time.monotonic() - started) * 1000)
            _open_users.add(self.user_id)
            self._read_events(connection.recv, body)

    def _read_events(self, receive: Callable[[int], bytes], data: bytes) -> None:
        """Count events, and check that none is missing, until the server ends the stream."""
        last_number = None
        while True:
            complete, _, data = data.rpartition(b"\n\n")
            found = _EVENT.findall(complete)
            if found:
                now = time.monotonic_ns()
                for due_at, _ in found:
                    _deliveries[(now - int(due_at)) // 1_000_000] += 1
                number = int(found[-1][1])
                missing = 0 if last_number is None else number - last_number - len(found)
                if missing:
                    error = RuntimeError(f"{missing} events are missing")
                    _report(self.environment, "delivery", 0, error)
                last_number = number
            received = receive(READ_BYTES)
            if not received:
                raise OSError("the server ended the stream")
            data += received


def _read_until(receive: Callable[[int], bytes], end: bytes) -> bytes:
    data = b""
    while end not in data:
        received = receive(READ_BYTES)
        if not received:
            raise OSError("the server ended the stream")
        data += received
    return data


def _is_running(environment: Environment) -> bool:
    runner = environment.runner
    return runner is not None and runner.state not in {"stopping", "stopped", "cleanup"}


def _report(
    environment: Environment, name: str, milliseconds: float, error: Exception | None = None
) -> None:
    fire: Any = environment.events.request.fire  # which has no types
    fire(
        request_type="SSE",
        name=name,
        response_time=milliseconds,
        response_length=0,
        exception=error,
        context={},
    )
