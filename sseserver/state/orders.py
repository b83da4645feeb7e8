"""One user's orders: what is known of each, newest values over older ones.

Stored orders are replaced, never modified, so a snapshot that was handed out stays what it was.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from sseserver.events import JsonObject
from sseserver.state.decimals import to_decimal

FINISHED: Final = frozenset({"filled", "canceled", "rejected", "expired"})
"""States in which an order is the first to go past the limit (contract section 3)."""

MAX_KEPT_FIELDS: Final = 128
"""Fields of a stored order before the oldest unknown ones are forgotten.

Brokers' order objects have 35 (Alpaca) to some 100 (FIX) fields. Without a limit a feed that
invents a new field with every update would grow one order for ever.
"""

_KNOWN_FIELDS: Final = frozenset(
    {
        "orderId",
        "symbol",
        "side",
        "qty",
        "status",
        "filledQty",
        "filledAvgPrice",
        "limitPrice",
        "reason",
        "timestamp",
    }
)


class Orders:
    """The orders of one user, in the order they were first seen.

    Past the limit the order goes that has been finished for longest; where none is finished,
    the one first seen.

    Args:
        max_orders: The limit.
        evictions: Where it is counted, under `orders`.
    """

    __slots__ = ("_evictions", "_finished", "_max_orders", "_orders")

    def __init__(self, max_orders: int, evictions: Counter[str]) -> None:
        self._max_orders = max_orders
        self._evictions = evictions
        self._orders: dict[str, JsonObject] = {}
        self._finished: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._orders)

    def update(self, data: JsonObject) -> None:
        """Merge an `order:update`: fields it does not give keep their value."""
        self._store(data["orderId"], data)
        self._evict()

    def fill(self, data: JsonObject) -> None:
        """Set `data["status"]` of an `order:fill` and merge it into the order.

        The status is `filled` when the cumulative `filledQty` reaches the order's `qty`, else
        `partially_filled`. A fill does not change the size of an order whose size is known;
        of another, its own `qty` decides.

        Source: contract section 3.
        """
        order_id: str = data["orderId"]
        given = data.get("qty")
        qty = self._orders.get(order_id, {}).get("qty", given)
        is_filled = qty is not None and to_decimal(data["filledQty"]) >= to_decimal(qty)
        data["status"] = "filled" if is_filled else "partially_filled"
        self._store(order_id, data if qty is given else {**data, "qty": qty})
        self._evict()

    def replace(self, orders: Iterable[JsonObject]) -> None:
        """Forget everything and take these orders; of two with one ID, the later."""
        self._orders.clear()
        self._finished.clear()
        for order in orders:
            order_id: str = order["orderId"]
            self._orders.pop(order_id, None)
            self._store(order_id, order)
        self._evict()

    def snapshot(self, timestamp: str) -> JsonObject:
        """Return the `order:update` that opens an order stream (contract section 4)."""
        return {"snapshot": True, "orders": list(self._orders.values()), "timestamp": timestamp}

    @property
    def finished(self) -> list[str]:
        """IDs of the finished orders, the longest finished first."""
        return list(self._finished)

    def restore(self, orders: Iterable[JsonObject], finished: Iterable[str]) -> None:
        """Take over what was saved; the order in which it finished too."""
        for order in orders:
            self._store(order["orderId"], order)
        known = [order_id for order_id in finished if order_id in self._finished]
        self._finished = dict.fromkeys([*known, *self._finished])
        self._evict()

    def _store(self, order_id: str, data: JsonObject) -> None:
        stored = self._orders.get(order_id, {})
        order = {**stored, **data}
        excess = len(order) - MAX_KEPT_FIELDS
        if excess > 0:
            old = [name for name in stored if name not in data and name not in _KNOWN_FIELDS]
            for name in old[:excess]:
                del order[name]
        self._orders[order_id] = order
        if order["status"] in FINISHED:
            self._finished.setdefault(order_id)
        else:
            self._finished.pop(order_id, None)

    def _evict(self) -> None:
        while len(self._orders) > self._max_orders:
            order_id = next(iter(self._finished or self._orders))
            del self._orders[order_id]
            self._finished.pop(order_id, None)
            self._evictions["orders"] += 1
