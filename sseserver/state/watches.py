"""Which users are watched, and which of them a price concerns.

A user is *watched* while a stream is open that shows their positions. Only watched users are
re-valued when a price moves (contract section 3), and they are found by what they hold: a
price that nobody watched holds costs nothing.
"""

from collections.abc import Set as AbstractSet


class _Watch:
    """How many streams watch one user, and under which symbols the user stands in the index."""

    __slots__ = ("streams", "symbols")

    def __init__(self) -> None:
        self.streams = 0
        self.symbols: frozenset[str] = frozenset()


class Watches:
    """Watched users, indexed by the symbols they hold.

    `Projection.set_price` looks into `holders` and writes to `moved` directly. Both are
    dictionaries for the order that sets do not have: users are re-valued in the order in
    which prices moved.

    Attributes:
        holders: Symbol -> the watched users who hold it; never an empty entry.
        moved: Symbols of `holders` that moved since `take_moved_users`.
    """

    __slots__ = ("_watches", "holders", "moved")

    def __init__(self) -> None:
        self._watches: dict[str, _Watch] = {}
        self.holders: dict[str, dict[str, None]] = {}
        self.moved: dict[str, None] = {}

    def __contains__(self, user_id: str) -> bool:
        return user_id in self._watches

    def add(self, user_id: str, symbols: AbstractSet[str]) -> None:
        """Count one more stream that watches a user, who holds these symbols."""
        self._watches.setdefault(user_id, _Watch()).streams += 1
        self.index(user_id, symbols)

    def remove(self, user_id: str) -> None:
        """Count one stream less; the last one takes the user out of the index."""
        watch = self._watches[user_id]
        watch.streams -= 1
        if not watch.streams:
            self.index(user_id, frozenset())
            del self._watches[user_id]

    def index(self, user_id: str, symbols: AbstractSet[str]) -> None:
        """Note what a user holds now; one who is not watched is passed over."""
        watch = self._watches.get(user_id)
        if watch is None or watch.symbols == symbols:
            return
        for symbol in watch.symbols - symbols:
            holders = self.holders[symbol]
            del holders[user_id]
            if not holders:
                del self.holders[symbol]
        for symbol in symbols - watch.symbols:
            self.holders.setdefault(symbol, {})[user_id] = None
        watch.symbols = frozenset(symbols)

    def take_moved_users(self) -> list[str]:
        """Return who holds what moved since the last call, each once.

        Costs as much as there are holders of what moved.
        """
        users: dict[str, None] = {}
        for symbol in self.moved:
            users.update(self.holders.get(symbol, {}))
        self.moved.clear()
        return list(users)
