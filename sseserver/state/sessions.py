"""Who may open which stream: sessions with their roles, and the owners of strategies.

A session is known by the SHA-256 of its ID; the ID itself is never stored, so neither a state
file nor a memory dump lets anybody in (contract section 6).
"""

import hashlib
import heapq
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from sseserver.saved import SavedSession, SavedStrategy

Role: TypeAlias = Literal["user", "admin"]

_SPARE_EXPIRIES: Final = 64
"""Stale entries that are always tolerated, so that a handful of sessions never costs a rebuild."""


class SessionChange(StrEnum):
    """What a `session.put` means for streams that were opened with this session."""

    NEW = "new"
    """There are none: it was not known, or had expired."""
    RENEWED = "renewed"
    """They go on, until the new expiry."""
    ENDED = "ended"
    """They must end: the session belongs to another user or role now, or has expired."""


@dataclass(slots=True)
class Session:
    """A session that may open streams.

    A renewal changes `expires_at_ms` of this object (Unix time in milliseconds, None for
    never); any other change makes a new one. So a stream may hold on to its session: it is
    still valid when `Sessions.get` returns this very object.
    """

    user_id: str
    role: Role
    expires_at_ms: int | None

    def is_expired(self, now_ms: int) -> bool:
        """Whether it has ended by `now_ms`; at the very millisecond it has."""
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


def session_key(session_id: str) -> bytes:
    """Return what a session is stored under: 32 bytes that do not give its ID away."""
    return hashlib.sha256(session_id.encode()).digest()


class Sessions:
    """Sessions by key, bounded.

    Past the limit the one that expired first goes, else the one put longest ago. Expiries lie
    in a heap with this invariant: every session that expires has an entry no later than its
    expiry. A renewal that extends it adds nothing (the entry is moved on when it comes up),
    and a deletion leaves its entry behind, up to as many as there are sessions.

    Args:
        max_sessions: The limit.
    """

    __slots__ = ("_evicted", "_evictions", "_expiries", "_max_sessions", "_sessions")

    def __init__(self, max_sessions: int) -> None:
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()  # last put at the end
        self._expiries: list[tuple[int, bytes]] = []
        self._evicted: list[bytes] = []
        self._evictions = 0

    @property
    def count(self) -> int:
        """How many are stored, expired ones that nobody asked for since included."""
        return len(self._sessions)

    def put(
        self, key: bytes, user_id: str, role: Role, expires_at_ms: int | None, now_ms: int
    ) -> SessionChange:
        """Make a session valid and say what that means for its open streams.

        One whose expiry has passed is not stored: streams it had must end.
        """
        session = Session(user_id, role, expires_at_ms)
        if session.is_expired(now_ms):
            self.delete(key)
            return SessionChange.ENDED
        known = self.get(key, now_ms)
        if known is not None and (known.user_id, known.role) == (user_id, role):
            self._renew(key, known, expires_at_ms)
            return SessionChange.RENEWED
        self.delete(key)
        self._make_room(now_ms)
        self._sessions[key] = session
        self._expect(key, expires_at_ms)
        return SessionChange.NEW if known is None else SessionChange.ENDED

    def delete(self, key: bytes) -> bool:
        """Revoke a session; whether it was known."""
        return self._sessions.pop(key, None) is not None

    def get(self, key: bytes, now_ms: int) -> Session | None:
        """Return a valid session; one that has expired is forgotten."""
        session = self._sessions.get(key)
        if session is not None and session.is_expired(now_ms):
            del self._sessions[key]
            return None
        return session

    def saved(self) -> Iterator[SavedSession]:
        """Return what is stored, in the order it was put; it may change meanwhile."""
        for key in list(self._sessions):
            session = self._sessions.get(key)
            if session is not None:
                yield SavedSession(key, session.user_id, session.role, session.expires_at_ms)

    def take_evicted(self) -> list[bytes]:
        """Return the keys of valid sessions that went past the limit; their streams must end.

        To be called after every `put`, so that they do not heap up.
        """
        evicted, self._evicted = self._evicted, []
        return evicted

    def take_evictions(self) -> int:
        """Return how many valid sessions went past the limit since the last call."""
        evictions, self._evictions = self._evictions, 0
        return evictions

    def _renew(self, key: bytes, session: Session, expires_at_ms: int | None) -> None:
        before = session.expires_at_ms
        session.expires_at_ms = expires_at_ms
        self._sessions.move_to_end(key)
        if before is None or (expires_at_ms is not None and expires_at_ms < before):
            self._expect(key, expires_at_ms)

    def _expect(self, key: bytes, expires_at_ms: int | None) -> None:
        """Add an expiry; rebuild the heap when most of it is stale."""
        if expires_at_ms is None:
            return
        heapq.heappush(self._expiries, (expires_at_ms, key))
        if len(self._expiries) > 2 * len(self._sessions) + _SPARE_EXPIRIES:
            self._expiries = [
                (session.expires_at_ms, key)
                for key, session in self._sessions.items()
                if session.expires_at_ms is not None
            ]
            heapq.heapify(self._expiries)

    def _make_room(self, now_ms: int) -> None:
        while len(self._sessions) >= self._max_sessions:
            if not self._drop_expired(now_ms):
                key, _ = self._sessions.popitem(last=False)
                self._evicted.append(key)
                self._evictions += 1

    def _drop_expired(self, now_ms: int) -> bool:
        """Forget the session that expired first; whether there was one."""
        expiries = self._expiries
        while expiries and expiries[0][0] <= now_ms:
            _, key = heapq.heappop(expiries)
            session = self._sessions.get(key)
            if session is None or session.expires_at_ms is None:
                continue
            if session.is_expired(now_ms):
                del self._sessions[key]
                return True
            heapq.heappush(expiries, (session.expires_at_ms, key))
        return False


