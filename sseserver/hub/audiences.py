"""All audiences: found by what makes two connections equal, wired to routes, flushed.

The key is the stream, the subscription (user or symbol set), the content coding and the HTTP
framing. Equal symbol sets are equal keys, so they share (design section 2).
"""

from collections.abc import Callable, Iterable

from sseserver.clock import Clock
from sseserver.config import CompressionConfig, StreamConfig
from sseserver.delivery.audience import Audience
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.events import Topic
from sseserver.hub.prices import PriceFanout
from sseserver.hub.subscription import StreamRequest, Subscription
from sseserver.hub.users import Users
from sseserver.metrics import Counters
from sseserver.wire.compression import (
    IDENTITY,
    ZSTD,
    Coding,
    ContextBudget,
    GzipCoding,
    piece,
)
from sseserver.wire.sse_frame import chunk

AudienceKey = tuple[str, str | None, frozenset[str] | None, str, bool]


def audience_key(request: StreamRequest) -> AudienceKey:
    """Return what connections that share an audience have in common."""
    return (
        request.stream,
        request.user_id,
        request.symbols,
        request.encoding,
        request.is_chunked,
    )


class Audiences:
    """Makes audiences for the first who needs them and forgets them after the last.

    Args:
        users: Where private routes are wired.
        prices: Where the price stream is wired.
        wheel: Where keepalives are due.
        clock: Time.
        counters: What flushes are counted in.
        wake_flush: Called when something is dirty and no flush has been asked for.
    """

    def __init__(  # noqa: PLR0913 - wired once
        self,
        *,
        users: Users,
        prices: PriceFanout,
        wheel: TimerWheel,
        clock: Clock,
        counters: Counters,
        stream: StreamConfig,
        compression: CompressionConfig,
        wake_flush: Callable[[], None],
    ) -> None:
        self._users = users
        self._prices = prices
        self._wheel = wheel
        self._clock = clock
        self._counters = counters
        self._wake_flush = wake_flush
        self._by_key: dict[AudienceKey, Audience] = {}
        self._broadcast: dict[Audience, None] = {}
        self._dirty: list[Audience] = []
        self._keepalive_seconds = stream.keepalive_seconds
        self._gzip_level = compression.level
        self.contexts = ContextBudget(compression.max_contexts)

    def __len__(self) -> int:
        return len(self._by_key)

    def configure(self, stream: StreamConfig, compression: CompressionConfig) -> None:
        """Take a new configuration; running gzip contexts keep their level."""
        self._gzip_level = compression.level
        self.contexts.max_contexts = compression.max_contexts
        self._keepalive_seconds = stream.keepalive_seconds
        for audience in self._by_key.values():
            audience.keepalive_seconds = stream.keepalive_seconds
            self._wheel.schedule(audience, audience.last_write + stream.keepalive_seconds)

    def all(self) -> Iterable[Audience]:
        """Return every audience."""
        return self._by_key.values()

    def with_agents(self) -> Iterable[Audience]:
        """Return the audiences that carry `agent:status`."""
        return self._broadcast

    def obtain(self, request: StreamRequest) -> Audience:
        """Return the audience of a stream, made when it is the first."""
        key = audience_key(request)
        audience = self._by_key.get(key)
        if audience is None:
            now = self._clock.monotonic()
            audience = Audience(
                key,
                self._coding(request.encoding),
                is_chunked=request.is_chunked,
                on_dirty=self._note_dirty,
                keepalive_seconds=self._keepalive_seconds,
                now=now,
            )
            self._by_key[key] = audience
            self._wire(audience, request)
            self._wheel.schedule(audience, now + self._keepalive_seconds)
        return audience

    def forget_if_empty(self, audience: Audience, request: StreamRequest) -> None:
        """Forget an audience that has neither members nor anyone waiting to join."""
        key = audience_key(request)
        if len(audience) or audience.waiting or self._by_key.get(key) is not audience:
            return
        del self._by_key[key]
        self._unwire(audience, request)
        self._wheel.cancel(audience)
        audience.close()

    def apart(self, subscription: Subscription, plain: bytes) -> bytes:
        """Return bytes for one stream outside its audience: encoded, and framed if it chunks."""
        request = subscription.request
        if subscription.trailer is not None:
            subscription.trailer.add(plain)
        data = piece(request.encoding, plain, self._gzip_level)
        return chunk(data) if request.is_chunked else data

    def flush(self) -> tuple[int, int]:
        """Write everything queued; return deliveries and writes."""
        dirty, self._dirty = self._dirty, []
        now = self._clock.monotonic()
        deliveries = writes = 0
        for audience in dirty:
            if audience.is_dirty:
                delivered, written = self.flush_one(audience, now)
                deliveries += delivered
                writes += written
        return deliveries, writes

    def flush_one(self, audience: Audience, now: float) -> tuple[int, int]:
        """Write what is queued for one audience; return deliveries and writes."""
        received = audience.oldest_received
        audience.snapshot = None  # what is queued is newer
        delivered, written = audience.flush(now)
        counters = self._counters
        counters.delivered_events += delivered
        counters.writes += written
        if received and delivered:
            counters.delivery_latency.observe(now - received, delivered)
        return delivered, written

    def _note_dirty(self, audience: Audience) -> None:
        if not self._dirty:
            self._wake_flush()
        self._dirty.append(audience)

    def _coding(self, encoding: str) -> Coding:
        match encoding:
            case "gzip":
                return GzipCoding(self._gzip_level, self.contexts)
            case "zstd":
                return ZSTD
            case _:
                return IDENTITY

    def _wire(self, audience: Audience, request: StreamRequest) -> None:
        if request.user_id is None:
            self._prices.add(audience, request.symbols)
            return
        user = self._users.get(request.user_id)
        assert user is not None, "a stream's user is known while the stream is open"
        for route in request.routes:
            user.routes.setdefault(route, []).append(audience)
        if Topic.AI_DECISIONS in request.routes:
            self._broadcast[audience] = None

    def _unwire(self, audience: Audience, request: StreamRequest) -> None:
        if request.user_id is None:
            self._prices.remove(audience, request.symbols)
            return
        user = self._users.get(request.user_id)
        assert user is not None, "a stream's user is known while the stream is open"
        for route in request.routes:
            user.routes[route].remove(audience)
            if not user.routes[route]:
                del user.routes[route]
        self._broadcast.pop(audience, None)
