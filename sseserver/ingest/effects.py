"""What operations do: to sessions, strategies and a user's state, and to the streams on them.

Nothing is published here and nothing kept for replay. Whatever takes a session or a strategy
away ends the streams on it in the same call: a delete, a put that gives it to somebody else,
and a put of another one past the limit.

Source: contract section 3, the table of operations.
"""

from collections.abc import Callable
from typing import assert_never

from sseserver.clock import Clock, iso_timestamp
from sseserver.errors import CloseReason
from sseserver.events import JsonObject, Topic
from sseserver.hub.hub import Hub
from sseserver.ingest.operations import (
    OperationMessage,
    OrdersPut,
    Ping,
    PositionsPut,
    SessionDelete,
    SessionPut,
    StrategyDelete,
    StrategyPut,
)
from sseserver.state.projection import Projection
from sseserver.state.sessions import SessionChange, Sessions, StrategyOwners, session_key

Redact = Callable[[JsonObject, str], JsonObject]
"""Takes the secrets out of an object; the text is where it stands in the line."""


class Effects:
    """Does what operations say."""

    def __init__(
        self,
        hub: Hub,
        projection: Projection,
        sessions: Sessions,
        strategies: StrategyOwners,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._projection = projection
        self._sessions = sessions
        self._strategies = strategies
        self._clock = clock

    def apply(self, message: OperationMessage, redact: Redact) -> None:
        """Do one operation.

        Args:
            message: The operation.
            redact: Takes secrets out of state that is put.

        Raises:
            FeedError: The state is nested too deep to be redacted. Nothing has changed.
        """
        match message:
            case SessionPut():
                self._put_session(message)
            case SessionDelete():
                key = session_key(message.sessionId)
                self._sessions.delete(key)
                self._hub.streams.end_session(key)
            case StrategyPut():
                self._put_strategy(message)
            case StrategyDelete():
                self._end_strategy(message.strategyId, self._strategies.delete(message.strategyId))
            case OrdersPut():
                self._put_orders(message, redact)
            case PositionsPut():
                self._put_positions(message, redact)
            case Ping():
                pass
            case _:
                assert_never(message)

    def _put_session(self, message: SessionPut) -> None:
        key = session_key(message.sessionId)
        change = self._sessions.put(
            key, message.userId, message.role, message.expires_at_ms, self._clock.wall_ms()
        )
        match change:
            case SessionChange.ENDED | SessionChange.NEW:
                # A new one may find streams of one that expired a moment ago and that have not
                # been looked at since: they must not live on under another user.
                self._hub.streams.end_session(key)
            case SessionChange.RENEWED:
                for subscription in self._hub.streams.of_session(key):
                    subscription.sink.rearm()
            case _:
                assert_never(change)
        for evicted in self._sessions.take_evicted():
            self._hub.streams.end_session(evicted)

    def _put_strategy(self, message: StrategyPut) -> None:
        previous = self._strategies.put(message.strategyId, message.userId)
        if previous != message.userId:
            self._end_strategy(message.strategyId, previous)
        for strategy_id, owner in self._strategies.take_evicted():
            self._end_strategy(strategy_id, owner)

    def _end_strategy(self, strategy_id: str, owner: str | None) -> None:
        user = None if owner is None else self._hub.users.get(owner)
        if user is not None:
            route = f"{Topic.STRATEGIES}/{strategy_id}"
            self._hub.streams.end_route(user, route, CloseReason.STRATEGY_GONE)

    def _put_orders(self, message: OrdersPut, redact: Redact) -> None:
        orders = [redact(order, "$.orders") for order in message.orders]
        self._projection.put_orders(message.userId, orders)
        if message.notify:
            timestamp = iso_timestamp(self._clock.wall_ms())
            snapshot = self._projection.orders_snapshot(message.userId, timestamp)
            self._hub.push_state(message.userId, Topic.ORDERS, "order:update", snapshot)

    def _put_positions(self, message: PositionsPut, redact: Redact) -> None:
        positions = [redact(position, "$.positions") for position in message.positions]
        event_id = self._hub.ids.next(self._clock.wall_ms())
        self._projection.put_positions(message.userId, positions, event_id)
        if message.notify:
            timestamp = iso_timestamp(self._clock.wall_ms())
            snapshot = self._projection.positions_snapshot(message.userId, timestamp)
            self._hub.push_state(message.userId, Topic.POSITIONS, "position:update", snapshot)
