"""From a line to the hub: validate, redact, give an ID and a timestamp, store, apply, publish.

An `ok` means: validated, in state and replay buffer, and handed to every connection it
concerns (contract section 3). A line that is refused changes nothing.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from msgspec import UNSET

from sseserver.clock import Clock, iso_timestamp
from sseserver.errors import FeedError, FeedErrorCode
from sseserver.event_id import format_event_id
from sseserver.events import EVENT_TYPES, Event, JsonObject, Quote, Topic
from sseserver.hub.hub import Hub
from sseserver.ingest import messages
from sseserver.ingest.effects import Effects
from sseserver.ingest.messages import (
    Message,
    Publish,
    PublishAgentStatus,
    PublishMessage,
    PublishPriceUpdate,
    PublishStrategyUpdate,
)
from sseserver.ingest.recent_keys import Publication, PublishKey, RecentKeys, digest_of
from sseserver.ingest.redaction import Redactor
from sseserver.state.projection import Projection
from sseserver.state.sessions import Sessions, StrategyOwners
from sseserver.wire.ndjson import encode_error, encode_ok
from sseserver.wire.sse_frame import encode_json

if TYPE_CHECKING:
    from sseserver.ingest.payloads import PriceUpdate

_PRICE: Final = "price:update"
_ROUTES: Final = {event_type.name: str(event_type.topic) for event_type in EVENT_TYPES.values()}

_log = structlog.get_logger()

Answer = Callable[[bytes], None]


class Backplane(Protocol):
    """Stores published events; its one promise is that a stored event cannot be lost."""

    def __call__(self, event: Event, on_stored: Callable[[Event], None]) -> None:
        """Store an event, then call `on_stored` with it: at once, or when a cluster has it."""
        ...


class Pipeline:
    """Accepts lines of feeds, at the time of the last `look_at_clock`.

    Attributes:
        logs_events: Whether every event is logged (`log.level = "debug"`); off, the hot path
            makes no logging call.
        redactor: Takes secrets out of what passes through.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        hub: Hub,
        projection: Projection,
        sessions: Sessions,
        strategies: StrategyOwners,
        keys: RecentKeys,
        redactor: Redactor,
        backplane: Backplane,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._projection = projection
        self._strategies = strategies
        self._keys = keys
        self._effects = Effects(hub, projection, sessions, strategies, clock)
        self._backplane = backplane
        self._clock = clock
        self._now = 0.0
        self._wall_ms = -1
        self._timestamp = ""
        self.redactor = redactor
        self.logs_events = False

    def look_at_clock(self) -> None:
        """Read the clocks: what is accepted from now on has this time.

        Once for a fraction of a millisecond's lines, as it would take a tenth of their time.
        """
        self._now = self._clock.monotonic()
        wall_ms = self._clock.wall_ms()
        if wall_ms != self._wall_ms:
            self._wall_ms = wall_ms
            self._timestamp = iso_timestamp(wall_ms)

    def accept(self, line: bytes, received: float, answer: Answer) -> None:
        """Take one line of a feed.

        Args:
            line: One JSON object, without its newline.
            received: Monotonic seconds at which it was read.
            answer: Called with the answer line, if there is one: an error, or what the line's
                `ref` asked for.
        """
        counters = self._hub.counters
        ref: str | int | None = None
        try:
            message = messages.decode(line)
            ref = message.ref
            event_id = self._apply(message, received)
        except FeedError as error:
            counters.refused_lines += 1
            error.ref = ref if error.ref is None else error.ref
            answer(encode_error(error))
            return
        except Exception:  # noqa: BLE001 - one of the three places: a bug costs one line
            _log.exception("ingest_line_failed")
            counters.refused_lines += 1
            failure = FeedError(FeedErrorCode.UNAVAILABLE, "The line could not be applied", ref=ref)
            answer(encode_error(failure))
            return
        counters.accepted_lines += 1
        if ref is not None:
            answer(encode_ok(ref, None if event_id is None else format_event_id(event_id)))

    def refuse_oversize(self, max_line_bytes: int, answer: Answer) -> None:
        """Answer for a line that was skipped because it is too long."""
        self._hub.counters.refused_lines += 1
        error = FeedError(
            FeedErrorCode.TOO_LARGE, f"A line may have {max_line_bytes} bytes at most"
        )
        answer(encode_error(error))

    def _apply(self, message: Message, received: float) -> int | None:
        if isinstance(message, PublishPriceUpdate) and message.key is None:
            return self._publish_price(message, received)  # nearly all are, so they are first
        if not isinstance(message, Publish):
            self._effects.apply(message, self.redactor.redact)
            return None
        if message.key is not None:
            return self._publish_once(message, message.key, received)
        return self._publish_any(message, received)

    def _publish_once(self, message: PublishMessage, key: str, received: float) -> int:
        """Publish what was not published under this key before; return the ID of the first."""
        user_id = message.userId
        if isinstance(message, PublishStrategyUpdate):
            user_id = self._owner_of(message.data.strategyId, user_id)
        name = PublishKey(key, message.event_type, user_id)
        digest = digest_of(message.data if message.extra is None else message.extra)
        event_id = self._keys.find(name, digest, self._now)
        if event_id is None:
            event_id = self._publish_any(message, received)
            self._keys.remember(name, Publication(event_id, digest, self._now))
        return event_id

    def _publish_any(self, message: PublishMessage, received: float) -> int:
        if isinstance(message, PublishPriceUpdate):
            return self._publish_price(message, received)
        if isinstance(message, PublishAgentStatus):
            return self._publish_status(message, received)
        return self._publish(message, received)

    def _publish(self, message: PublishMessage, received: float) -> int:
        """Publish a fact: into the state, the user's replay buffer, and to its connections."""
        data = self._completed(message)
        event_type = message.event_type
        user_id = message.userId
        route = _ROUTES[event_type]
        if isinstance(message, PublishStrategyUpdate):
            user_id = self._owner_of(message.data.strategyId, user_id)
            route = f"{route}/{message.data.strategyId}"
        assert user_id is not None, "a fact's user is validated"
        event_id = self._hub.ids.next(self._wall_ms)
        is_urgent = False
        match event_type:
            case "order:update":
                self._projection.update_order(user_id, data)
            case "order:fill":
                self._projection.fill_order(user_id, data)
            case "position:update":
                data = self._projection.update_position(user_id, data, event_id)
            case "alert:new" if data["level"] == "error":
                is_urgent = True
                data["priority"] = "high"
        event = Event(
            event_id,
            event_type,
            encode_json(data),
            route=route,
            user_id=user_id,
            correlation_id=message.correlationId,
            received=received,
        )
        self._backplane(event, self._deliver_urgent if is_urgent else self._deliver)
        return event_id

    def _publish_price(self, message: PublishPriceUpdate, received: float) -> int:
        """Publish a price: encoded only when somebody is sent it."""
        data: PriceUpdate | JsonObject = message.data
        if message.extra is not None:
            data = self._completed(message)
        elif message.data.timestamp is UNSET:
            message.data.timestamp = self._timestamp
        event_id = self._hub.ids.next(self._wall_ms)
        quote = Quote(
            event_id,
            message.data.symbol,
            message.data.price,
            data,
            correlation_id=message.correlationId,
            received=received,
        )
        self._projection.set_price(quote)
        self._hub.publish_quote(quote, self._now)
        if self._projection.has_revaluations:
            self._hub.want_window()
        self._count(_PRICE)
        if self.logs_events:
            self._log_event(_PRICE, event_id, None, message.correlationId)
        return event_id

    def _publish_status(self, message: PublishAgentStatus, received: float) -> int:
        """Publish an agent's status, for everybody; the newest is kept for those who are slow."""
        event = Event(
            self._hub.ids.next(self._wall_ms),
            message.event_type,
            encode_json(self._completed(message)),
            route=str(Topic.AI_DECISIONS),
            correlation_id=message.correlationId,
            received=received,
        )
        self._projection.set_agent_status(message.data.agentId, event)
        connections = self._hub.broadcast_status(event)
        self._count(event.type)
        if self.logs_events:
            self._log_event(event.type, event.id, connections, event.correlation_id)
        return event.id

    def _completed(self, message: PublishMessage) -> JsonObject:
        """Return the payload redacted, with a timestamp."""
        data = messages.data_object(message)
        if message.extra is not None or not self.redactor.spares(type(message.data)):
            data = self.redactor.redact(data, "$.data")
        if "timestamp" not in data:
            data["timestamp"] = self._timestamp
        return data

    def _deliver(self, event: Event) -> None:
        self._hub.publish(event)
        self._count(event.type)
        if self.logs_events:
            connections = self._hub.connections_of(event)
            self._log_event(event.type, event.id, connections, event.correlation_id)

    def _deliver_urgent(self, event: Event) -> None:
        connections = self._hub.connections_of(event)
        self._hub.publish(event, is_urgent=True)
        self._count(event.type)
        if self.logs_events:
            self._log_event(event.type, event.id, connections, event.correlation_id)
        _log.info(
            "alert_delivered",
            event_id=format_event_id(event.id),
            user_id=event.user_id,
            connections=connections,
            correlation_id=event.correlation_id,
        )

    def _count(self, event_type: str) -> None:
        published = self._hub.counters.published_events
        published[event_type] = published.get(event_type, 0) + 1

    def _log_event(
        self, event_type: str, event_id: int, connections: int | None, correlation_id: str | None
    ) -> None:
        _log.debug(
            "event_published",
            event_id=format_event_id(event_id),
            type=event_type,
            connections=connections,
            correlation_id=correlation_id,
        )

    def _owner_of(self, strategy_id: str, user_id: str | None) -> str:
        owner = self._strategies.owner(strategy_id)
        if owner is None:
            if user_id is None:
                raise FeedError(
                    FeedErrorCode.INVALID_MESSAGE,
                    "`userId` is required: the strategy is not registered",
                    path="$.userId",
                )
            return user_id
        if user_id is not None and user_id != owner:
            raise FeedError(
                FeedErrorCode.NOT_ALLOWED, "The strategy belongs to another user", path="$.userId"
            )
        return owner
