"""The hub: an event goes to the audiences that carry it, and leaves when the cork lets it.

Publishing touches audiences, not connections; nothing is written inside `publish` (design
sections 2 and 3). The shell is woken through two callables and calls back `flush` and
`end_window`.
"""

from collections.abc import Callable
from typing import NamedTuple

from sseserver.clock import Clock, iso_timestamp
from sseserver.config import Config
from sseserver.delivery.conflation import Window
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.errors import CloseReason
from sseserver.event_id import EventIdGenerator
from sseserver.events import Event, JsonObject, Quote, Topic
from sseserver.hub.audiences import Audiences
from sseserver.hub.prices import PriceFanout
from sseserver.hub.slow_consumers import SlowConsumers
from sseserver.hub.state_source import StateSource
from sseserver.hub.streams import Streams
from sseserver.hub.subscription import Farewell
from sseserver.hub.users import User, Users
from sseserver.metrics import Counters
from sseserver.wire.sse_frame import FrameEncoder, encode_json

MIN_SHUTDOWN_RETRY_MS = 1_000
MAX_SHUTDOWN_RETRY_MS = 10_000
"""A restart is not met by every client at once (contract section 4)."""


class Wakers(NamedTuple):
    """How the hub asks its shell for time.

    Attributes:
        flush: Something is dirty: call `flush` when the cork says so.
        window: Call `end_window` after so many seconds.
    """

    flush: Callable[[], None]
    window: Callable[[float], None]


