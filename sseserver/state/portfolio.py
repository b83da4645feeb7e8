"""One user's positions, valued exactly (contract section 3, `position:update`).

A position knows the mark it was last valued at. Prices move far more often than anybody looks,
so a price touches no portfolio: whoever asks for one first takes over what moved since.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, KeysView
from decimal import Decimal
from typing import Final

import msgspec

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject
from sseserver.saved import SavedPosition
from sseserver.state.decimals import (
    ZERO,
    Amount,
    add,
    multiply,
    subtract,
    to_amount,
    to_cents,
    to_decimal,
)
from sseserver.state.prices import Mark, Prices

_KNOWN_FIELDS: Final = frozenset(
    {
        "symbol",
        "quantity",
        "entryPrice",
        "currentPrice",
        "exitPrice",
        "realizedPnL",
        "unrealizedPnL",  # computed here, whatever a feed says
        "timestamp",  # stands beside the list of positions, not in it
    }
)


class Position:
    """What is held of one instrument; a negative quantity is a short.

    `value` is quantity x current price. `extra` holds fields that are not ours, for snapshots.
    """

    __slots__ = ("entry", "extra", "mark", "quantity", "symbol", "value")

    def __init__(
        self, symbol: str, quantity: Amount, entry: Amount, mark: Mark, extra: JsonObject
    ) -> None:
        self.symbol = symbol
        self.quantity = quantity
        self.entry = entry
        self.extra = extra
        self.revalue(mark)

    def revalue(self, mark: Mark) -> None:
        """Take over a price."""
        self.mark = mark
        self.value: Decimal = multiply(self.quantity.value, mark.price.value)

    def item(self) -> JsonObject:
        """Return the entry of this position in a payload."""
        price = self.mark.price
        gain = subtract(price.value, self.entry.value)
        return {
            "symbol": self.symbol,
            "quantity": self.quantity.text,
            "entryPrice": self.entry.text,
            "currentPrice": price.text,
            "unrealizedPnL": to_cents(multiply(gain, self.quantity.value)),
        }


class Portfolio:
    """The positions of one user, in the order they were opened.

    Args:
        max_positions: Past it the position opened first goes.
        prices: The last quotes.
        evictions: Where it is counted, under `positions`.
    """

    __slots__ = ("_evictions", "_max_positions", "_positions", "_prices")

    def __init__(self, max_positions: int, prices: Prices, evictions: Counter[str]) -> None:
        self._max_positions = max_positions
        self._prices = prices
        self._evictions = evictions
        self._positions: dict[str, Position] = {}

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def symbols(self) -> KeysView[str]:
        """The instruments held."""
        return self._positions.keys()

    def update(self, data: JsonObject, event_id: int) -> JsonObject:
        """Apply a `position:update` of the feed and return the payload it becomes.

        `quantity` is what is held from now on: more, less, none of it, or the other side. What
        is closed is realised against the entry price it was held at. Fields that are not ours
        pass through; `timestamp` is taken over where there is one.

        Args:
            data: The validated and redacted payload.
            event_id: Its ID; a quote with a later one is newer than its `currentPrice`.

        Raises:
            FeedError: A position is opened without `entryPrice`. Nothing has changed.
        """
        symbol: str = data["symbol"]
        # A closed position says "0", however many places the feed gave.
        quantity = to_amount(data["quantity"])
        quantity = quantity if quantity.value else ZERO
        held = self._positions.get(symbol)
        mark = self._given_mark(data, event_id) or self._last_known(symbol)
        exit_price = _given(data, "exitPrice") or (mark.price if mark is not None else None)
        entry = _given(data, "entryPrice") or _implied_entry(held, quantity, exit_price)
        if entry is None:
            raise FeedError(
                FeedErrorCode.INVALID_MESSAGE,
                "Object missing required field `entryPrice`: no such position is held",
                path="$.data.entryPrice",
            )
        realized = _realized(data, held, quantity, entry, exit_price)
        extra = _extra(data)
        kept_extra = held.extra if held is not None and not extra else extra

        mark = mark or Mark(entry, None, is_quoted=False)
        position = Position(symbol, quantity, entry, mark, kept_extra)
        if quantity.value:
            self._positions[symbol] = position
            self._evict()
        else:
            self._positions.pop(symbol, None)

        item = position.item()
        if realized is not None:
            item["realizedPnL"] = to_cents(realized)
        payload: JsonObject = {"positions": [item | extra], "totalValue": to_cents(self._total())}
        if "timestamp" in data:
            payload["timestamp"] = data["timestamp"]
        return payload

    def replace(self, positions: Iterable[JsonObject], event_id: int) -> None:
        """Forget everything and hold these positions; of two in one symbol, the later.

        Args:
            positions: Each with `symbol`, `quantity` (not zero), `entryPrice`.
            event_id: A quote with a later one is newer than their `currentPrice`.
        """
        held: dict[str, Position] = {}
        for data in positions:
            symbol: str = data["symbol"]
            entry = to_amount(data["entryPrice"])
            mark = self._given_mark(data, event_id) or self._last_known(symbol)
            mark = mark or Mark(entry, None, is_quoted=False)
            held.pop(symbol, None)
            held[symbol] = Position(symbol, to_amount(data["quantity"]), entry, mark, _extra(data))
        self._positions = held
        self._evict()

    def snapshot(self, timestamp: str) -> JsonObject:
        """Return the `position:update` that opens a position stream (contract section 4)."""
        total = self._total()
        return {
            "snapshot": True,
            "positions": [held.item() | held.extra for held in self._positions.values()],
            "totalValue": to_cents(total),
            "timestamp": timestamp,
        }

    def revaluation(self, after_id: int, timestamp: str) -> JsonObject | None:
        """Return the `position:update` of all that quotes moved, None if they moved nothing.

        Args:
            after_id: Positions whose quote has an ID above this are in it.
            timestamp: Its `timestamp`.
        """
        total = self._total()
        moved = (held for held in self._positions.values() if held.mark.is_after(after_id))
        items = [position.item() for position in moved]
        if not items:
            return None
        return {"positions": items, "totalValue": to_cents(total), "timestamp": timestamp}

    def saved(self, user_id: str) -> Iterator[SavedPosition]:
        """Return the positions, in the order they were opened."""
        for held in self._positions.values():
            mark = held.mark
            yield SavedPosition(
                user_id,
                held.symbol,
                held.quantity.text,
                held.entry.text,
                mark.price.text,
                mark.is_quoted,
                mark.quote is not None and mark.quote is self._prices.quotes.get(held.symbol),
                msgspec.json.encode(held.extra),
            )

    def restore(self, saved: SavedPosition) -> None:
        """Take over a position, after the quotes."""
        quote = self._prices.quotes.get(saved.symbol)
        if saved.is_quoted and quote is not None:
            mark = self._prices.mark(quote)
        else:
            known = quote if saved.knows_quote else None
            mark = Mark(to_amount(saved.price), known, is_quoted=False)
        quantity, entry = to_amount(saved.quantity), to_amount(saved.entry)
        extra = msgspec.json.decode(saved.extra, type=JsonObject)
        self._positions[saved.symbol] = Position(saved.symbol, quantity, entry, mark, extra)
        self._evict()

    def _total(self) -> Decimal:
        """Value every position at the last quote and return the sum."""
        # Re-valuations come here for every position of every watched user, ten times a second.
        quotes = self._prices.quotes
        total = ZERO.value
        for position in self._positions.values():
            quote = quotes.get(position.symbol)
            if quote is not position.mark.quote and quote is not None:
                position.revalue(self._prices.mark(quote))
            total = add(total, position.value)
        return total

    def _given_mark(self, data: JsonObject, event_id: int) -> Mark | None:
        """Return the price the feed gave, None without one or where a quote is newer."""
        price = _given(data, "currentPrice")
        if price is None:
            return None
        quote = self._prices.quotes.get(data["symbol"])
        if quote is not None and quote.id > event_id:
            return None
        return Mark(price, quote, is_quoted=False)

    def _last_known(self, symbol: str) -> Mark | None:
        """Return the last quote's price, or what the feed said of the position since."""
        quote = self._prices.quotes.get(symbol)
        held = self._positions.get(symbol)
        if held is not None and (quote is None or quote is held.mark.quote):
            return held.mark
        return self._prices.mark(quote) if quote is not None else None

    def _evict(self) -> None:
        while len(self._positions) > self._max_positions:
            del self._positions[next(iter(self._positions))]
            self._evictions["positions"] += 1


