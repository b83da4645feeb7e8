"""One connection to the HTTP side on a fake transport, fed in pieces; time is held in the hand."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from sseserver.config import Config
from sseserver.net.http_protocol import Endpoints, HttpProtocol
from sseserver.net.stream_connection import StreamConnection
from tests.support.fake_transport import FakeTransport
from tests.support.http_answers import read_answers
from tests.support.http_corpus import PROBE, SESSIONS, SETTINGS, STRATEGIES, Piece, Then
from tests.unit.net.site import Site

if TYPE_CHECKING:
    from sseserver.state.sessions import Role

MAX_TURNS: Final = 10_000
"""Of the loop, until reading goes on: requests are answered sixteen a turn."""


def corpus_site() -> Site:
    """Return a server as the corpus wants it."""
    site = Site(SETTINGS)
    for session_id, (user_id, role) in SESSIONS.items():
        site.session(session_id, user_id, cast("Role", role))
    for strategy_id, user_id in STRATEGIES.items():
        site.strategies.put(strategy_id, user_id)
    return site


HEADER_SECONDS: Final = Config().server.header_timeout_seconds


class Conversation:
    """One connection and what came back on it.

    Args:
        site: The server.
        endpoints: What answers, where that is not the site itself.
    """

    def __init__(self, site: Site, endpoints: Endpoints | None = None) -> None:
        self.site = site
        self._transport = FakeTransport(HttpProtocol(endpoints or site.routes, site.connections))
        self._failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self._failures.append(context)
        )

    @property
    def received(self) -> bytes:
        """All that the peer has been sent."""
        assert [] == self._failures, "nothing fails in a later turn of the loop"
        return bytes(self._transport.sent)

    @property
    def then(self) -> Then:
        """What the connection is now, as far as it is certain: open is also what waits."""
        transport: FakeTransport = self._transport
        if isinstance(transport.get_protocol(), StreamConnection):
            return Then.STREAM
        return Then.ENDS if transport.has_eof or not transport.is_open else Then.OPEN

    @property
    def is_waiting(self) -> bool:
        """Whether a request has begun that may still be completed."""
        protocol = self._transport.get_protocol()
        is_idle = not isinstance(protocol, HttpProtocol) or protocol.is_idle
        return self.then is Then.OPEN and not is_idle

    async def send(self, pieces: Iterable[Piece]) -> None:
        """Let bytes arrive and time pass; the peer sends on whatever it is answered."""
        for piece in pieces:
            if isinstance(piece, float):
                self.site.pass_time(piece)
            else:
                self._transport.receive(piece)
            await self._settle()

    async def _settle(self) -> None:
        for _ in range(MAX_TURNS):
            if self._transport.is_reading() or not self._transport.is_open:
                return
            await asyncio.sleep(0)
        raise AssertionError("the connection is not read any more")


class Following(NamedTuple):
    """What comes of a connection afterwards."""

    status: Sequence[int]
    correlation_id: str
    then: Then


FOLLOWING: Final = {
    Then.OPEN: Following([200], "probe", Then.ENDS),
    Then.WAITS: Following([408], "", Then.ENDS),
    Then.STREAM: Following([], "", Then.STREAM),
    Then.ENDS: Following([], "", Then.ENDS),
}
"""What must come of each."""


async def following(conversation: Conversation) -> Following:
    """Ask once more, and return what comes of it.

    The request would be taken for a part of one that waits. So the time of that is let pass; it
    then gets its 408, and ours is dropped.
    """
    known = len(conversation.received)
    if conversation.is_waiting:
        await conversation.send([HEADER_SECONDS + 0.2])
    await conversation.send([PROBE])
    if conversation.then is Then.STREAM:
        return Following([], "", Then.STREAM)
    answers = read_answers(conversation.received[known:], methods=None)  # a HEAD's 408
    named = [one.headers["x-correlation-id"] for one in answers if one.status == 200]
    return Following([one.status for one in answers], "".join(named), conversation.then)


def byte_by_byte(pieces: Iterable[Piece], drip_seconds: float = 0.0) -> list[Piece]:
    """Return the pieces cut into bytes, with time between them where it is given."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, float):
            found.append(piece)
            continue
        for byte in piece:
            found.append(bytes((byte,)))
            if drip_seconds:
                found.append(drip_seconds)
    return found
