"""The demo's trading desk: orders near the market, the fills they get, what follows from them.

What the desk does comes back as messages for the ingest port (contract section 3). It keeps its
own books, so that what it publishes fits together: an order's cumulative quantity is the sum of
its fills, a position is the sum of its owner's fills, and a realised profit is that of the part
which was closed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from sseserver.demo.accounts import Trader
from sseserver.demo.commentary import Commentary, Intent, Side, feed_line
from sseserver.demo.holding import FLAT, Holding, fill_holding, round_average, tick_of
from sseserver.demo.market import MarketQuote
from sseserver.events import JsonObject

# How the desk behaves; chosen so that one user sees some event every second or two.
_MAX_WORKING_ORDERS: Final = 4
_MAX_EXPOSURE: Final = 60_000  # of the quote's currency, in one instrument; past it, reduce
_ORDER_VALUES: Final = (4_000, 24_000)
_PATIENCE_SECONDS: Final = (15.0, 60.0)  # how long a limit order may wait
_PLACE_CHANCE: Final = 0.15
_REJECT_CHANCE: Final = 0.03
_WARNING_CHANCE: Final = 0.02

_CENT: Final = Decimal("0.01")
_PRECISION: Final = 80  # significant digits; a price has at most 24, a quantity that and 5 more


@dataclass(slots=True)
class _Order:
    """An order that has not finished yet."""

    order_id: str
    user_id: str
    symbol: str
    side: Side
    quantity: int
    limit_price: Decimal | None
    expires_at: float
    is_accepted: bool = False
    filled: int = 0
    cost: Decimal = Decimal(0)

    def average_price(self) -> Decimal:
        """Return the average price of the fills so far."""
        return round_average(self.cost / self.filled, self.cost)

    def data(self, status: str) -> JsonObject:
        """Return the payload of `order:update`."""
        data: JsonObject = {
            "orderId": self.order_id,
            "symbol": self.symbol,
            "side": self.side,
            "qty": self.quantity,
            "status": status,
            "filledQty": self.filled,
        }
        if self.filled:
            data["filledAvgPrice"] = self.average_price()
        if self.limit_price is not None:
            data["limitPrice"] = self.limit_price
        return data


class TradingDesk:
    """Trades for a few users on whatever quotes it has seen."""

    def __init__(self, rng: random.Random, traders: Sequence[Trader], run: str) -> None:
        """Begin with empty books.

        Args:
            rng: Every decision comes from it.
            traders: For whom to trade.
            run: Part of every ID, so that two runs of the demo share none.
        """
        self._rng = rng
        self._traders = tuple(traders)
        self._run = run
        self._numbers = 0
        self._commentary = Commentary(rng, traders, self._new_id)
        self._quotes: dict[str, MarketQuote] = {}
        self._working: list[_Order] = []
        self.holdings: dict[tuple[str, str], Holding] = {}
        """What is held, by user and symbol; nothing that is flat."""

    def on_quote(self, quote: MarketQuote) -> None:
        """Take note of the market; a one-sided quote is not traded on."""
        if quote.bid > 0 and quote.ask > 0:
            self._quotes[quote.symbol] = quote

    def opening(self) -> list[JsonObject]:
        """Return what the desk says when it starts."""
        return self._commentary.opening()

    def act(self, now: float) -> list[JsonObject]:
        """Do about one second's work and return the messages to publish, in order.

        Args:
            now: Monotonic seconds.
        """
        lines: list[JsonObject] = []
        with localcontext(prec=_PRECISION):
            for order in tuple(self._working):
                lines += self._work(order, now)
            for trader in self._traders:
                if self._quotes and self._rng.random() < _PLACE_CHANCE:
                    lines += self._place(trader, now)
                lines += self._watch(trader)
                lines += self._commentary.supervise(trader)
        return lines

    def _new_id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}-{self._run}-{self._numbers}"

    def _held(self, user_id: str, symbol: str) -> Holding:
        return self.holdings.get((user_id, symbol), FLAT)

    def _place(self, trader: Trader, now: float) -> list[JsonObject]:
        user_id = trader.user_id
        if sum(order.user_id == user_id for order in self._working) >= _MAX_WORKING_ORDERS:
            return []
        quote = self._quotes[self._rng.choice(sorted(self._quotes))]
        side, quantity = self._choose(user_id, quote)
        order = _Order(
            order_id=self._new_id("ord"),
            user_id=user_id,
            symbol=quote.symbol,
            side=side,
            quantity=quantity,
            limit_price=self._limit_price(quote, side) if self._rng.random() < 0.6 else None,
            expires_at=now + self._rng.uniform(*_PATIENCE_SECONDS),
        )
        held = self._held(user_id, order.symbol).quantity
        is_exit = held * quantity * (1 if side == "buy" else -1) < 0
        intent = Intent(order.order_id, order.symbol, side, quantity, is_exit)
        lines = self._commentary.reasons(trader, intent)
        if self._rng.random() < _REJECT_CHANCE:
            reason = "insufficient buying power"
            text = f"Order to {side} {quantity} {order.symbol} was rejected: {reason}"
            lines.append(self._order_update(order, "rejected", reason))
            lines.append(self._commentary.alert(user_id, "error", text))
        else:
            self._working.append(order)
            lines.append(self._order_update(order, "new"))
        return lines

    def _choose(self, user_id: str, quote: MarketQuote) -> tuple[Side, int]:
        """Return side and quantity: reduce what has grown large, now and then go past flat."""
        held = self._held(user_id, quote.symbol).quantity
        quantity = max(1, int(self._rng.uniform(*_ORDER_VALUES) / float(quote.ask)))
        if quantity > 10:
            quantity -= quantity % 5  # nobody orders 37 shares
        if held and (abs(held) * quote.ask > _MAX_EXPOSURE or self._rng.random() < 0.45):
            closing = self._rng.choice((abs(held), max(1, abs(held) // 2), quantity))
            return ("sell" if held > 0 else "buy"), closing
        return ("buy" if self._rng.random() < 0.65 else "sell"), quantity

    def _limit_price(self, quote: MarketQuote, side: Side) -> Decimal:
        """Return a price some ticks or spreads better than the other side asks."""
        tick = tick_of(quote.bid)
        step = max(abs(quote.ask - quote.bid), tick) * self._rng.randint(0, 4)
        if side == "buy":
            return max(quote.ask - step, tick)
        return quote.bid + step

    def _work(self, order: _Order, now: float) -> list[JsonObject]:
        """Return what happens next to an order, if anything does."""
        if not order.is_accepted:
            order.is_accepted = True
            return [self._order_update(order, "accepted")]
        quote = self._quotes[order.symbol]
        price = quote.ask if order.side == "buy" else quote.bid
        limit = order.limit_price
        if limit is None or (price <= limit if order.side == "buy" else price >= limit):
            return self._fill(order, price)
        if now >= order.expires_at:
            self._working.remove(order)
            return [self._order_update(order, "canceled", "not filled in time")]
        return []

    def _fill(self, order: _Order, price: Decimal) -> list[JsonObject]:
        """Return fill, trade and position, and book them."""
        open_quantity = order.quantity - order.filled
        quantity = open_quantity
        if self._rng.random() < 0.4:
            quantity = self._rng.randint(1, open_quantity)
        order.filled += quantity
        order.cost += price * quantity
        fill = {
            "orderId": order.order_id,
            "symbol": order.symbol,
            "side": order.side,
            "qty": order.quantity,
            "filledQty": order.filled,
            "filledAvgPrice": order.average_price(),
        }
        trade = {
            "tradeId": self._new_id("trade"),
            "orderId": order.order_id,
            "symbol": order.symbol,
            "side": order.side,
            "qty": quantity,
            "price": price,
        }
        lines = [
            feed_line("order:fill", fill, order.user_id, order.order_id),
            feed_line("trade:new", trade, order.user_id, order.order_id),
            self._book(order, quantity if order.side == "buy" else -quantity, price),
        ]
        if order.filled == order.quantity:
            self._working.remove(order)
            if self._rng.random() < 0.3:
                verb = "Bought" if order.side == "buy" else "Sold"
                text = f"{verb} {order.quantity} {order.symbol} at {fill['filledAvgPrice']}"
                lines.append(self._commentary.alert(order.user_id, "info", text))
        return lines

    def _book(self, order: _Order, change: int, price: Decimal) -> JsonObject:
        """Return the `position:update` that follows from one fill."""
        key = (order.user_id, order.symbol)
        holding, realized = fill_holding(self._held(*key), change, price)
        data: JsonObject = {"symbol": order.symbol, "quantity": holding.quantity}
        if holding.quantity:
            self.holdings[key] = holding
            data["entryPrice"] = format(holding.entry_price, "f")
            data["currentPrice"] = format(self._quotes[order.symbol].price, "f")
        else:
            del self.holdings[key]
        if realized is not None:
            data["exitPrice"] = format(price, "f")
            data["realizedPnL"] = realized
        return feed_line("position:update", data, order.user_id, order.order_id)

    def _order_update(self, order: _Order, status: str, reason: str | None = None) -> JsonObject:
        data = order.data(status)
        if reason is not None:
            data["reason"] = reason
        return feed_line("order:update", data, order.user_id, order.order_id)

    def _watch(self, trader: Trader) -> list[JsonObject]:
        """Return a warning about a position under water, now and then."""
        held = [key for key in self.holdings if key[0] == trader.user_id]
        if not held or self._rng.random() >= _WARNING_CHANCE:
            return []
        key = self._rng.choice(held)
        symbol = key[1]
        holding = self.holdings[key]
        price = self._quotes[symbol].price
        loss = ((holding.entry_price - price) * holding.quantity).quantize(_CENT, ROUND_HALF_EVEN)
        if loss <= 0:
            return []
        text = f"{symbol} at {price} is against your position: {loss} down"
        return [self._commentary.alert(trader.user_id, "warning", text)]
