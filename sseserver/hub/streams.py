"""The life of a stream: opened, parked when its peer is slow, resumed, ended.

One mechanism (design section 4). A stream that lacks something is *advanced*: facts after the
last ID it was handed, then its snapshot or the newest of each state, then it is a member of
its audience. Opening is the first advance. A peer that stops reading is parked: it leaves the
audience, keeps its last ID, and is advanced again when its transport has drained. A long
opening is the same case, so no queue per connection exists.

Two invariants hold it together. Nobody leaves an audience for being slow while frames are
queued in it: what is queued may have left the replay buffer already. And what a stream was told
of the *state* is an ID of its own, not its last ID: facts are replayed past state events that
it still lacks.

Everything here is synchronous: nothing can slip between history and live.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import structlog

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import LimitsConfig
from sseserver.delivery.audience import Audience
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import CloseReason
from sseserver.event_id import EventIdGenerator, format_event_id
from sseserver.events import Event, JsonObject, Topic
from sseserver.hub.audiences import Audiences
from sseserver.hub.replay_buffer import ReplayBuffer
from sseserver.hub.resume import plan_opening
from sseserver.hub.state_source import Payload, StateSource
from sseserver.hub.subscription import Sink, StreamRequest, Subscription
from sseserver.hub.users import User, Users
from sseserver.metrics import Counters
from sseserver.wire.compression import epilogue, prologue
from sseserver.wire.sse_frame import LAST_CHUNK, FrameEncoder, chunk

_LARGE_BYTES: Final = 65_536
"""From here on the parts of an opening are written one by one, so that a snapshot which many
connections share is not copied for each of them."""

_LOOK_SECONDS: Final = 0.25
_GRACE_SECONDS: Final = 1.0
"""Who is too far behind is closed when it has taken nothing for one look, or after the grace.

