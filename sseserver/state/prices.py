"""The newest quote of every instrument, bounded, and what positions make of it.

The dictionary of quotes is written directly by `Projection.set_price`, 200,000 times a second:
nothing is kept in order there. What needs an order (the longest silent instrument, quotes
after an ID) finds it when it is asked for.
"""

import heapq
from collections import Counter, deque
from operator import attrgetter
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from sseserver.events import JsonObject, Quote
from sseserver.state.decimals import Amount, to_amount

CANDIDATE_SHARE: Final = 64
"""One in so many instruments is set aside per search for the longest silent ones.

A search looks at every instrument (some 10 ms for 100,000), so one per eviction would let a
flood of new symbols stop the server.
"""

_OPTIONAL_FIELDS: Final = ("bid", "ask", "timestamp")
_by_id: Final = attrgetter("id")


class Mark(NamedTuple):
    """The current price of one instrument, as far as a position knows it.

    `quote` is the newest quote that has been taken into account. The price is the quote's
    where `is_quoted`, else the feed gave one after that quote.

    Quotes are compared by identity, not by ID: one that was held back gets a later ID when it
    is sent (contract section 5), without becoming newer than what the feed said meanwhile.
    """

    price: Amount
    quote: Quote | None
    is_quoted: bool

    def is_after(self, event_id: int) -> bool:
        """Whether this is the price of a quote with a later ID."""
        return self.is_quoted and self.quote is not None and self.quote.id > event_id


class Prices:
    """The newest quote of every instrument.

    Args:
        max_instruments: Past it the longest silent one goes.
        evictions: Where it is counted, under `instruments`.
    """

    __slots__ = ("_candidates", "_evictions", "_marks", "_max_instruments", "quotes")

    def __init__(self, max_instruments: int, evictions: Counter[str]) -> None:
        self._max_instruments = max_instruments
        self._evictions = evictions
        self._candidates: deque[Quote] = deque()
        self._marks: dict[str, Mark] = {}
        self.quotes: dict[str, Quote] = {}

    def make_room(self) -> None:
        """Forget the longest silent instrument where there is no room for another.

        Candidates stay the longest silent ones for as long as they are silent, since whatever
        is quoted later has a later ID.
        """
        while len(self.quotes) >= self._max_instruments:
            if not self._candidates:
                count = max(1, len(self.quotes) // CANDIDATE_SHARE)
                self._candidates.extend(heapq.nsmallest(count, self.quotes.values(), key=_by_id))
            quote = self._candidates.popleft()
            if self.quotes.get(quote.symbol) is quote:
                del self.quotes[quote.symbol]
                self._marks.pop(quote.symbol, None)
                self._evictions["instruments"] += 1

    def mark(self, quote: Quote) -> Mark:
        """Return the price of one of `quotes`, converted once for all holders."""
        mark = self._marks.get(quote.symbol)
        if mark is None or mark.quote is not quote:
            mark = Mark(to_amount(quote.price), quote, is_quoted=True)
            self._marks[quote.symbol] = mark
        return mark

    def after(self, symbols: frozenset[str] | None, after_id: int) -> list[Quote]:
        """Return the quotes with an ID above `after_id`, in the order of their IDs.

        Args:
            symbols: Whose quotes; None for all, at a cost per known instrument.
            after_id: 0 for all.
        """
        return sorted((q for q in self._of(symbols) if q.id > after_id), key=_by_id)

    def snapshot(self, symbols: frozenset[str] | None, timestamp: str) -> JsonObject:
        """Return the `price:update` that opens a price stream (contract section 4)."""
        return {
            "initializing": True,
            "prices": [_snapshot_item(quote) for quote in self._of(symbols)],
            "timestamp": timestamp,
        }

    def _of(self, symbols: frozenset[str] | None) -> list[Quote]:
        """Return the quotes of these symbols, by name, or all, in the order first seen."""
        quotes = self.quotes
        if symbols is None:
            return list(quotes.values())
        return [quotes[symbol] for symbol in sorted(symbols) if symbol in quotes]


def _snapshot_item(quote: Quote) -> JsonObject:
    item: JsonObject = {"symbol": quote.symbol, "price": quote.price}
    data = quote.data
    for name in _OPTIONAL_FIELDS:
        value: Any = data.get(name, UNSET) if isinstance(data, dict) else getattr(data, name, UNSET)
        if value is not UNSET:
            item[name] = value
    return item
