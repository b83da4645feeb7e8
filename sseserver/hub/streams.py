"""The life of a stream: opened, found by its session, ended with a farewell.

What it is sent in between is the work of `hub.catch_up` and its audience. A stream ends in one
of two ways. At once, when its right to be told is gone (session, strategy); or after the facts
that are still held for it, when only its time is over (shutdown, too many connections): the
process, or the 204 to its return, leaves no other chance to have them.
"""

from collections.abc import Callable
from typing import Final

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import LimitsConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import CloseReason
from sseserver.event_id import EventIdGenerator, format_event_id
from sseserver.events import Topic
from sseserver.hub.audiences import Audiences
from sseserver.hub.catch_up import CatchUp
from sseserver.hub.connection_limit import ConnectionLimit
from sseserver.hub.farewells import Farewells
from sseserver.hub.replay_buffer import ReplayBuffer
from sseserver.hub.resume import plan_opening
from sseserver.hub.slow_consumers import SlowConsumers
from sseserver.hub.state_source import StateSource
from sseserver.hub.subscription import Farewell, Sink, StreamRequest, Subscription
from sseserver.hub.users import User, Users
from sseserver.metrics import Counters
from sseserver.wire.compression import prologue
from sseserver.wire.sse_frame import FrameEncoder, chunk

_NO_EVENTS: Final = ReplayBuffer()