class Hub:
    """Users, audiences and streams, and the way of an event through them.

    Attributes:
        users: Replay buffers and connections by user.
        audiences: Connections that receive the same bytes.
        streams: Opening and ending of streams.
        ids: Gives out every event ID.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        state: StateSource,
        wheel: TimerWheel,
        wakers: Wakers,
        random_below: Callable[[int], int],
    ) -> None:
        start_id = EventIdGenerator.first_of(clock.wall_ms())
        self._clock = clock
        self._state = state
        self._wakers = wakers
        self._random_below = random_below
        self._window = Window(config.batching.window_ms / 1000)
        self._has_window = False
        self.counters = Counters()
        self.ids = EventIdGenerator(random_below, start_id)
        self.frames = FrameEncoder(config.stream.retry_ms, config.stream.retry_spread_ms)
        self.users = Users(config.buffer, wheel)
        self.prices = PriceFanout(config.batching, self.frames)
        self.audiences = Audiences(
            users=self.users,
            prices=self.prices,
            wheel=wheel,
            clock=clock,
            counters=self.counters,
            stream=config.stream,
            compression=config.compression,
            wake_flush=wakers.flush,
        )
        self.slow_consumers = SlowConsumers(
            users=self.users,
            wheel=wheel,
            clock=clock,
            frames=self.frames,
            counters=self.counters,
            limits=config.limits,
        )
        self.streams = Streams(
            users=self.users,
            audiences=self.audiences,
            slow_consumers=self.slow_consumers,
            wheel=wheel,
            state=state,
            ids=self.ids,
            frames=self.frames,
            clock=clock,
            counters=self.counters,
            limits=config.limits,
            start_id=start_id,
            random_below=random_below,
        )

    def configure(self, config: Config) -> None:
        """Take what can change while running; open connections keep their frames."""
        self._window.seconds = config.batching.window_ms / 1000
        self.frames.configure(config.stream.retry_ms, config.stream.retry_spread_ms)
        self.users.config = config.buffer
        self.prices.configure(config.batching)
        self.audiences.configure(config.stream, config.compression)
        self.streams.configure(config.limits)

    def go_on_after(self, last_id: int, start_id: int | None) -> None:
        """Go on where a server ended, before anything is published or opened.

        Args:
            last_id: The newest ID it gave out, as far as that is known.
            start_id: From when on its buffers know every loss; None where they do not, so
                that everybody who resumes is told that it was restarted.
        """
        self.ids.last = max(self.ids.last, last_id)
        self.streams.start_id = self.ids.last if start_id is None else start_id

    def publish(self, event: Event, *, is_urgent: bool = False) -> None:
        """Keep a fact and queue it for every connection it concerns.

        Args:
            event: A fact, with its user.
            is_urgent: Write it before this call returns, past any cork (error alerts).
        """
        assert event.user_id is not None, "a fact concerns a user"
        now = self._clock.monotonic()
        user = self.users.obtain(event.user_id, now)
        self.users.append(user, event, now)
        audiences = user.routes.get(event.route)
        if audiences is not None:
            frame = self.frames.frame(event)
            for audience in audiences:
                audience.push(frame, event.id, event.received)
            if is_urgent:
                for audience in tuple(audiences):
                    self.audiences.flush_one(audience, now)
                self.streams.settle()
        if user.parked:
            self.slow_consumers.owe(user, event, len(self.frames.frame(event)))

    def connections_of(self, event: Event) -> int:
        """Return how many connections a fact is sent to at once."""
        user = None if event.user_id is None else self.users.get(event.user_id)
        return 0 if user is None else sum(map(len, user.routes.get(event.route, ())))

    def publish_quote(self, quote: Quote, now: float) -> None:
        """Queue a price update at `now` (monotonic seconds), or hold it back for the window."""
        if self.prices.publish(quote, now):
            self.want_window()

    def broadcast_status(self, event: Event) -> int:
        """Queue an `agent:status` for every stream that carries it; return how many."""
        frame = self.frames.frame(event)
        connections = 0
        for audience in self.audiences.with_agents():
            audience.push(frame, event.id, event.received)
            connections += len(audience)
        return connections

    def broadcast_test(self, event: Event) -> int:
        """Queue the event `test` for every connection; best effort, not kept."""
        frame = self.frames.frame(event)
        for audience in self.audiences.all():
            audience.push(frame, event.id, event.received)
        return len(self.streams.clients)

    def push_state(self, user_id: str, route: str, event_type: str, payload: JsonObject) -> None:
        """Send a user's new snapshot to the streams that carry it; not kept for replay."""
        user = self.users.get(user_id)
        if user is None:
            return
        self._push_state(user, route, event_type, encode_json(payload))
        for subscription in user.parked:
            if route in subscription.request.routes:
                subscription.needs_snapshot = True

    def want_window(self) -> None:
        """Ask for `end_window`: something was held back, or a holding moved."""
        if not self._has_window:
            self._has_window = True
            self._wakers.window(self._window.opens_in(self._clock.monotonic()))

    def end_window(self) -> None:
        """Write what was held back: the newest of each symbol, and re-valuations."""
        self._has_window = False
        now = self._clock.monotonic()
        wall_ms = self._clock.wall_ms()
        self._window.flushed(now)
        self.prices.release(lambda: self.ids.next(wall_ms))
        timestamp = iso_timestamp(wall_ms)
        for user_id in self._state.take_revalued():
            user = self.users.get(user_id)
            if user is None or Topic.POSITIONS not in user.routes:
                continue
            payload = self._state.revaluation(user_id, user.revalued_id, timestamp)
            if payload is not None:
                self._push_state(user, Topic.POSITIONS, "position:update", payload)
                user.revalued_id = self.ids.last

    def flush(self) -> tuple[int, int]:
        """Write everything queued; return deliveries and writes, for the cork."""
        done = self.audiences.flush()
        self.streams.settle()
        return done

    def shut_down(self) -> None:
        """End every stream with `server:shutdown` and a spread retry.

        One whose peer is slow ends when it has taken the facts that are held for it.
        """
        payload: JsonObject = {
            "message": "The server is shutting down",
            "timestamp": iso_timestamp(self._clock.wall_ms()),
        }
        self.flush()
        span_ms = MAX_SHUTDOWN_RETRY_MS - MIN_SHUTDOWN_RETRY_MS
        for subscription in list(self.streams.clients.values()):
            retry_ms = MIN_SHUTDOWN_RETRY_MS + self._random_below(span_ms + 1)
            farewell = Farewell(CloseReason.SHUTDOWN, "server:shutdown", payload, retry_ms)
            self.streams.end(subscription, farewell)

    def _push_state(self, user: User, route: str, event_type: str, data: bytes) -> None:
        event = Event(
            self.ids.next(self._clock.wall_ms()),
            event_type,
            data,
            route=route,
            user_id=user.user_id,
        )
        for audience in user.routes.get(route, ()):
            audience.push(self.frames.frame(event), event.id, 0.0)
