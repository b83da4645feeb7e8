"""Who is open: connections in the order in which they came, and when the last one has gone."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Roster(Generic[T]):
    """An ordered set that can be waited on to become empty."""

    __slots__ = ("_emptied", "_members")

    def __init__(self) -> None:
        self._members: dict[T, None] = {}
        self._emptied: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy, the oldest first: members may leave meanwhile."""
        return iter(list(self._members))

    def first(self, is_wanted: Callable[[T], bool]) -> T | None:
        """Return the oldest member that is wanted, without looking at those after it."""
        return next(filter(is_wanted, self._members), None)

    def add(self, member: T) -> None:
        """Note that `member` has come."""
        self._members[member] = None

    def discard(self, member: T) -> None:
        """Note that `member` has gone; nothing happens when it has already."""
        self._members.pop(member, None)
        if not self._members and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def emptied(self) -> None:
        """Wait until nobody is left; one waiter at a time."""
        if self._members:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
