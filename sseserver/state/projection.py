"""What is true now: every user's orders and positions, last prices, agents' statuses.

Facts come in, payloads and snapshots go out; nothing here encodes, sends or waits. Everything
is bounded: per user, in users, in instruments and in agents, and what had to go is counted.

A price only replaces the older one and, where a *watched* user (one with an open stream that
shows positions) holds the instrument, notes its symbol. Who has to be re-valued is found once
per window, and the portfolio is valued when its update is built.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import msgspec

from sseserver.config import LimitsConfig
from sseserver.events import Event, JsonObject, Quote
from sseserver.saved import SavedOrders, SavedPosition, SavedQuote, pack_id, unpack_id
from sseserver.state.orders import Orders
from sseserver.state.portfolio import Portfolio
from sseserver.state.prices import Prices
from sseserver.state.watches import Watches

MAX_AGENTS: Final = 10_000
"""Agents whose status is kept; a deployment has dozens, a feed that invents names no end."""


class _Account:
    """What is known of one user, and how much of it the projection's totals count."""

    __slots__ = ("counted_orders", "counted_positions", "orders", "portfolio")

    def __init__(self, orders: Orders, portfolio: Portfolio) -> None:
        self.orders = orders
        self.portfolio = portfolio
        self.counted_orders = 0
        self.counted_positions = 0


