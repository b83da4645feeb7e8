"""However the bytes of a feed are cut, and whatever stands between its lines, they mean the same.

From the transport's callback to the state, without sockets: the ingest port with the pipeline
and all that is behind it.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sseserver.config import IngestConfig
from sseserver.net.ingest_port import IngestPort
from tests.support.fake_transport import FakeTransport
from tests.unit.ingest.ingest_core import IngestCore

MAX_LINE_BYTES = 400
USERS = ("user-1", "user-2")


def line(message: dict[str, Any]) -> bytes:
    """Return the line of a message."""
    return json.dumps(message).encode()


def user_line(event_type: str, user: str, data: dict[str, Any]) -> bytes:
    """Return the line that publishes something of a user."""
    return line({"ref": 1, "type": event_type, "userId": user, "data": data})


small = st.integers(1, 3)
good_lines = st.one_of(
    st.builds(
        lambda user, number, qty: user_line(
            "order:update",
            user,
            {"orderId": f"o-{number}", "symbol": "A", "side": "buy", "qty": qty, "status": "new"},
        ),
        st.sampled_from(USERS),
        small,
        small,
    ),
    st.builds(
        lambda user, number: user_line(
            "order:fill",
            user,
            {"orderId": "o-1", "filledQty": number, "filledAvgPrice": "1.5", "symbol": "é"},
        ),
        st.sampled_from(USERS),
        small,
    ),
    st.builds(
        lambda user, quantity: user_line(
            "position:update", user, {"symbol": "A", "quantity": quantity, "entryPrice": 2}
        ),
        st.sampled_from(USERS),
        st.integers(-2, 2),
    ),
    st.builds(
        lambda price: line({"type": "price:update", "data": {"symbol": "A", "price": price}}),
        small,
    ),
    st.builds(
        lambda user, number: line(
            {"ref": "r", "op": "session.put", "sessionId": f"k-{number}", "userId": user}
        ),
        st.sampled_from(USERS),
        small,
    ),
    st.builds(lambda number: line({"op": "session.delete", "sessionId": f"k-{number}"}), small),
    st.builds(
        lambda user: line({"op": "strategy.put", "strategyId": "s-1", "userId": user}),
        st.sampled_from(USERS),
    ),
    st.builds(
        lambda user: line({"op": "orders.put", "userId": user, "orders": []}),
        st.sampled_from(USERS),
    ),
)
bad_lines = st.one_of(
    st.sampled_from(
        [
            b"",
            b"\r",
            b"{",
            b"\xff",
            b"x" * (MAX_LINE_BYTES + 1),
            b'{"op":"dance"}',
            b'{"ref":2,"type":"alert:new","userId":"user-1","data":{}}',
            b'{"ref":2,"type":"price:update","data":{"symbol":"A","price":[1]}}',
            user_line("position:update", "user-1", {"symbol": "B", "quantity": 1}),
            b'{"op":"session.put","sessionId":"k-1","userId":"user-1","role":"root"}',
        ]
    ),
    # Nothing that begins so is JSON.
    st.binary(max_size=MAX_LINE_BYTES + 9).map(lambda data: b"}" + data.replace(b"\n", b"")),
)


class Ingest:
    """The ingest port with everything behind it, and one feed."""

    def __init__(self) -> None:
        self.core = IngestCore()
        port = IngestPort(
            self.core.pipeline,
            IngestConfig(max_line_bytes=MAX_LINE_BYTES),
            self.core.clock.monotonic,
        )
        self.feed = FakeTransport(port.make_feed(), None)

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Deliver pieces of bytes, and let every line be applied."""
        for piece in pieces:
            self.feed.receive(piece)
            while not self.feed.is_reading_now:
                await asyncio.sleep(0)

    def answers(self) -> list[dict[str, Any]]:
        """Return all answers so far."""
        return [json.loads(answer) for answer in bytes(self.feed.sent).splitlines()]

    def state(self) -> list[Any]:
        """Return what is true now."""
        core = self.core
        return [
            *(core.projection.orders_snapshot(user, "now") for user in USERS),
            *(core.projection.positions_snapshot(user, "now") for user in USERS),
            core.projection.prices_snapshot(None, "now"),
            core.strategies.owner("s-1"),
            [
                (key, session.user_id)
                for key in sorted(core.sessions._sessions)
                if (session := core.sessions.get(key, core.clock.wall_ms())) is not None
            ],
            [len(core.hub.users.obtain(user, 0.0).buffer) for user in USERS],
        ]


def results_of(pieces: Sequence[bytes]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return answers and state after bytes that arrive in these pieces."""

    async def deliver() -> tuple[list[dict[str, Any]], list[Any]]:
        ingest = Ingest()
        await ingest.send(pieces)
        return ingest.answers(), ingest.state()

    return asyncio.run(deliver())


@given(st.lists(good_lines | bad_lines, max_size=12), st.data())
@settings(deadline=None, max_examples=150)
def test_any_cut_gives_the_same_answers_and_the_same_state(
    lines: list[bytes], data: st.DataObject
) -> None:
    """One read, a read per byte or anything between: answers with their IDs, and the state."""
    whole = b"".join(one + b"\n" for one in lines) + b'{"op":"session.delete","sess'
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=20)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    expected = results_of([whole])

    assert results_of(pieces) == expected


@given(st.lists(good_lines | bad_lines, max_size=4))
@settings(deadline=None, max_examples=25)
def test_a_read_per_byte_gives_the_same(lines: list[bytes]) -> None:
    """The finest cut of all, also inside of characters of several bytes."""
    whole = b"".join(one + b"\r\n" for one in lines)

    assert results_of([bytes([one]) for one in whole]) == results_of([whole])


@given(st.lists(good_lines, min_size=1, max_size=10), st.data())
@settings(deadline=None, max_examples=150)
def test_bad_lines_between_good_ones_change_nothing(
    lines: list[bytes], data: st.DataObject
) -> None:
    """The state is that of the good lines alone, and each of them is answered as before."""
    mixed = list(lines)
    for bad in data.draw(st.lists(bad_lines, min_size=1, max_size=6)):
        mixed.insert(data.draw(st.integers(0, len(mixed))), bad)
    answers, state = results_of([b"".join(one + b"\n" for one in mixed)])
    expected_answers, expected_state = results_of([b"".join(one + b"\n" for one in lines)])

    assert state == expected_state
    assert [one["ref"] for one in answers if one["ok"]] == [one["ref"] for one in expected_answers]
    assert [one for one in expected_answers if not one["ok"]] == []
