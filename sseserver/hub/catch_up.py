"""How a stream gets what it lacks: opened, parked when its peer is slow, resumed.

One mechanism (design section 4). A stream that lacks something is *advanced*: facts after the
last ID it was handed, then its snapshot or the newest of each state, then it is a member of
its audience. Opening is the first advance. A peer that stops reading is parked: it leaves the
audience, keeps its last ID, and is advanced again when its transport has drained. A long
opening is the same case, so no queue per connection exists. A stream with a farewell to come
is advanced once more, to its facts and no further.

Two invariants hold it together. Nobody leaves an audience for being slow while frames are
queued in it: what is queued may have left the replay buffer already. And what a stream was told
of the *state* is an ID of its own, not its last ID: facts are replayed past state events that
it still lacks.

Everything here is synchronous: nothing can slip between history and live.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import LimitsConfig
from sseserver.delivery.audience import Audience
from sseserver.event_id import EventIdGenerator
from sseserver.events import Event, Topic
from sseserver.hub.audiences import Audiences
from sseserver.hub.slow_consumers import SlowConsumers
from sseserver.hub.state_source import Payload, StateSource
from sseserver.hub.subscription import StreamRequest, Subscription
from sseserver.hub.users import Users
from sseserver.wire.sse_frame import FrameEncoder

_LARGE_BYTES: Final = 65_536
"""From here on the parts of an opening are written one by one, so that a snapshot which many
connections share is not copied for each of them."""


class CatchUp:
    """Advances streams, parks them, and lets them go on.

    Args:
        users: Whose facts streams lack.
        audiences: Where streams go live.
        slow_consumers: Told what is owed to a stream that is not done.
        state: Gives snapshots and what moved.
        ids: Gives state events their IDs.
        frames: Encodes events.
        clock: Time.
        limits: How much is handed over before the peer must take some.
        say_farewell: Called when a stream that has a farewell to come lacks no fact.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        users: Users,
        audiences: Audiences,
        slow_consumers: SlowConsumers,
        state: StateSource,
        ids: EventIdGenerator,
        frames: FrameEncoder,
        clock: Clock,
        limits: LimitsConfig,
        say_farewell: Callable[[Subscription], None],
    ) -> None:
        self._users = users
        self._audiences = audiences
        self._slow_consumers = slow_consumers
        self._state = state
        self._ids = ids
        self._frames = frames
        self._clock = clock
        self._say_farewell = say_farewell
        self._paused: list[Subscription] = []
        self._waiting: dict[Subscription, tuple[Audience, Callable[[], None]]] = {}
        self.limits = limits

    def advance(self, subscription: Subscription, opening: bytes = b"") -> None:
        """Hand over what the stream lacks, as far as the peer takes it, and let it go live."""
        if not subscription.is_open or subscription.audience is not None:
            return
        parts = [opening] if opening else []
        if not self._replay(subscription, parts):
            return
        if subscription.farewell is not None:
            self._write_apart(subscription, parts)
            self._say_farewell(subscription)
            return
        audience = self._audiences.obtain(subscription.request)
        if audience.is_dirty:
            self._write_apart(subscription, parts)
            self._wait(subscription, audience)
            return
        parts.extend(self._state_parts(subscription, audience))
        user = self._users.of(subscription)
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
                subscription.write_alone(data)
        if subscription.sink.is_paused:
            self._park(subscription, self._ids.last)

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

    def leave(self, subscription: Subscription) -> None:
        """Take a stream out of its audience, or out of those who wait for one."""
        self._leave_audience(subscription)
        if subscription in self._waiting:
            audience, go_on = self._waiting.pop(subscription)
            audience.waiting.remove(go_on)
            self._audiences.forget_if_empty(audience, subscription.request)

    def _replay(self, subscription: Subscription, parts: list[bytes]) -> bool:
        """Collect the facts the stream lacks; False when the peer must take some first."""
        budget = self.limits.max_backlog_bytes // 2
        size = sum(map(len, parts))
        user = self._users.of(subscription)
        for event in self._lacking(subscription):
            frame = self._frames.frame(event)
            parts.append(frame)
            size += len(frame)
            subscription.last_id = event.id
            if size >= budget:
                self._write_apart(subscription, parts)
                parts.clear()
                size = 0
                if subscription.sink.is_paused:
                    if subscription.is_parked and user is not None:
                        self._slow_consumers.recount(subscription, user)
                    return False
        subscription.forgive()
        return True

    def _lacking(self, subscription: Subscription) -> Iterator[Event]:
        held = subscription.held
        while held:
            yield held.popleft()
        user = self._users.of(subscription)
        if user is not None:
            yield from user.lacked_by(subscription)

    def _state_parts(self, subscription: Subscription, audience: Audience) -> Iterator[bytes]:
        request = subscription.request
        user = self._users.of(subscription)
        wall_ms = self._clock.wall_ms()
        payloads: Sequence[Payload] = ()
        if subscription.needs_snapshot:
            subscription.needs_snapshot = False
            payloads = self._snapshot(request, audience, iso_timestamp(wall_ms))
        elif user is None:
            for quote in self._state.quotes_after(request.symbols, subscription.last_id):
                subscription.last_id = quote.id
                yield self._frames.quote_frame(quote)
        if user is not None and not payloads:
            told_id = user.parked[subscription]
            payloads = self._state.news(request, told_id, iso_timestamp(wall_ms))
        for event_type, data in payloads:
            subscription.last_id = self._ids.next(wall_ms)
            yield from self._frames.pieces(event_type, data, subscription.last_id)

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
                subscription.write_alone(b"%x\r\n" % size)
            for part in parts:
                subscription.write_alone(part)
            if request.is_chunked:
                subscription.write_alone(b"\r\n")
            return
        subscription.write_alone(self._audiences.apart(subscription, b"".join(parts)))

    # ---- waiting for an audience ----

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
            self.advance(subscription)
        self._audiences.forget_if_empty(audience, subscription.request)

    # ---- being parked ----

    def _park(self, subscription: Subscription, told_id: int) -> None:
        user = self._users.of(subscription)
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
        user = self._users.of(subscription)
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
