"""The state as streams see it: encoded payloads, for the hub to give IDs to."""

from collections.abc import Iterator, Sequence

from sseserver.events import Quote, Topic
from sseserver.hub.state_source import Payload
from sseserver.hub.subscription import StreamRequest
from sseserver.state.projection import Projection
from sseserver.wire.sse_frame import encode_json


class StateView:
    """Answers the hub's questions from the projection (`hub.state_source.StateSource`)."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.watch = projection.watch
        self.unwatch = projection.unwatch
        self.take_revalued = projection.take_revaluations

    def snapshot(self, request: StreamRequest, timestamp: str) -> Sequence[Payload]:
        """Return the snapshot of a stream; empty for streams that have none.

        Source: contract section 4, step 4.
        """
        return tuple(self._snapshot(request, timestamp))

    def quotes_after(self, symbols: frozenset[str] | None, last_id: int) -> Sequence[Quote]:
        """Return the newest quote of each symbol that moved after `last_id`, in ID order."""
        return self._projection.quotes_after(symbols, last_id)

    def news(self, request: StreamRequest, last_id: int, timestamp: str) -> Sequence[Payload]:
        """Return the state events of a private stream that are newer than `last_id`."""
        news: list[Payload] = []
        if Topic.POSITIONS in request.routes and request.user_id is not None:
            payload = self.revaluation(request.user_id, last_id, timestamp)
            if payload is not None:
                news.append(("position:update", payload))
        if Topic.AI_DECISIONS in request.routes:
            news.extend(
                (event.type, event.data) for event in self._projection.agent_statuses_after(last_id)
            )
        return news

    def revaluation(self, user_id: str, last_id: int, timestamp: str) -> bytes | None:
        """Return a user's holdings that moved after `last_id`, at their new value."""
        payload = self._projection.revaluation(user_id, last_id, timestamp)
        return None if payload is None else encode_json(payload)

    def _snapshot(self, request: StreamRequest, timestamp: str) -> Iterator[Payload]:
        projection = self._projection
        if request.user_id is None:
            prices = projection.prices_snapshot(request.symbols, timestamp)
            yield "price:update", encode_json(prices)
            return
        if Topic.ORDERS in request.routes:
            orders = projection.orders_snapshot(request.user_id, timestamp)
            yield "order:update", encode_json(orders)
        if Topic.POSITIONS in request.routes:
            positions = projection.positions_snapshot(request.user_id, timestamp)
            yield "position:update", encode_json(positions)