class Streams:
    """Opens, resumes and ends streams.

    Attributes:
        clients: Every open stream by client ID.
        catch_up: Hands streams what they lack.
        connection_limit: Ends a user's oldest stream when there is one too many.
        start_id: IDs up to this one are from before anything was known.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        users: Users,
        audiences: Audiences,
        slow_consumers: SlowConsumers,
        wheel: TimerWheel,
        state: StateSource,
        ids: EventIdGenerator,
        frames: FrameEncoder,
        clock: Clock,
        counters: Counters,
        limits: LimitsConfig,
        start_id: int,
        random_below: Callable[[int], int],
    ) -> None:
        self._users = users
        self._audiences = audiences
        self._slow_consumers = slow_consumers
        self._farewells = Farewells(users, audiences, ids, frames, clock)
        self._state = state
        self._ids = ids
        self._clock = clock
        self._counters = counters
        self.start_id = start_id
        self._random_below = random_below
        self._by_session: dict[bytes, dict[Subscription, None]] = {}
        self.frames = frames
        self.limits = limits
        self.clients: dict[str, Subscription] = {}
        self.catch_up = CatchUp(
            users=users,
            audiences=audiences,
            slow_consumers=slow_consumers,
            state=state,
            ids=ids,
            frames=frames,
            clock=clock,
            limits=limits,
            say_farewell=self._say_farewell,
        )
        self.connection_limit = ConnectionLimit(
            users=users,
            wheel=wheel,
            clock=clock,
            counters=counters,
            limits=limits,
            end=self.end,
            end_at_once=self.end_at_once,
        )

    def configure(self, limits: LimitsConfig) -> None:
        """Take new limits."""
        self.limits = limits
        self.catch_up.limits = limits
        self.connection_limit.limits = limits
        self._slow_consumers.limits = limits

    def open(
        self, request: StreamRequest, sink: Sink, write: Callable[[bytes], None], head: bytes
    ) -> Subscription:
        """Open a stream: write its head, `connected`, gap, replay and snapshot, and go live.

        Args:
            request: What was asked for, after all checks.
            sink: The connection.
            write: Hands bytes to its transport.
            head: The HTTP response head, written in one piece with what comes first.

        Source: contract section 4, "What a stream sends, in this order".
        """
        now = self._clock.monotonic()
        user = None if request.user_id is None else self._users.obtain(request.user_id, now)
        start = prologue(request.encoding)
        head += chunk(start) if start and request.is_chunked else start
        subscription = Subscription(request, self._client_id(request), sink, write, head)
        self.clients[subscription.client_id] = subscription
        if request.session_key is not None:
            self._by_session.setdefault(request.session_key, {})[subscription] = None
        if user is not None:
            self._connect(subscription, user)
        self._counters.streams_opened[_name(request)] = (
            self._counters.streams_opened.get(_name(request), 0) + 1
        )
        self.catch_up.advance(subscription, self._opening(subscription, user))
        return subscription

    def resume(self, subscription: Subscription) -> None:
        """Go on with a stream whose transport has drained."""
        self.catch_up.advance(subscription)

    def note_paused(self, subscription: Subscription) -> None:
        """Note back-pressure of a stream's transport."""
        self.catch_up.note_paused(subscription)

    def settle(self) -> None:
        """Park what has been paused since the last call."""
        self.catch_up.settle()

    def end(self, subscription: Subscription, farewell: Farewell) -> None:
        """End a stream properly, once it has been handed the facts that are held for it.

        What is published later is not for it any more; its farewell's ID, from which the
        client can resume, stands between the two. A stream that is ending already ends as it was
        to: what came after its end has not been kept for it.
        """
        if subscription.farewell is not None:
            return
        if subscription.audience is not None:
            self.end_at_once(subscription, farewell)
            return
        user = self._users.of(subscription)
        lacks_facts = user is not None and next(user.lacked_by(subscription), None) is not None
        subscription.farewell = farewell
        subscription.end_id = self._ids.next(self._clock.wall_ms())
        if not (lacks_facts and subscription.sink.is_paused):
            self.catch_up.advance(subscription)

    def end_at_once(self, subscription: Subscription, farewell: Farewell) -> None:
        """End a stream properly, without what it still lacks."""
        audience = subscription.audience
        if audience is not None and audience.is_dirty:
            self._audiences.flush_one(audience, self._clock.monotonic())
        event_id = self._farewells.resume_point(subscription)
        subscription.farewell = farewell
        self._finish(subscription, event_id)

    def end_session(self, session_key: bytes) -> int:
        """End the streams of a session that is no longer valid; return how many."""
        subscriptions = list(self._by_session.get(session_key, ()))
        for subscription in subscriptions:
            self.expire(subscription)
        return len(subscriptions)

    def of_session(self, session_key: bytes) -> list[Subscription]:
        """Return the streams that a session vouches for."""
        return list(self._by_session.get(session_key, ()))

    def expire(self, subscription: Subscription) -> None:
        """End a stream whose session has expired or was revoked."""
        payload = {
            "message": "The session has expired or was revoked",
            "timestamp": iso_timestamp(self._clock.wall_ms()),
        }
        farewell = Farewell(CloseReason.SESSION_EXPIRED, "session:expired", payload)
        self.end_at_once(subscription, farewell)

    def end_route(self, user: User, route: str, reason: CloseReason) -> None:
        """End the streams of a user that carry a route which is gone."""
        for subscription in list(user.connections):
            if route in subscription.request.routes:
                self.end_at_once(subscription, Farewell(reason))

    def leave(self, subscription: Subscription) -> None:
        """Forget a stream whose connection is gone or is being ended."""
        if not subscription.is_open:
            return
        subscription.is_open = False
        request = subscription.request
        self.clients.pop(subscription.client_id, None)
        self.connection_limit.forget(subscription)
        self._slow_consumers.forget(subscription)
        self.catch_up.leave(subscription)
        if request.session_key is not None:
            streams = self._by_session[request.session_key]
            del streams[subscription]
            if not streams:
                del self._by_session[request.session_key]
        if request.user_id is None:
            return
        if Topic.POSITIONS in request.routes:
            self._state.unwatch(request.user_id)
        user = self._users.get(request.user_id)
        assert user is not None, "a user is known while it has connections"
        self._users.disconnect(user, subscription, self._clock.monotonic())

    def _client_id(self, request: StreamRequest) -> str:
        user_id = "anonymous" if request.user_id is None else request.user_id
        wall_ms = self._clock.wall_ms()
        while (client_id := f"{user_id}-{request.stream}-{wall_ms}") in self.clients:
            wall_ms += 1
        return client_id

    def _connect(self, subscription: Subscription, user: User) -> None:
        routes = subscription.request.routes
        self._users.connect(user, subscription)
        user.parked[subscription] = self._ids.last
        if subscription.request.is_counted:
            self.connection_limit.make_room(user)
        if Topic.POSITIONS in routes:
            self._state.watch(user.user_id)
            if Topic.POSITIONS not in user.routes:
                user.revalued_id = self._ids.last

    def _opening(self, subscription: Subscription, user: User | None) -> bytes:
        request = subscription.request
        wall_ms = self._clock.wall_ms()
        timestamp = iso_timestamp(wall_ms)
        opening = plan_opening(
            None if user is None else request.last_event_id,
            request.routes,
            _NO_EVENTS if user is None else user.buffer,
            self._ids,
            start_id=self.start_id,
            wants_replay=request.wants_replay,
            now_ms=wall_ms,
        )
        connected = {
            "clientId": subscription.client_id,
            "stream": request.stream,
            "correlationId": request.correlation_id,
            "replay": len(opening.replay),
            "timestamp": timestamp,
        }
        spread_ms = self.frames.retry_spread_ms
        retry_ms = self.frames.retry_ms + self._random_below(spread_ms + 1) if spread_ms else None
        plain = self.frames.single("connected", connected, opening.connected_id, retry_ms)
        if opening.gap is not None:
            assert request.last_event_id is not None, "a gap follows a last event ID"
            gap = {
                "lastEventId": format_event_id(request.last_event_id),
                "reason": opening.gap,
            }
            plain += self.frames.single("stream:gap", gap, opening.gap_id)
        self._counters.replayed_events += len(opening.replay)
        subscription.last_id = opening.replay[0].id - 1 if opening.replay else self._ids.last
        subscription.first_id = opening.connected_id or subscription.last_id
        return plain

    def _say_farewell(self, subscription: Subscription) -> None:
        """End a stream that has been handed everything before its end."""
        self._finish(subscription, subscription.end_id)

    def _finish(self, subscription: Subscription, event_id: int | None) -> None:
        farewell = subscription.farewell
        assert farewell is not None, "only a stream that ends is said farewell to"
        user = self._users.of(subscription)
        is_limit = farewell.reason is CloseReason.CONNECTION_LIMIT
        if is_limit and user is not None and event_id is not None:
            user.remember_limit_id(event_id)
        self.leave(subscription)
        last_bytes = self._farewells.last_bytes(subscription, farewell, event_id)
        subscription.sink.finish(last_bytes, farewell.reason)


def _name(request: StreamRequest) -> str:
    return request.stream.partition("/")[0]
