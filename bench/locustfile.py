"""A load test in locust's own tables: time to the first event, and delivery latency.

Each locust user opens one stream of orders and stays on it; a feed publishes orders to all of
them through the ingest socket, and each order carries the time at which it was sent. What
arrives is reported as requests: `first event` and `delivery`, in milliseconds.

Start a server that exempts loopback from the attempt limit, then load it, headless or on
locust's own page:

    SSESERVER__LIMITS__EXEMPT_NETWORKS='["127.0.0.0/8"]' sseserver serve
    locust -f bench/locustfile.py --headless -u 100 -r 50 -t 30s --host http://127.0.0.1:8080
    locust -f bench/locustfile.py --host http://127.0.0.1:8080
"""

import itertools
import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust import User, events, task
from locust.env import Environment

READ_SECONDS = 60.0
_numbers = itertools.count(1)
_open_users: set[str] = set()


@events.init_command_line_parser.add_listener
def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this load to locust's."""
    parser.add_argument("--ingest", default="sseserver.sock", help="ingest socket of the server")
    parser.add_argument(
        "--events-per-second", type=float, default=10.0, help="orders a second to each user"
    )


class Feed:
    """One connection to the ingest port; every line is answered, or the test ends."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def send(self, messages: list[dict[str, Any]]) -> None:
        """Send messages and wait for their answers."""
        lines = (json.dumps({"ref": 1, **message}) for message in messages)
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())
        for _ in messages:
            answer = json.loads(self._answers.readline())
            if not answer["ok"]:
                raise RuntimeError(f"the server refused a line: {answer}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@events.test_start.add_listener
def start_feeding(environment: Environment, **_: Any) -> None:
    """Publish orders to every open user until the test stops."""
    if environment.runner is not None:
        gevent.spawn(_publish, environment)


def _publish(environment: Environment) -> None:
    options = environment.parsed_options
    assert options is not None
    assert environment.runner is not None
    interval = 1 / options.events_per_second
    feed = Feed(options.ingest)
    while environment.runner.state not in {"stopping", "stopped", "cleanup"}:
        started = time.perf_counter()
        feed.send([_order(user_id) for user_id in tuple(_open_users)])
        gevent.sleep(max(0.0, interval - (time.perf_counter() - started)))
    feed.close()


def _order(user_id: str) -> dict[str, Any]:
    return {
        "type": "order:update",
        "userId": user_id,
        "data": {
            "orderId": f"{user_id}-1",
            "symbol": "AAPL",
            "side": "buy",
            "qty": 10,
            "status": "accepted",
            "sentAt": time.time(),
        },
    }


class StreamUser(User):
    """A browser tab with the order stream of one user."""

    def on_start(self) -> None:
        """Get a session."""
        self.user_id = f"locust-{next(_numbers)}"
        feed = Feed(self.environment.parsed_options.ingest)
        feed.send([{"op": "session.put", "sessionId": self.user_id, "userId": self.user_id}])
        feed.close()

    def on_stop(self) -> None:
        """Take no more events."""
        _open_users.discard(self.user_id)

    @task
    def follow(self) -> None:
        """Stay on the stream, and report what arrives."""
        started = time.perf_counter()
        first = True
        try:
            for data in self._events():
                if first:
                    self._report("first event", (time.perf_counter() - started) * 1000, len(data))
                    _open_users.add(self.user_id)
                    first = False
                sent_at = json.loads(data).get("sentAt")
                if sent_at is not None:
                    self._report("delivery", (time.time() - sent_at) * 1000, len(data))
        except OSError as error:
            self._report("first event" if first else "stream", 0, 0, error)
            gevent.sleep(1)

    def _events(self) -> Iterator[bytes]:
        """Yield the payload of each event of the stream."""
        address = urlsplit(str(self.host))
        with socket.create_connection((address.hostname, address.port or 80)) as connection:
            connection.settimeout(READ_SECONDS)
            connection.sendall(
                f"GET /api/stream/orders HTTP/1.1\r\nHost: {address.netloc}\r\n"
                f"Accept: text/event-stream\r\nCookie: session={self.user_id}\r\n\r\n".encode()
            )
            lines = connection.makefile("rb")
            status = lines.readline()
            if b" 200 " not in status:
                raise OSError(f"the stream was refused: {status.decode().strip()}")
            for line in lines:
                if line.startswith(b"data: "):
                    yield line[len(b"data: ") :]
        raise OSError("the server ended the stream")

    def _report(
        self, name: str, milliseconds: float, size: int, error: Exception | None = None
    ) -> None:
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=milliseconds,
            response_length=size,
            exception=error,
            context={},
        )
