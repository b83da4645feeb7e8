"""The last bytes of a stream: its farewell event, the end of its coding, the last chunk."""

from sseserver.clock import Clock
from sseserver.event_id import EventIdGenerator
from sseserver.hub.audiences import Audiences
from sseserver.hub.subscription import Farewell, Subscription
from sseserver.hub.users import Users
from sseserver.wire.compression import epilogue
from sseserver.wire.sse_frame import LAST_CHUNK, FrameEncoder, chunk


class Farewells:
    """Says where a client resumes that is said farewell to, and writes the farewell."""

    def __init__(
        self,
        users: Users,
        audiences: Audiences,
        ids: EventIdGenerator,
        frames: FrameEncoder,
        clock: Clock,
    ) -> None:
        self._users = users
        self._audiences = audiences
        self._ids = ids
        self._frames = frames
        self._clock = clock

    def resume_point(self, subscription: Subscription) -> int | None:
        """Return an ID after all that a stream was handed and before what it still lacks.

        None where no ID is left between the two.
        """
        user = self._users.of(subscription)
        if subscription.audience is None and user is not None:
            lacking = next(user.lacked_by(subscription), None)
            if lacking is not None:
                return self._ids.between(subscription.last_id, lacking.id)
            if subscription.farewell is not None:
                return subscription.end_id
        return self._ids.next(self._clock.wall_ms())

    def last_bytes(
        self, subscription: Subscription, farewell: Farewell, event_id: int | None
    ) -> bytes:
        """Return what ends a stream, encoded and framed.

        Args:
            subscription: A stream that has left its audience.
            farewell: Its last event, if it has one.
            event_id: The ID of that event; None leaves the `id:` line out.
        """
        request = subscription.request
        data = b""
        if farewell.event_type is not None:
            plain = self._frames.single(
                farewell.event_type, farewell.payload, event_id, farewell.retry_ms
            )
            data = self._audiences.apart(subscription, plain)
        ending = epilogue(request.encoding, subscription.trailer)
        if ending:
            data += chunk(ending) if request.is_chunked else ending
        return data + LAST_CHUNK if request.is_chunked else data
