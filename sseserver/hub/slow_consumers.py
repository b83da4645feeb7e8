"""What parked streams are owed, and when one is too far behind to be kept.

A peer that does not read costs what is kept for it. Past `max_backlog_bytes` it is closed and
can resume; half of that may wait in the transport, so what is owed beside it is held to the
other half (contract section 5).
"""

from itertools import islice
from typing import Final, NamedTuple

from sseserver.clock import Clock
from sseserver.config import LimitsConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import CloseReason
from sseserver.events import Event
from sseserver.hub.subscription import Subscription
from sseserver.hub.users import User, Users
from sseserver.metrics import Counters
from sseserver.wire.sse_frame import FrameEncoder

_LOOK_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 1.0
"""Who is too far behind is closed when it has taken nothing for one look, or after the grace.

A burst may come in within one turn of the loop, in which no peer can read. What is kept longer
for that is bounded for all streams together: by what feeds can write in this time.
"""


class _Lag(NamedTuple):
    """Since when a stream is too far behind, and how far it was at the last look."""

    since: float
    last_id: int


class SlowConsumers:
    """Counts what parked streams are owed; an entry of the timer wheel while some lag."""

    def __init__(
        self,
        *,
        users: Users,
        wheel: TimerWheel,
        clock: Clock,
        frames: FrameEncoder,
        counters: Counters,
        limits: LimitsConfig,
    ) -> None:
        self._users = users
        self._wheel = wheel
        self._clock = clock
        self._frames = frames
        self._counters = counters
        self._lagging: dict[Subscription, _Lag] = {}
        self.limits = limits
        self.timer_slot = -1

    def owe(self, user: User, event: Event, size_bytes: int) -> None:
        """Count a fact for the parked streams that lack it; those too far behind are looked at.

        An opening is paced, not counted (contract section 2).
        """
        limit = self.limits.max_backlog_bytes // 2
        for subscription in user.parked:
            if not subscription.sink.is_paused:
                continue
            if not subscription.is_parked:
                kept_bytes = self._kept_bytes(subscription)
            elif subscription.lacks(event):
                kept_bytes = subscription.owe(size_bytes)
            else:
                continue
            if kept_bytes > limit and subscription not in self._lagging:
                now = self._clock.monotonic()
                if not self._lagging:
                    self._wheel.schedule(self, now + _LOOK_SECONDS)
                self._lagging[subscription] = _Lag(now, subscription.last_id)

    def recount(self, subscription: Subscription, user: User) -> None:
        """Count anew what a parked stream is owed, after it has taken some of it."""
        subscription.forgive()
        for event in user.lacked_by(subscription):
            subscription.owe(len(self._frames.frame(event)))

    def forget(self, subscription: Subscription) -> None:
        """Look no more at a stream that has ended."""
        self._lagging.pop(subscription, None)

    def on_timer(self, now: float) -> float | None:
        """Close who is too far behind and does not read, or does not catch up."""
        limit = self.limits.max_backlog_bytes // 2
        lagging, self._lagging = self._lagging, {}
        for subscription, lag in lagging.items():
            if self._kept_bytes(subscription) <= limit:
                continue
            if subscription.last_id > lag.last_id and now - lag.since < _GRACE_SECONDS:
                self._lagging[subscription] = lag._replace(last_id=subscription.last_id)
                continue
            user = self._users.of(subscription)
            assert user is not None, "only private streams owe facts"
            user.buffer.note_slow(subscription.first_id, user.buffer.newest_id())
            self._counters.slow_consumers += 1
            subscription.sink.abort(CloseReason.SLOW_CONSUMER)
        return now + _LOOK_SECONDS if self._lagging else None

    def _kept_bytes(self, subscription: Subscription) -> int:
        """Return what a parked stream lacks; of one that never had all, what is kept for it alone.

        The first event is not counted, as in `Subscription.owe`.
        """
        if subscription.is_parked:
            return subscription.owed_bytes
        kept = islice(subscription.held or (), 1, None)
        return sum(len(self._frames.frame(event)) for event in kept)
