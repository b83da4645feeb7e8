"""A market day: 200 clients with watchlists and orders, fed prices and facts by turns.

Every group of ten clients follows either the same ten symbols or the orders of the same user,
so that each message, price or fact, has as many receivers as any other. A peer has no private
streams and no watchlists: there all 200 get every price, and fewer are sent, so that as many
are delivered.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from bench.broadcast import price
from bench.load import STAMP, Load
from bench.measured import Processes
from bench.servers import running
from bench.sseserver import HOST, PRICES, measured_server, price_message, stream_request
from sseserver import __version__

GROUP: Final = 10
"""Clients that receive the same events; as many as one user may have streams by default."""

_GROUPS: Final = 10
"""Of each kind."""

CLIENTS: Final = 2 * _GROUPS * GROUP

_EVERY_PRICE: Final = {"batching.threshold_per_second": 1_000_000}
"""What was sent is what must arrive."""

ORDERS: Final = "/api/stream/orders"
_TRADERS: Final = [f"trader-{number}" for number in range(_GROUPS)]
_SYMBOLS: Final = 100

_OPEN_ORDERS: Final = 5
"""Of each trader; what happens, happens to one of them, so that no snapshot grows."""

_LINES_AT_ONCE: Final = 500
_TIMEOUT_SECONDS: Final = 60.0


class Answer(msgspec.Struct):
    """What the ingest port said to one line."""

    ok: bool
    id: str = ""


class FeedRefusedError(Exception):
    """The ingest port did not take a line; the text is what it answered."""


def tell(ingest_path: str, lines: Sequence[bytes]) -> list[Answer]:
    """Feed lines, each with a `ref`, and return their answers.

    Raises:
        FeedRefusedError: One of them was refused.
    """
    answers: list[Answer] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as feed:
        feed.settimeout(_TIMEOUT_SECONDS)
        feed.connect(ingest_path)
        with feed.makefile("rb") as said:
            for start in range(0, len(lines), _LINES_AT_ONCE):
                some = lines[start : start + _LINES_AT_ONCE]
                feed.sendall(b"".join(some))
                answers.extend(_answer(said.readline()) for _ in some)
    return answers


def session(user: str) -> bytes:
    """Return the line that makes a session valid; its ID is the user's name."""
    return f'{{"ref":1,"op":"session.put","sessionId":"{user}","userId":"{user}"}}\n'.encode()


def order(user: str, number: int, extra: str = STAMP) -> bytes:
    """Return the line of a fact: one of a user's orders moves.

    Args:
        user: Whose order.
        number: Which of the facts; they are about few orders by turns.
        extra: One more field; the default lets the event be counted and timed.
    """
    return (
        f'{{"ref":1,"type":"order:update","userId":"{user}","data":{{'
        f'"orderId":"{user}-{number % _OPEN_ORDERS}","symbol":"S{number % 100:02}",'
        f'"side":"buy","qty":{100 + number % 900},"limitPrice":"{100 + number % 100}.25",'
        f'"filledQty":{number % 100},"filledAvgPrice":"{100 + number % 100}.125",'
        f'"status":"accepted","reason":"Partial fill on the primary exchange",{extra}}}}}\n'
    ).encode()


def orders_request(user: str, last_event_id: str = "") -> bytes:
    """Return the request that opens the stream of a user's orders."""
    request = stream_request(ORDERS, session=user)
    if not last_event_id:
        return request
    return request.removesuffix(b"\r\n") + f"Last-Event-ID: {last_event_id}\r\n\r\n".encode()


class Day(NamedTuple):
    """A running server, its 200 clients, and what they are sent.

    Attributes:
        server: Name of the server.
        version: And its version.
        processes: What is measured.
        load: The clients, the first of every group first, and the messages at their rate.
        receivers: Clients that get each message.
        ingest_path: Where sseserver can be told more; None for a peer.
    """

    server: str
    version: str
    processes: Processes
    load: Load
    receivers: int
    ingest_path: str | None = None


@contextmanager
def market_day(name: str, deliveries_per_second: float) -> Iterator[Day | None]:
    """Run a server with its traders; None, and a word about it, when it is not here.

    Args:
        name: sseserver or one of its peers.
        deliveries_per_second: Events times receivers.
    """
    if name == "sseserver":
        with measured_server(_EVERY_PRICE) as server:
            tell(server.ingest_path, list(map(session, _TRADERS)))
            load = Load(
                HOST,
                server.port,
                _groups() * GROUP,
                feed=f"unix:{server.ingest_path}",
                messages=list(_prices_and_facts()),
                rate=deliveries_per_second / GROUP,
                checks_ids=True,
            )
            yield Day(name, __version__, server.processes, load, GROUP, server.ingest_path)
        return
    with running(name) as peer:
        if peer is None:
            yield None
            return
        load = Load(
            peer.host,
            peer.port,
            [peer.request] * CLIENTS,
            coding=peer.coding,
            feed=peer.feed,
            messages=[peer.message(price(number)) for number in range(_SYMBOLS)],
            rate=deliveries_per_second / CLIENTS,
        )
        yield Day(name, peer.version, Processes(peer.pids), load, CLIENTS)


def _prices_and_facts() -> Iterator[bytes]:
    for number in range(_SYMBOLS):
        yield price_message(price(number))
        yield order(_TRADERS[number % _GROUPS], number // _GROUPS)


def _groups() -> list[bytes]:
    """Return the request of each group."""
    return [*map(_watchlist_request, range(_GROUPS)), *map(orders_request, _TRADERS)]


def _watchlist_request(number: int) -> bytes:
    names = ",".join(f"S{symbol:02}" for symbol in range(number, _SYMBOLS, _GROUPS))
    return stream_request(f"{PRICES}?symbols={names}")


def _answer(line: bytes) -> Answer:
    answer = msgspec.json.decode(line, type=Answer)
    if not answer.ok:
        raise FeedRefusedError(line.decode().strip())
    return answer
