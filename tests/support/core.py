"""The whole core without I/O: hub, state and timers on a clock of the test's."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sseserver import config_loading
from sseserver.config import Config
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.events import EVENT_TYPES, STREAM_TOPICS, Event, JsonObject, Quote
from sseserver.hub.hub import Hub, Wakers
from sseserver.hub.subscription import StreamRequest
from sseserver.ingest.state_view import StateView
from sseserver.state.projection import Projection
from sseserver.wire.sse_frame import encode_json
from tests.support.fake_clock import FakeClock
from tests.support.fake_connection import FakeConnection


def configured(settings: Mapping[str, Any] | None = None) -> Config:
    """Return the default configuration with some keys set."""
    return config_loading.load(None, {}, dict(settings or {}))


class Core:
    """A hub with everything below it; time passes and flushes happen when told.

    Attributes:
        flush_wishes: How often the hub asked for a flush.
        window_wishes: The delays after which it asked for the end of a window, in seconds.
    """

    def __init__(
        self,
        settings: Mapping[str, Any] | None = None,
        seed: int = 1,
        *,
        max_accounts: int | None = None,
        wall_ms: int | None = None,
    ) -> None:
        self.config = configured(settings)
        self.clock = FakeClock() if wall_ms is None else FakeClock(wall_ms)
        self.flush_wishes = 0
        self.window_wishes: list[float] = []
        self.wheel = TimerWheel(self.clock.monotonic())
        max_users = max_accounts or self.config.buffer.max_users
        self.projection = Projection(self.config.limits, max_users)
        self.hub = Hub(
            self.config,
            self.clock,
            StateView(self.projection),
            self.wheel,
            Wakers(self._want_flush, self.window_wishes.append),
            random.Random(seed).randrange,
        )

    def _want_flush(self) -> None:
        self.flush_wishes += 1

    def pass_time(self, seconds: float) -> None:
        """Let time pass and fire what is due."""
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.monotonic())
        self.hub.streams.settle()

    def fact(
        self,
        user_id: str,
        number: int,
        event_type: str = "alert:new",
        *,
        route: str | None = None,
        pad_bytes: int = 0,
        is_urgent: bool = False,
    ) -> Event:
        """Publish a numbered fact and return its event; `pad_bytes` do not compress."""
        payload: JsonObject = {"n": number}
        if pad_bytes:
            payload["pad"] = random.Random(number).randbytes(pad_bytes // 2).hex()
        event = Event(
            self.hub.ids.next(self.clock.wall_ms()),
            event_type,
            encode_json(payload),
            route=route or str(EVENT_TYPES[event_type].topic),
            user_id=user_id,
        )
        self.hub.publish(event, is_urgent=is_urgent)
        return event

    def price(self, symbol: str, price: float) -> Quote:
        """Publish a price and return its quote."""
        quote = Quote(
            self.hub.ids.next(self.clock.wall_ms()),
            symbol,
            price,
            {"symbol": symbol, "price": price},
        )
        self.projection.set_price(quote)
        self.hub.publish_quote(quote, self.clock.monotonic())
        if self.projection.has_revaluations:
            self.hub.want_window()
        return quote

    def status(self, agent_id: str, number: int) -> Event:
        """Publish an agent's numbered status and return its event."""
        event = Event(
            self.hub.ids.next(self.clock.wall_ms()),
            "agent:status",
            encode_json({"agentId": agent_id, "n": number}),
            route="ai-decisions",
        )
        self.projection.set_agent_status(agent_id, event)
        self.hub.broadcast_status(event)
        return event

    def position(self, user_id: str, number: int, symbol: str, **data: Any) -> Event:
        """Publish a numbered `position:update`, applied to the portfolio, and return its event."""
        event_id = self.hub.ids.next(self.clock.wall_ms())
        given = {"symbol": symbol, "quantity": "1", "entryPrice": "1", **data}
        payload = self.projection.update_position(user_id, given, event_id)
        event = Event(
            event_id,
            "position:update",
            encode_json({"n": number, **payload}),
            route="positions",
            user_id=user_id,
        )
        self.hub.publish(event)
        return event

    def put_positions(self, user_id: str, symbols: Sequence[str], quantity: str = "1") -> None:
        """Replace a user's positions and tell the streams that show them."""
        positions = [
            {"symbol": symbol, "quantity": quantity, "entryPrice": "1"} for symbol in symbols
        ]
        event_id = self.hub.ids.next(self.clock.wall_ms())
        self.projection.put_positions(user_id, positions, event_id)
        snapshot = self.projection.positions_snapshot(user_id, "now")
        self.hub.push_state(user_id, "positions", "position:update", snapshot)

    def put_orders(self, user_id: str, order_ids: Sequence[str]) -> None:
        """Replace a user's orders and tell the streams that show them."""
        orders = [{"orderId": order_id, "status": "new"} for order_id in order_ids]
        self.projection.put_orders(user_id, orders)
        snapshot = self.projection.orders_snapshot(user_id, "now")
        self.hub.push_state(user_id, "orders", "order:update", snapshot)

    def broadcast_test(self, pad_bytes: int = 0) -> Event:
        """Send the event `test` to every connection and return it; padded, it fills them."""
        event = Event(
            self.hub.ids.next(self.clock.wall_ms()),
            "test",
            encode_json({"message": random.Random(1).randbytes(pad_bytes // 2).hex()}),
            route="test",
        )
        self.hub.broadcast_test(event)
        return event

    def connect(self, request: StreamRequest, high_water: int = 1 << 30) -> FakeConnection:
        """Open a stream on a connection of its own."""
        connection = FakeConnection(self.hub, high_water)
        connection.open(request)
        return connection


def request_for(  # noqa: PLR0913 - what a request may say
    stream: str = "alerts",
    user_id: str | None = "user-1",
    *,
    symbols: frozenset[str] | None = None,
    encoding: str = "identity",
    is_chunked: bool = True,
    is_counted: bool = True,
    session_key: bytes | None = None,
    last_event_id: int | None = None,
    wants_replay: bool = True,
) -> StreamRequest:
    """Return a request for a stream, as the endpoint makes it."""
    topics = STREAM_TOPICS.get(stream)
    return StreamRequest(
        stream=stream,
        routes=frozenset({stream}) if topics is None else frozenset(map(str, topics)),
        user_id=None if stream == "prices" else user_id,
        symbols=symbols,
        encoding=encoding,
        is_chunked=is_chunked,
        is_counted=is_counted,
        session_key=session_key,
        last_event_id=last_event_id,
        wants_replay=wants_replay,
        correlation_id="c-1",
    )