class StrategyOwners:
    """Which user a strategy belongs to, bounded.

    Args:
        max_strategies: Past it the strategy goes that was put longest ago.
    """

    __slots__ = ("_evicted", "_evictions", "_max_strategies", "_owners")

    def __init__(self, max_strategies: int) -> None:
        self._max_strategies = max_strategies
        self._owners: OrderedDict[str, str] = OrderedDict()  # last put at the end
        self._evicted: list[tuple[str, str]] = []
        self._evictions = 0

    @property
    def count(self) -> int:
        """How many strategies are registered."""
        return len(self._owners)

    def put(self, strategy_id: str, user_id: str) -> str | None:
        """Register a strategy and return its owner up to now, None for a new one."""
        previous = self._owners.pop(strategy_id, None)
        self._owners[strategy_id] = user_id
        if len(self._owners) > self._max_strategies:
            self._evicted.append(self._owners.popitem(last=False))
            self._evictions += 1
        return previous

    def delete(self, strategy_id: str) -> str | None:
        """Forget a strategy and return who owned it, None where it was not known."""
        return self._owners.pop(strategy_id, None)

    def owner(self, strategy_id: str) -> str | None:
        """Return the user a strategy belongs to, None where it is not known."""
        return self._owners.get(strategy_id)

    def saved(self) -> Iterator[SavedStrategy]:
        """Return what is registered, in the order it was put; it may change meanwhile."""
        for strategy_id in list(self._owners):
            owner = self._owners.get(strategy_id)
            if owner is not None:
                yield SavedStrategy(strategy_id, owner)

    def take_evicted(self) -> list[tuple[str, str]]:
        """Return strategies that went past the limit, with their owners; their streams must end.

        To be called after every `put`, so that they do not heap up.
        """
        evicted, self._evicted = self._evicted, []
        return evicted

    def take_evictions(self) -> int:
        """Return how many strategies went past the limit since the last call."""
        evictions, self._evictions = self._evictions, 0
        return evictions