def _given(data: JsonObject, name: str) -> Amount | None:
    """Return a number of the feed, None where it gave none; an `Amount` of zero is not false."""
    raw = data.get(name)
    return None if raw is None else to_amount(raw)


def _extra(data: JsonObject) -> JsonObject:
    return {name: value for name, value in data.items() if name not in _KNOWN_FIELDS}


def _implied_entry(
    held: Position | None, quantity: Amount, exit_price: Amount | None
) -> Amount | None:
    """Return the entry price of an update that gives none; None where it has to.

    A flip of sign is one trade, so the new side was entered at the price at which the old one
    was left. Closing what is not held says something well-formed rather than nothing.
    """
    if held is None:
        return None if quantity.value else exit_price or ZERO
    if quantity.value and _is_flip(held, quantity):
        return exit_price
    return held.entry


def _is_flip(held: Position, quantity: Amount) -> bool:
    """Whether a short becomes a long, or the reverse; zero counts as long."""
    return held.quantity.value.is_signed() != quantity.value.is_signed()


def _realized(
    data: JsonObject,
    held: Position | None,
    quantity: Amount,
    entry: Amount,
    exit_price: Amount | None,
) -> Decimal | None:
    """Return what an update realised: the feed's word, else (exit - entry) x closed quantity.

    None where nothing was closed. An entry price that comes with a full close can only be that
    of what is closed; in any other update it is the entry price from now on.
    """
    if data.get("realizedPnL") is not None:
        return to_decimal(data["realizedPnL"])
    if held is None or exit_price is None:
        return None if quantity.value else ZERO.value
    closed = _closed_quantity(held, quantity)
    if not closed:
        return None
    basis = held.entry if quantity.value else entry
    return multiply(subtract(exit_price.value, basis.value), closed)


def _closed_quantity(held: Position, quantity: Amount) -> Decimal:
    """Return how much of a position leaves: all, what it shrinks by, or zero; shorts negative."""
    before, after = held.quantity.value, quantity.value
    if _is_flip(held, quantity):
        return before
    if after.copy_abs() < before.copy_abs():
        return subtract(before, after)
    return ZERO.value