class Projection:
    """The current state of everything a snapshot shows.

    Args:
        limits: Bounds of one user's orders and positions, and of the instruments.
        max_users: Past it the user goes who was not touched for longest and is not watched.
    """

    __slots__ = (
        "_accounts",
        "_agents",
        "_evictions",
        "_holders",
        "_limits",
        "_max_users",
        "_moved",
        "_prices",
        "_quotes",
        "_watches",
        "order_count",
        "position_count",
    )

    def __init__(self, limits: LimitsConfig, max_users: int) -> None:
        self._limits = limits
        self._max_users = max_users
        self._evictions: Counter[str] = Counter()
        self._prices = Prices(limits.max_instruments, self._evictions)
        self._quotes = self._prices.quotes
        self._accounts: OrderedDict[str, _Account] = OrderedDict()  # last touched at the end
        self._agents: OrderedDict[str, Event] = OrderedDict()
        self._watches = Watches()
        self._holders = self._watches.holders
        self._moved = self._watches.moved
        self.order_count = 0
        self.position_count = 0

    # Facts

    def update_order(self, user_id: str, data: JsonObject) -> None:
        """Merge an `order:update` into the stored order; what it does not give persists."""
        account = self._account(user_id)
        account.orders.update(data)
        self._keep(user_id, account)

    def fill_order(self, user_id: str, data: JsonObject) -> None:
        """Set `data["status"]` of an `order:fill` and merge it into the stored order."""
        account = self._account(user_id)
        account.orders.fill(data)
        self._keep(user_id, account)

    def update_position(self, user_id: str, data: JsonObject, event_id: int) -> JsonObject:
        """Apply a `position:update` and return its payload on the wire.

        The payload has a `timestamp` where `data` has one.

        Args:
            user_id: Whose position.
            data: The validated and redacted payload.
            event_id: Its ID; a quote with a later one is newer than its `currentPrice`.

        Raises:
            FeedError: A position is opened without `entryPrice`. Nothing has changed.
        """
        account = self._account(user_id)
        payload = account.portfolio.update(data, event_id)
        self._keep(user_id, account)
        self._watches.index(user_id, account.portfolio.symbols)
        return payload

    def put_orders(self, user_id: str, orders: list[JsonObject]) -> None:
        """Replace a user's orders."""
        account = self._account(user_id)
        account.orders.replace(orders)
        self._keep(user_id, account)

    def put_positions(self, user_id: str, positions: list[JsonObject], event_id: int) -> None:
        """Replace a user's positions; `event_id` as in `update_position`."""
        account = self._account(user_id)
        account.portfolio.replace(positions, event_id)
        self._keep(user_id, account)
        self._watches.index(user_id, account.portfolio.symbols)

    def set_price(self, quote: Quote) -> None:
        """Replace the last quote of an instrument.

        The hot path: no method is called but for an instrument that was not known.
        """
        quotes = self._quotes
        symbol = quote.symbol
        if symbol not in quotes:
            self._prices.make_room()
        quotes[symbol] = quote
        if symbol in self._holders:
            self._moved[symbol] = None

    def set_agent_status(self, agent_id: str, event: Event) -> None:
        """Replace an agent's status; past `MAX_AGENTS` the longest silent agent goes."""
        self._agents[agent_id] = event
        self._agents.move_to_end(agent_id)
        if len(self._agents) > MAX_AGENTS:
            self._agents.popitem(last=False)
            self._evictions["agents"] += 1

    # Re-valuation

    def watch(self, user_id: str) -> None:
        """Count one more open stream that shows this user's positions."""
        self._watches.add(user_id, self._account(user_id).portfolio.symbols)

    def unwatch(self, user_id: str) -> None:
        """Take back one `watch`."""
        self._watches.remove(user_id)

    @property
    def has_revaluations(self) -> bool:
        """Whether a watched user's holdings moved since `take_revaluations`."""
        return bool(self._moved)

    def take_revaluations(self) -> list[str]:
        """Return the watched users whose holdings moved since the last call, each once.

        Costs as much as there are holders of what moved.
        """
        return self._watches.take_moved_users()

    def revaluation(self, user_id: str, after_id: int, timestamp: str) -> JsonObject | None:
        """Return the `position:update` of all a user holds whose quote has a later ID.

        None where nothing moved, also when the feed gave a position a price after the quote:
        then the fact that did so says it.
        """
        account = self._accounts.get(user_id)
        return None if account is None else account.portfolio.revaluation(after_id, timestamp)

    # What is true now

    def orders_snapshot(self, user_id: str, timestamp: str) -> JsonObject:
        """Return the `order:update` that opens a stream; without orders where none are known."""
        return self._account(user_id).orders.snapshot(timestamp)

    def positions_snapshot(self, user_id: str, timestamp: str) -> JsonObject:
        """Return the `position:update` that opens a stream, valued at the last quotes."""
        return self._account(user_id).portfolio.snapshot(timestamp)

    def prices_snapshot(self, symbols: frozenset[str] | None, timestamp: str) -> JsonObject:
        """Return the `price:update` that opens a stream: of these symbols, or of all (None)."""
        return self._prices.snapshot(symbols, timestamp)

    def quotes_after(self, symbols: frozenset[str] | None, after_id: int) -> list[Quote]:
        """Return the last quotes with a later ID, in the order of their IDs.

        Args:
            symbols: Whose quotes; None for all, at a cost per known instrument.
            after_id: 0 for all.
        """
        return self._prices.after(symbols, after_id)

    def agent_statuses_after(self, after_id: int) -> list[Event]:
        """Return each agent's last status with a later ID, in the order of their IDs."""
        later = (event for event in self._agents.values() if event.id > after_id)
        return sorted(later, key=attrgetter("id"))

    # Counters

    @property
    def user_count(self) -> int:
        """Users with orders or positions."""
        return len(self._accounts)

    @property
    def instrument_count(self) -> int:
        """Instruments with a last price."""
        return len(self._quotes)

    def take_evictions(self) -> dict[str, int]:
        """Return how many went past each limit since the last call; kinds without any are left out.

        The kinds are `agents`, `instruments`, `orders`, `positions` and `users`.
        """
        evictions = dict(self._evictions)
        self._evictions.clear()
        return evictions

    # Warm restart

    def saved(self) -> Iterator[SavedQuote | SavedOrders | SavedPosition]:
        """Return the last quotes, then every user's orders and positions.

        Each user's are of one moment; the rest may change meanwhile.
        """
        for symbol in list(self._quotes):
            quote = self._quotes.get(symbol)
            if quote is not None:
                yield SavedQuote(pack_id(quote.id), symbol, msgspec.json.encode(quote.data))
        for user_id in list(self._accounts):
            account = self._accounts.get(user_id)
            if account is not None:
                yield from _saved_account(user_id, account)

    def restore(self, record: SavedQuote | SavedOrders | SavedPosition) -> None:
        """Take over what was saved, in the order it was saved in."""
        if isinstance(record, SavedQuote):
            data = msgspec.json.decode(record.data, type=JsonObject)
            self.set_price(Quote(unpack_id(record.event_id), record.symbol, data["price"], data))
            return
        account = self._account(record.user_id)
        if isinstance(record, SavedOrders):
            orders = msgspec.json.decode(record.orders, type=list[JsonObject])
            account.orders.restore(orders, record.finished)
        else:
            account.portfolio.restore(record)
        self._keep(record.user_id, account)

    # Accounts

    def _account(self, user_id: str) -> _Account:
        """Return what is known of a user; of one not known, an empty account not yet kept."""
        account = self._accounts.get(user_id)
        if account is None:
            limits = self._limits
            account = _Account(
                Orders(limits.max_orders_per_user, self._evictions),
                Portfolio(limits.max_positions_per_user, self._prices, self._evictions),
            )
        return account

    def _keep(self, user_id: str, account: _Account) -> None:
        """Bring the books up to date after an account was touched; an empty one is dropped."""
        orders, positions = len(account.orders), len(account.portfolio)
        self.order_count += orders - account.counted_orders
        self.position_count += positions - account.counted_positions
        account.counted_orders = orders
        account.counted_positions = positions
        if orders or positions:
            if user_id not in self._accounts:
                self._make_room()
                self._accounts[user_id] = account
            self._accounts.move_to_end(user_id)
        else:
            self._accounts.pop(user_id, None)

    def _make_room(self) -> None:
        """Forget the longest untouched user who is not watched, if there is no room for one more.

        To be watched counts as a touch, so those who are do not stand in the way again and
        again. Where all are watched the longest untouched goes all the same.
        """
        if len(self._accounts) < self._max_users:
            return
        for _ in range(len(self._accounts)):
            user_id = next(iter(self._accounts))
            if user_id not in self._watches:
                break
            self._accounts.move_to_end(user_id)
        user_id, account = self._accounts.popitem(last=False)
        self.order_count -= account.counted_orders
        self.position_count -= account.counted_positions
        self._evictions["users"] += 1
        self._watches.index(user_id, frozenset())


def _saved_account(user_id: str, account: _Account) -> list[SavedOrders | SavedPosition]:
    """Return the records of one user, all of the same moment."""
    records: list[SavedOrders | SavedPosition] = list(account.portfolio.saved(user_id))
    if len(account.orders):
        orders = account.orders.snapshot("")["orders"]
        records.append(SavedOrders(user_id, msgspec.json.encode(orders), account.orders.finished))
    return records
