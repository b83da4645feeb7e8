"""Users: their replay buffers and connections, and how both are bounded.

A user is known while it has connections or buffered events. Buffers are dropped `ttl_seconds`
after the last client left (after the last event, for a user that never had one), past
`max_users`, and past `max_bytes`; users without connections lose theirs first, the longest idle
one before others (contract section 2); after them a user loses its own, so that a noisy one
costs the quiet ones nothing. What was dropped is remembered as one ID a user, so that a client
that resumes is told of its gap.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import structlog

from sseserver.config import BufferConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import GapReason
from sseserver.events import Event
from sseserver.hub.replay_buffer import Loss, ReplayBuffer
from sseserver.hub.subscription import Subscription
from sseserver.saved import SavedBuffer, SavedLoss, pack_id, unpack_id

if TYPE_CHECKING:
    from sseserver.delivery.audience import Audience

_REMEMBERED_LIMIT_IDS: Final = 20
"""`connection:limit` IDs remembered for each user (contract section 4)."""

_MAX_LOSSES: Final = 100_000

_log = structlog.get_logger()


class User:
    """One user's replay buffer, audiences by route, and connections.

    `parked` holds the streams that lack something, each with the ID up to which it was told of
    the state; `revalued_id` is the ID of the last re-valuation that went to the others.
    """

    __slots__ = (
        "_on_timer",
        "buffer",
        "connections",
        "counted",
        "idle_since",
        "limit_ids",
        "parked",
        "revalued_id",
        "routes",
        "timer_slot",
        "user_id",
        "was_connected",
    )

    def __init__(
        self, user_id: str, buffer: ReplayBuffer, on_timer: Callable[["User", float], float | None]
    ) -> None:
        self.user_id = user_id
        self.buffer = buffer
        self.routes: dict[str, list[Audience]] = {}
        self.connections: dict[Subscription, None] = {}
        self.counted: dict[Subscription, None] = {}
        self.parked: dict[Subscription, int] = {}
        self.limit_ids: deque[int] | None = None
        self.revalued_id = 0
        self.idle_since = 0.0
        self.was_connected = False
        self.timer_slot = -1
        self._on_timer = on_timer

    def remember_limit_id(self, event_id: int) -> None:
        """Remember the ID of a `connection:limit` event, to know its reader when it returns."""
        if self.limit_ids is None:
            self.limit_ids = deque(maxlen=_REMEMBERED_LIMIT_IDS)
        self.limit_ids.append(event_id)

    def lacked_by(self, subscription: Subscription) -> Iterator[Event]:
        """Return the facts that a stream has not been handed, oldest first."""
        yield from subscription.held or ()
        yield from filter(subscription.lacks, self.buffer.events)

    def on_timer(self, now: float) -> float | None:
        """Drop the buffer when its time has come."""
        return self._on_timer(self, now)


class Users:
    """All users by ID.

    Args:
        config: Limits of the buffers.
        wheel: Where the buffers' deadlines stand.
    """

    def __init__(self, config: BufferConfig, wheel: TimerWheel) -> None:
        self.config = config
        self._wheel = wheel
        self._users: dict[str, User] = {}
        self._idle: OrderedDict[str, User] = OrderedDict()
        self._filled: dict[str, User] = {}
        self._losses: OrderedDict[str, Loss] = OrderedDict()
        self._forgotten_loss: Loss | None = None
        self._overflows: dict[str, int] = {}
        self._just_logged: set[str] = set()
        self.buffered_bytes = 0
        self.buffered_events = 0
        self.evicted_events = 0
        self.dropped_buffers = 0

    def __len__(self) -> int:
        return len(self._users)

    def get(self, user_id: str) -> User | None:
        """Return a user that is known."""
        return self._users.get(user_id)

    def of(self, subscription: Subscription) -> User | None:
        """Return the user of a stream; None on the price stream."""
        user_id = subscription.request.user_id
        return None if user_id is None else self._users.get(user_id)

    def connected(self) -> list[User]:
        """Return the users that have connections."""
        return [user for user in self._users.values() if user.connections]

    def obtain(self, user_id: str, now: float) -> User:
        """Return a user, made known when it is not."""
        user = self._users.get(user_id)
        if user is None:
            while len(self._users) >= self.config.max_users and self._idle:
                self._drop(next(iter(self._idle.values())), GapReason.EVICTED)
            loss = self._losses.pop(user_id, self._forgotten_loss)
            user = User(user_id, ReplayBuffer(loss), self._expire)
            self._users[user_id] = user
            self._rest(user, now)
        return user

    def append(self, user: User, event: Event, now: float) -> None:
        """Keep a fact in its user's buffer and let the oldest go past the limits."""
        buffer = user.buffer
        if not buffer.events:
            self._filled[user.user_id] = user
        self.buffered_bytes += buffer.append(event)
        self.buffered_events += 1
        if not user.was_connected:
            user.idle_since = now
            self._idle.move_to_end(user.user_id)
        while len(buffer.events) > self.config.events_per_user:
            self._evict(user)
        while self.buffered_bytes > self.config.max_bytes:
            self._make_room(user)

    def connect(self, user: User, subscription: Subscription) -> None:
        """Note that a user has one more connection."""
        user.was_connected = True
        user.connections[subscription] = None
        if subscription.request.is_counted:
            user.counted[subscription] = None
        self._idle.pop(user.user_id, None)
        self._wheel.cancel(user)

    def disconnect(self, user: User, subscription: Subscription, now: float) -> None:
        """Note that a connection has gone; the last one starts the buffer's time to live."""
        user.connections.pop(subscription, None)
        user.counted.pop(subscription, None)
        user.parked.pop(subscription, None)
        if user.connections:
            return
        if user.buffer.newest_id():
            self._rest(user, now)
        else:
            self._drop(user, GapReason.EXPIRED)

    def saved(self, now: float, cut_id: int) -> Iterator[SavedLoss | SavedBuffer]:
        """Return what is lost of former buffers, then the buffers up to an ID.

        They may change meanwhile; a user's loss comes before its buffer.
        """
        if self._forgotten_loss is not None:
            yield _saved_loss(None, self._forgotten_loss)
        for user_id in list(self._losses):
            loss = self._losses.get(user_id)
            if loss is not None:
                yield _saved_loss(user_id, loss)
        for user_id in list(self._users):
            user = self._users.get(user_id)
            if user is not None and (user.buffer.newest_id() or user.limit_ids):
                yield from _saved_user(user, now, cut_id)

    def restore_loss(self, record: SavedLoss) -> None:
        """Take over what was saved of a former buffer, before any other is restored."""
        loss = Loss(unpack_id(record.last_id), GapReason(record.reason))
        if record.user_id is None:
            self._forgotten_loss = loss
        else:
            self._losses[record.user_id] = loss

    def restore(self, record: SavedBuffer, events: Iterable[Event], now: float) -> None:
        """Take over a buffer, those first that have been idle for longest.

        Args:
            record: What was saved of it.
            events: Its events.
            now: Monotonic seconds.
        """
        user = User(
            record.user_id, ReplayBuffer(self._losses.pop(record.user_id, None)), self._expire
        )
        user.was_connected = record.was_connected
        user.buffer.restore(record)
        for event_id in record.limit_ids:
            user.remember_limit_id(unpack_id(event_id))
        self._users[record.user_id] = user
        self._rest(user, now - record.idle_seconds)
        for event in events:
            self.append(user, event, user.idle_since)
        while len(self._users) > self.config.max_users:
            self._drop(next(iter(self._idle.values())), GapReason.EVICTED)

    def log_overflows(self) -> None:
        """Log what overflowed since it was last logged, once a user; called every minute.

        A first overflow is logged when it happens, and its user not at the next call: that may
        come a moment later.
        """
        again = {}
        for user_id, count in self._overflows.items():
            if user_id in self._just_logged:
                again[user_id] = count
            elif count:
                _log.warning("buffer_overflow", user_id=user_id, evicted_events=count)
                again[user_id] = 0
        self._overflows = again
        self._just_logged.clear()

    def _rest(self, user: User, now: float) -> None:
        user.idle_since = now
        self._idle[user.user_id] = user
        self._wheel.schedule(user, now + self.config.ttl_seconds)

    def _expire(self, user: User, now: float) -> float | None:
        due = user.idle_since + self.config.ttl_seconds
        if now < due:
            return due
        _log.info("buffer_cleared", user_id=user.user_id, events=len(user.buffer))
        self._drop(user, GapReason.EXPIRED)
        return None

    def _drop(self, user: User, reason: GapReason) -> None:
        self._wheel.cancel(user)
        self._idle.pop(user.user_id, None)
        del self._users[user.user_id]
        if self._filled.pop(user.user_id, None) is not None:
            self.buffered_bytes -= user.buffer.size_bytes
            self.buffered_events -= len(user.buffer)
            self.dropped_buffers += 1
        lost_id = user.buffer.newest_id()
        if lost_id:
            self._losses[user.user_id] = Loss(lost_id, reason)
            if len(self._losses) > _MAX_LOSSES:
                forgotten = self._losses.popitem(last=False)[1]
                if self._forgotten_loss is None or self._forgotten_loss < forgotten:
                    self._forgotten_loss = forgotten

    def _make_room(self, user: User) -> None:
        """Free memory past `max_bytes`; every call drops a buffer or an event.

        A user who fills all of it alone pays alone. Else idle users go first, then the oldest
        of the publishing user's events; what it has just published stays, as long as anybody
        else has something left.
        """
        if user.buffer.size_bytes <= self.config.max_bytes:
            for idle in self._idle.values():
                if idle is not user:
                    self._drop(idle, GapReason.EVICTED)
                    return
            if len(user.buffer) == 1:
                self._evict(next(other for other in self._filled.values() if other is not user))
                return
        self._evict(user)

    def _evict(self, user: User) -> None:
        event, size_bytes = user.buffer.evict()
        self.buffered_bytes -= size_bytes
        self.buffered_events -= 1
        self.evicted_events += 1
        if not len(user.buffer):
            del self._filled[user.user_id]
        self._note_overflow(user.user_id)
        for subscription in user.parked:
            if subscription.lacks(event):
                subscription.hold(event)

    def _note_overflow(self, user_id: str) -> None:
        count = self._overflows.get(user_id)
        if count is None:
            _log.warning("buffer_overflow", user_id=user_id, evicted_events=1)
            self._overflows[user_id] = 0
            self._just_logged.add(user_id)
        else:
            self._overflows[user_id] = count + 1


def _saved_loss(user_id: str | None, loss: Loss) -> SavedLoss:
    return SavedLoss(user_id, pack_id(loss.last_id), loss.reason)


def _saved_user(user: User, now: float, cut_id: int) -> list[SavedLoss | SavedBuffer]:
    evicted, slow_spans = user.buffer.saved_losses()
    buffer = SavedBuffer(
        user.user_id,
        0.0 if user.connections else now - user.idle_since,
        user.was_connected,
        user.buffer.saved_events(cut_id),
        evicted,
        slow_spans,
        [pack_id(event_id) for event_id in user.limit_ids or ()],
    )
    loss = user.buffer.loss
    return [buffer] if loss is None else [_saved_loss(user.user_id, loss), buffer]