A burst may come in within one turn of the loop, in which no peer can read. What is kept longer
for that is bounded for all streams together: by what feeds can write in this time.
"""

_NO_EVENTS: Final = ReplayBuffer()

_log = structlog.get_logger()


class _Lag(NamedTuple):
    """Since when a stream is too far behind, and how far it was at the last look."""

    since: float
    last_id: int


class Streams:
    """Opens, parks, resumes and ends streams; an entry of the timer wheel while some lag.

    Attributes:
        clients: Every open stream by client ID.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        users: Users,
        audiences: Audiences,
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
        self._wheel = wheel
        self._state = state
        self._ids = ids
        self._clock = clock
        self._counters = counters
        self._start_id = start_id
        self._random_below = random_below
        self._paused: list[Subscription] = []
        self._waiting: dict[Subscription, tuple[Audience, Callable[[], None]]] = {}
        self._lagging: dict[Subscription, _Lag] = {}
        self._by_session: dict[bytes, dict[Subscription, None]] = {}
        self.frames = frames
        self.limits = limits
        self.clients: dict[str, Subscription] = {}
        self.timer_slot = -1

    def open(
        self, request: StreamRequest, sink: Sink, write: Callable[[bytes], None], head: bytes
    ) -> Subscription:
        """Open a stream: write its head, `connected`, gap, replay and snapshot, and go live.

        Args:
            request: What was asked for, after all checks.
            sink: The connection.
            write: Hands bytes to its transport.
            head: The HTTP response head, written first.

        Source: contract section 4, "What a stream sends, in this order".
        """
        now = self._clock.monotonic()
        user = None if request.user_id is None else self._users.obtain(request.user_id, now)
        subscription = Subscription(request, self._client_id(request), sink, write)
        self.clients[subscription.client_id] = subscription
        if request.session_key is not None:
            self._by_session.setdefault(request.session_key, {})[subscription] = None
        if user is not None:
            self._connect(subscription, user)
        self._counters.streams_opened[_name(request)] = (
            self._counters.streams_opened.get(_name(request), 0) + 1
        )
        opening = self._opening(subscription, user)
        start = prologue(request.encoding)
        write(head + (chunk(start) if start and request.is_chunked else start))
        self._advance(subscription, opening)
        return subscription

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

    def note_paused(self, subscription: Subscription) -> None:
        """Note back-pressure; takes effect at `settle`, as it may come amid a flush."""
        self._paused.append(subscription)

    def settle(self) -> None:
        """Park what has been paused since the last call."""
        while self._paused:
            paused, self._paused = self._paused, []
            for subscription in paused:
                audience = subscription.audience
                if audience is None or not subscription.sink.is_paused:
                    continue
                if audience.is_dirty:
                    self._audiences.flush_one(audience, self._clock.monotonic())
                self._park(subscription, self._told_id(subscription))

    def resume(self, subscription: Subscription) -> None:
        """Go on with a stream whose transport has drained."""
        if subscription.audience is None:
            self._advance(subscription)

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
            elif event.id > subscription.last_id and event.route in subscription.request.routes:
                kept_bytes = subscription.owe(size_bytes)
            else:
                continue
            if kept_bytes > limit and subscription not in self._lagging:
                now = self._clock.monotonic()
                if not self._lagging:
                    self._wheel.schedule(self, now + _LOOK_SECONDS)
                self._lagging[subscription] = _Lag(now, subscription.last_id)

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
            user = self._user(subscription)
            assert user is not None, "only private streams owe facts"
            user.buffer.note_slow(subscription.first_id, user.buffer.newest_id())
            self._counters.slow_consumers += 1
            subscription.sink.abort(CloseReason.SLOW_CONSUMER)
            self.leave(subscription)
        return now + _LOOK_SECONDS if self._lagging else None

    def end(
        self,
        subscription: Subscription,
        reason: CloseReason,
        farewell: tuple[str, JsonObject] | None = None,
        retry_ms: int | None = None,
    ) -> int | None:
        """End a stream properly, after a farewell event if there is one.

        Returns:
            The farewell's ID, from which the client can resume; None when it has none.
        """
        audience = subscription.audience
        if audience is not None and audience.is_dirty:
            self._audiences.flush_one(audience, self._clock.monotonic())
        farewell_id = self._farewell_id(subscription)
        plain = b""
        if farewell is not None:
            plain = self.frames.single(*farewell, farewell_id, retry_ms)
        self.leave(subscription)
        subscription.sink.finish(self._tail(subscription, plain), reason)
        return farewell_id

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
        self.end(subscription, CloseReason.SESSION_EXPIRED, ("session:expired", payload))

    def end_route(self, user: User, route: str, reason: CloseReason) -> None:
        """End the streams of a user that carry a route which is gone."""
        for subscription in list(user.connections):
            if route in subscription.request.routes:
                self.end(subscription, reason)

    def leave(self, subscription: Subscription) -> None:
        """Forget a stream whose connection is gone or is being ended."""
        if not subscription.is_open:
            return
        subscription.is_open = False
        request = subscription.request
        self.clients.pop(subscription.client_id, None)
        self._lagging.pop(subscription, None)
        self._leave_audience(subscription)
        self._stop_waiting(subscription)
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
            self._make_room(user)
        if Topic.POSITIONS in routes:
            self._state.watch(user.user_id)
            if Topic.POSITIONS not in user.routes:
                user.revalued_id = self._ids.last

    def _make_room(self, user: User) -> None:
        """End the oldest connections of a user who has just got one too many."""
        limit = self.limits.connections_per_user
        while len(user.counted) > limit:
            oldest = next(iter(user.counted))
            payload: JsonObject = {
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
            farewell_id = self.end(
                oldest, CloseReason.CONNECTION_LIMIT, ("connection:limit", payload)
            )
            if farewell_id is not None:
                user.remember_limit_id(farewell_id)

    def _opening(self, subscription: Subscription, user: User | None) -> bytes:
        request = subscription.request
        wall_ms = self._clock.wall_ms()
        timestamp = iso_timestamp(wall_ms)
        opening = plan_opening(
            None if user is None else request.last_event_id,
            request.routes,
            _NO_EVENTS if user is None else user.buffer,
            self._ids,
            start_id=self._start_id,
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
                "timestamp": timestamp,
            }
            plain += self.frames.single("stream:gap", gap, opening.gap_id)
        self._counters.replayed_events += len(opening.replay)
        subscription.last_id = opening.replay[0].id - 1 if opening.replay else self._ids.last
        subscription.first_id = opening.connected_id or subscription.last_id
        return plain

    def _advance(self, subscription: Subscription, opening: bytes = b"") -> None:
        """Hand over what the stream lacks, as far as the peer takes it, and let it go live."""
        if not subscription.is_open or subscription.audience is not None:
            return
        parts = [opening] if opening else []
        if not self._replay(subscription, parts):
            return
        audience = self._audiences.obtain(subscription.request)
        if audience.is_dirty:
            self._write_apart(subscription, parts)
            self._wait(subscription, audience)
            return
        parts.extend(self._state_parts(subscription, audience))
        user = self._user(subscription)
        if user is not None:
            del user.parked[subscription]
        subscription.audience = audience
        subscription.is_parked = False
        subscription.held = None
        if subscription.request.encoding == "identity":
            audience.admit(subscription, b"", self._clock.monotonic())
            self._write_apart(subscription, parts)
        else:
            plain = b"".join(parts)
            data = audience.admit(subscription, plain, self._clock.monotonic())
            if data:
                subscription.write(data)
        if subscription.sink.is_paused:
            self._park(subscription, self._ids.last)

    def _wait(self, subscription: Subscription, audience: Audience) -> None:
        """Let a stream go on when its audience has written what is queued.

        State is not looked at before: who waits would be sent it twice, and on the price stream
        the snapshot after the flush is one that many share.
        """
        if subscription not in self._waiting:
            go_on = partial(self._go_on, subscription)
            self._waiting[subscription] = (audience, go_on)
            audience.waiting.append(go_on)

    def _go_on(self, subscription: Subscription) -> None:
        audience, _ = self._waiting.pop(subscription)
        if not subscription.sink.is_paused:
            self._advance(subscription)
        self._audiences.forget_if_empty(audience, subscription.request)

    def _stop_waiting(self, subscription: Subscription) -> None:
        if subscription in self._waiting:
            audience, go_on = self._waiting.pop(subscription)
            audience.waiting.remove(go_on)
            self._audiences.forget_if_empty(audience, subscription.request)

    def _replay(self, subscription: Subscription, parts: list[bytes]) -> bool:
        """Collect the facts the stream lacks; False when the peer must take some first."""
        budget = self.limits.max_backlog_bytes // 2
        size = sum(map(len, parts))
        for event in self._lacking(subscription):
            frame = self.frames.frame(event)
            parts.append(frame)
            size += len(frame)
            subscription.last_id = event.id
            if size >= budget:
                self._write_apart(subscription, parts)
                parts.clear()
                size = 0
                if subscription.sink.is_paused:
                    if subscription.is_parked:
                        self._recount_owed(subscription)
                    return False
        subscription.owed_bytes = 0
        subscription.has_unsent_event = False
        return True

    def _lacking(self, subscription: Subscription) -> Iterator[Event]:
        held = subscription.held
        while held:
            yield held.popleft()
        user = self._user(subscription)
        if user is not None:
            yield from user.buffer.after(subscription.last_id, subscription.request.routes)

    def _kept_bytes(self, subscription: Subscription) -> int:
        """Return what a parked stream lacks; of one that never had all, what is kept for it alone.

        The first event is not counted, as in `Subscription.owe`.
        """
        if subscription.is_parked:
            return subscription.owed_bytes
        kept = islice(subscription.held or (), 1, None)
        return sum(len(self.frames.frame(event)) for event in kept)

    def _recount_owed(self, subscription: Subscription) -> None:
        subscription.owed_bytes = 0
        subscription.has_unsent_event = False
        user = self._user(subscription)
        assert user is not None, "only private streams owe facts"
        for event in (
            *(subscription.held or ()),
            *user.buffer.after(subscription.last_id, subscription.request.routes),
        ):
            subscription.owe(len(self.frames.frame(event)))

    def _state_parts(self, subscription: Subscription, audience: Audience) -> Iterator[bytes]:
        request = subscription.request
        user = self._user(subscription)
        wall_ms = self._clock.wall_ms()
        payloads: Sequence[Payload] = ()
        if subscription.needs_snapshot:
            subscription.needs_snapshot = False
            payloads = self._snapshot(request, audience, iso_timestamp(wall_ms))
        elif user is None:
            for quote in self._state.quotes_after(request.symbols, subscription.last_id):
                subscription.last_id = quote.id
                yield self.frames.quote_frame(quote)
        if user is not None and not payloads:
            told_id = user.parked[subscription]
            payloads = self._state.news(request, told_id, iso_timestamp(wall_ms))
        for event_type, data in payloads:
            subscription.last_id = self._ids.next(wall_ms)
            yield from self.frames.pieces(event_type, data, subscription.last_id)

    def _snapshot(
        self, request: StreamRequest, audience: Audience, timestamp: str
    ) -> Sequence[Payload]:
        """Return the snapshot of a stream; on the price stream made once per flush.

        Until the next flush of its members a price snapshot lacks nothing that a newcomer
        will not be sent as a member, and many newcomers share its bytes. An audience without
        members, which is not told what moves, is forgotten and its snapshot with it.
        """
        if request.user_id is not None:
            return self._state.snapshot(request, timestamp)
        if audience.snapshot is None:
            audience.snapshot = self._state.snapshot(request, timestamp)
        return audience.snapshot

    def _write_apart(self, subscription: Subscription, parts: list[bytes]) -> None:
        request = subscription.request
        size = sum(map(len, parts))
        if not size:
            return
        if request.encoding == "identity" and size > _LARGE_BYTES:
            if request.is_chunked:
                subscription.write(b"%x\r\n" % size)
            for part in parts:
                subscription.write(part)
            if request.is_chunked:
                subscription.write(b"\r\n")
            return
        plain = b"".join(parts)
        if subscription.trailer is not None:
            subscription.trailer.add(plain)
        subscription.write(self._audiences.apart(request, plain))

    def _park(self, subscription: Subscription, told_id: int) -> None:
        user = self._user(subscription)
        if user is not None:
            user.parked[subscription] = told_id
        subscription.is_parked = True
        self._leave_audience(subscription)

    def _told_id(self, subscription: Subscription) -> int:
        """Return the ID up to which a member, who has been handed all, was told of the state.

        A price that moved a holding is told with the next re-valuation, whatever facts went
        out in between.
        """
        audience = subscription.audience
        assert audience is not None, "a member has an audience"
        user = self._user(subscription)
        if user is not None and Topic.POSITIONS in subscription.request.routes:
            return user.revalued_id
        return max(subscription.last_id, audience.written_id)

    def _leave_audience(self, subscription: Subscription) -> None:
        audience = subscription.audience
        if audience is None:
            return
        subscription.audience = None
        subscription.last_id = max(subscription.last_id, audience.written_id)
        audience.leave(subscription)
        self._audiences.forget_if_empty(audience, subscription.request)

    def _farewell_id(self, subscription: Subscription) -> int | None:
        """Return an ID after all that the stream was handed and before what it still lacks."""
        if subscription.audience is None:
            user = self._user(subscription)
            lacking = next(
                iter(subscription.held or ()),
                None
                if user is None
                else next(
                    user.buffer.after(subscription.last_id, subscription.request.routes), None
                ),
            )
            if lacking is not None:
                return self._ids.between(subscription.last_id, lacking.id)
        return self._ids.next(self._clock.wall_ms())

    def _tail(self, subscription: Subscription, plain: bytes) -> bytes:
        request = subscription.request
        tail = b""
        if plain:
            if subscription.trailer is not None:
                subscription.trailer.add(plain)
            tail = self._audiences.apart(request, plain)
        ending = epilogue(request.encoding, subscription.trailer)
        if ending:
            tail += chunk(ending) if request.is_chunked else ending
        return tail + LAST_CHUNK if request.is_chunked else tail

    def _user(self, subscription: Subscription) -> User | None:
        user_id = subscription.request.user_id
        return None if user_id is None else self._users.get(user_id)


def _name(request: StreamRequest) -> str:
    return request.stream.partition("/")[0]
