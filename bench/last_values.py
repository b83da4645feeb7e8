"""Does every client end with the last value of each of its symbols?

Quotes are fed as fast as the server takes them, to clients that keep what they were sent last.
Once the last quote has been accepted and no client is sent anything any more, each must have the
last prices.
"""

import re
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

from bench.sseserver import HOST, MeasuredServer

_PING: Final = b'{"op":"ping","ref":1}\n'
"""Answered when all before it has been accepted."""

_TAIL_BYTES: Final = 65_536
"""Kept of each stream: a dozen windows of 20 symbols, of which the last holds all that moved."""
_READ_BYTES: Final = 1 << 18
_LOOK_SECONDS: Final = 0.05
_SETTLE_SECONDS: Final = 0.5
"""Several windows: a client that was sent nothing for so long will be sent nothing more."""
_STUCK_SECONDS: Final = 5.0

_prices_in: Final = re.compile(rb'"symbol":"([^"]+)","price":([0-9.]+)').findall


class LastValues(NamedTuple):
    """What became of quotes that were fed as fast as they were taken.

    Attributes:
        quotes_per_second: How fast they were taken.
        refusal: What the server answered instead of accepting; empty when it accepted all.
        missing: Last values that a client does not have, over all clients.
    """

    quotes_per_second: float
    refusal: str
    missing: int


def feed_and_look(
    server: MeasuredServer,
    lines: Sequence[bytes],
    requests: Sequence[bytes],
    lists: Sequence[Sequence[str]],
) -> LastValues:
    """Feed quotes to a server and look at what its clients have in the end.

    Args:
        server: The server.
        lines: The quotes; the last of each symbol has a price of its own.
        requests: One a client.
        lists: The symbols that the clients watch, dealt out to them in turn.
    """
    last = _last_prices(b"".join(lines))
    wanted = [{symbol: last[symbol] for symbol in symbols} for symbols in lists]
    with _Readers(server.port, requests) as readers:
        feeding = _Feeding(server.ingest_path, b"".join(lines))
        while feeding.is_alive():
            readers.read(_LOOK_SECONDS)
        while readers.read(_SETTLE_SECONDS):
            pass
        missing = _missing(readers.tails, wanted)
    return LastValues(len(lines) / feeding.seconds, feeding.refusal, missing)


def _last_prices(data: bytes | bytearray) -> dict[str, float]:
    """Return the last price of each symbol in lines or in a stream."""
    return {symbol.decode(): float(price) for symbol, price in _prices_in(data)}


def _missing(tails: Sequence[bytearray], wanted: Sequence[dict[str, float]]) -> int:
    """Return how many last values are not the last ones in their client's stream."""
    return sum(
        len(wanted[number % len(wanted)].items() - _last_prices(tail).items())
        for number, tail in enumerate(tails)
    )


class _Feeding(threading.Thread):
    """Sends lines as fast as they are taken, and ends when all of them are accepted."""

    def __init__(self, path: str, data: bytes) -> None:
        super().__init__(daemon=True)
        self._data = data
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_STUCK_SECONDS)
        self._socket.connect(path)
        self.seconds = 0.0
        self.refusal = ""
        self.start()

    def run(self) -> None:
        began = time.monotonic()
        with suppress(TimeoutError):  # the server waits as well: for its refusals to be read
            self._socket.sendall(self._data + _PING)
        answer = self._socket.makefile("rb").readline()
        self.seconds = time.monotonic() - began
        if b'"ok":true' not in answer:
            self.refusal = answer.decode().strip()
        self._socket.close()


class _Readers:
    """Clients that keep the tail of what they are sent."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self.tails = [bytearray() for _ in requests]
        self._selector = selectors.DefaultSelector()
        for request, tail in zip(requests, self.tails, strict=True):
            connection = socket.create_connection((HOST, port))
            connection.sendall(request)
            tail.extend(connection.recv(_READ_BYTES))  # who has an answer has an open stream
            self._selector.register(connection, selectors.EVENT_READ, tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for key in list(self._selector.get_map().values()):
            cast("socket.socket", key.fileobj).close()
        self._selector.close()

    def read(self, timeout: float) -> bool:
        """Take what has arrived, or what arrives first within so many seconds; False: nothing."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            tail: bytearray = key.data
            tail.extend(cast("socket.socket", key.fileobj).recv(_READ_BYTES))
            del tail[:-_TAIL_BYTES]
        return bool(ready)
