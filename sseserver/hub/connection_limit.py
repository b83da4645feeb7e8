"""How many connections a user may have, and how the one too many leaves.

The oldest is told and goes (contract section 4). It is handed what is held for it first, for
which it has `LEAVE_SECONDS`; no more leave at once than a user may have, so that a client that
opens connections and does not read takes nobody's place.
"""

from collections.abc import Callable
from typing import Final

import structlog

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import LimitsConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import CloseReason
from sseserver.hub.subscription import Farewell, StreamRequest, Subscription
from sseserver.hub.users import User, Users
from sseserver.metrics import Counters

LEAVE_SECONDS: Final = 2.0
"""How long a connection that is one too many may take to read what is held for it."""

_log = structlog.get_logger()

End = Callable[[Subscription, Farewell], None]


class ConnectionLimit:
    """Makes room for a user's newest connection; an entry of the timer wheel while some leave.

    Args:
        users: Whose connections are counted.
        wheel: Where the end of the leaving ones stands.
        clock: Time.
        counters: Where it is counted who had to go.
        limits: The limit.
        end: Ends a stream once it has been handed what is held for it.
        end_at_once: Ends a stream without that.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        users: Users,
        wheel: TimerWheel,
        clock: Clock,
        counters: Counters,
        limits: LimitsConfig,
        end: End,
        end_at_once: End,
    ) -> None:
        self._users = users
        self._wheel = wheel
        self._clock = clock
        self._counters = counters
        self._end = end
        self._end_at_once = end_at_once
        self._leaving: dict[Subscription, float] = {}
        self.limits = limits
        self.timer_slot = -1

    def is_evicted_return(self, request: StreamRequest) -> bool:
        """Tell whether this is the tab that the limit closed, back while it still holds.

        Source: contract section 4, "Too many connections of one user".
        """
        user = None if request.user_id is None else self._users.get(request.user_id)
        return (
            user is not None
            and request.is_counted
            and user.limit_ids is not None
            and request.last_event_id in user.limit_ids
            and len(user.counted) >= self.limits.connections_per_user
        )

    def make_room(self, user: User) -> None:
        """End the oldest connections of a user who has just got one too many."""
        limit = self.limits.connections_per_user
        while len(user.counted) > limit:
            oldest = next(iter(user.counted))
            payload = {
                "limit": limit,
                "message": f"More than {limit} connections: the oldest was closed",
                "timestamp": iso_timestamp(self._clock.wall_ms()),
            }
            _log.warning(
                "connection_limit",
                user_id=user.user_id,
                client_id=oldest.client_id,
                correlation_id=oldest.request.correlation_id,
                limit=limit,
            )
            self._counters.evicted_connections += 1
            del user.counted[oldest]
            self._end(oldest, Farewell(CloseReason.CONNECTION_LIMIT, "connection:limit", payload))
            if oldest.is_open:
                self._let_leave(user, oldest)

    def forget(self, subscription: Subscription) -> None:
        """Note that a stream has left."""
        self._leaving.pop(subscription, None)

    def on_timer(self, now: float) -> float | None:
        """End those who took too long to leave."""
        for subscription, deadline in list(self._leaving.items()):
            if now < deadline:
                return deadline
            self._hurry(subscription)
        return None

    def _let_leave(self, user: User, subscription: Subscription) -> None:
        leaving = [other for other in user.connections if other in self._leaving]
        if len(leaving) >= self.limits.connections_per_user:
            self._hurry(leaving[0])
        deadline = self._clock.monotonic() + LEAVE_SECONDS
        if not self._leaving:
            self._wheel.schedule(self, deadline)
        self._leaving[subscription] = deadline

    def _hurry(self, subscription: Subscription) -> None:
        assert subscription.farewell is not None, "who leaves has a farewell"
        self._end_at_once(subscription, subscription.farewell)
