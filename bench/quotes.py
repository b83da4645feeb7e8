"""Quotes as a feed of market data sends them, and clients that each watch some of the symbols."""

from collections.abc import Sequence
from typing import Final

from bench.load import MOMENT
from bench.sseserver import PRICES, stream_request

MARK: Final = '"volume":"0.'
"""What stands before the time at which a quote was sent.

A decimal string of any length below one is a good volume, whatever the clock says; a field that
the server does not know would cost it a second decode, which real quotes do not.
"""

ROUNDS: Final = 64
"""Prices of each symbol before they come again; its last one is told from those before it."""


def names(symbols: int) -> list[str]:
    """Return the names of so many symbols."""
    return [f"S{number:03}" for number in range(symbols)]


def quote_line(symbol: str, price: float) -> bytes:
    """Render a quote for the ingest port; it is answered only where it is refused."""
    return (
        f'{{"type":"price:update","data":{{"symbol":"{symbol}","price":{price:.2f},'
        f'"bid":{price - 0.01:.2f},"ask":{price + 0.01:.2f},{MARK}{MOMENT}"}}}}\n'
    ).encode("ascii")


def quote_lines(symbols: int) -> list[bytes]:
    """Return quotes of all symbols in turn, round by round, each round at other prices."""
    return [
        quote_line(symbol, 100 + number + turn / ROUNDS)
        for turn in range(ROUNDS)
        for number, symbol in enumerate(names(symbols))
    ]


def watch_lists(symbols: int, lists: int, size: int) -> list[list[str]]:
    """Return different lists of symbols, of equal size, each symbol in as many as any other."""
    every = names(symbols)
    step = symbols // lists
    return [[every[(first * step + n) % symbols] for n in range(size)] for first in range(lists)]


def watching(lists: Sequence[Sequence[str]], clients: int) -> list[bytes]:
    """Return the requests of clients, dealt out to the lists in turn."""
    requests = [stream_request(f"{PRICES}?symbols={','.join(symbols)}") for symbols in lists]
    return [requests[number % len(requests)] for number in range(clients)]
