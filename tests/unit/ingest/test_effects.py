"""Tests of `sseserver.ingest.effects`, through the pipeline that calls it."""

from typing import Any

import pytest

from sseserver.clock import iso_timestamp
from sseserver.errors import CloseReason
from sseserver.state.sessions import session_key
from tests.support.core import request_for
from tests.support.fake_connection import FakeConnection
from tests.unit.ingest.ingest_core import IngestCore, live, news, received

ORDER = {"orderId": "o-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
HELD = {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"}

LONGEST = 200
"""Levels of nesting that are accepted."""


def by_session(core: IngestCore, session_id: str, stream: str = "alerts") -> FakeConnection:
    """Return an open stream of user-1 that a session vouches for."""
    return live(core, stream, session_key=session_key(session_id))


def endings(connection: FakeConnection) -> tuple[CloseReason | None, str]:
    """Return why a stream ended, and the type of its last event."""
    return connection.reason, received(connection)[-1][0]


# ---- sessions ---------------------------------------------------------------------------


def test_a_session_becomes_valid() -> None:
    """`session.put` stores user, role and expiry."""
    core = IngestCore()
    expires = core.clock.wall_ms() // 1000 + 60
    core.do("session.put", sessionId="k", userId="user-1", role="admin", expiresAt=expires)
    session = core.sessions.get(session_key("k"), core.clock.wall_ms())

    assert session is not None
    assert (session.user_id, session.role, session.expires_at_ms) == (
        "user-1",
        "admin",
        expires * 1000,
    )


def test_a_renewed_session_is_looked_at_again() -> None:
    """A new expiry applies to the open streams of the session: they are re-armed, not ended."""
    core = IngestCore()
    core.do("session.put", sessionId="k", userId="user-1")
    core.do("session.put", sessionId="other", userId="user-1")
    renewed, untouched = by_session(core, "k"), by_session(core, "other")
    expires = core.clock.wall_ms() // 1000 + 60
    core.do("session.put", sessionId="k", userId="user-1", expiresAt=expires)

    assert [(one.rearmed, one.reason) for one in (renewed, untouched)] == [(1, None), (0, None)]


@pytest.mark.parametrize(
    "changes",
    [
        {"userId": "user-2"},
        {"userId": "user-1", "role": "admin"},
        {"userId": "user-1", "expiresAt": 1},
    ],
)
def test_a_changed_session_ends_its_streams(changes: dict[str, Any]) -> None:
    """Another user or role, or an expiry that has passed, ends the streams of a session."""
    core = IngestCore()
    core.do("session.put", sessionId="k", userId="user-1")
    core.do("session.put", sessionId="other", userId="user-1")
    ended, stays = by_session(core, "k"), by_session(core, "other")
    core.do("session.put", sessionId="k", **changes)

    assert endings(ended) == (CloseReason.SESSION_EXPIRED, "session:expired")
    assert stays.reason is None


def test_a_session_that_expired_unnoticed_leaves_no_stream_to_the_next() -> None:
    """Given to another user right after its expiry, a session ID does not keep old streams."""
    core = IngestCore()
    expires = core.clock.wall_ms() // 1000 + 1
    core.do("session.put", sessionId="k", userId="user-1", expiresAt=expires)
    stream = by_session(core, "k")
    core.clock.advance(2)
    core.do("session.put", sessionId="k", userId="user-2")

    assert endings(stream) == (CloseReason.SESSION_EXPIRED, "session:expired")


def test_a_deleted_session_ends_its_streams_at_once() -> None:
    """`session.delete` revokes the session and ends its streams, and no others."""
    core = IngestCore()
    core.do("session.put", sessionId="k", userId="user-1")
    ended, anonymous = by_session(core, "k"), live(core, "trading", is_counted=False)
    core.do("session.delete", sessionId="k")
    core.do("session.delete", sessionId="never known")

    assert endings(ended) == (CloseReason.SESSION_EXPIRED, "session:expired")
    assert anonymous.reason is None
    assert core.sessions.count == 0


def test_a_session_past_the_limit_ends_its_streams_at_once() -> None:
    """The streams of the session that makes room end as with `session.delete`; others go on."""
    core = IngestCore({"limits.max_sessions": 2})
    core.do("session.put", sessionId="oldest", userId="user-1")
    core.do("session.put", sessionId="newer", userId="user-1")
    evicted = [by_session(core, "oldest"), by_session(core, "oldest", "orders")]
    stays = by_session(core, "newer")
    core.do("session.put", sessionId="newest", userId="user-2")

    expected = (CloseReason.SESSION_EXPIRED, "session:expired")
    assert [endings(one) for one in evicted] == [expected, expected]
    assert stays.reason is None


# ---- strategies -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "fields"),
    [("strategy.delete", {}), ("strategy.put", {"userId": "user-2"})],
)
def test_streams_of_a_strategy_end_when_its_owner_loses_it(op: str, fields: dict[str, str]) -> None:
    """Deleted or given to somebody else, a strategy's streams end; others go on."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    gone = live(core, "strategies/s-1")
    stays = [live(core, "strategies/s-2"), live(core, "alerts")]
    core.do(op, strategyId="s-1", **fields)

    assert gone.reason is CloseReason.STRATEGY_GONE
    assert [one.reason for one in stays] == [None, None]


def test_a_strategy_past_the_limit_ends_its_streams() -> None:
    """The streams of the strategy that makes room end as with `strategy.delete`; others go on."""
    core = IngestCore({"limits.max_strategies": 2})
    core.do("strategy.put", strategyId="oldest", userId="user-1")
    core.do("strategy.put", strategyId="newer", userId="user-1")
    evicted, stays = live(core, "strategies/oldest"), live(core, "strategies/newer")
    core.do("strategy.put", strategyId="newest", userId="user-2")

    assert (evicted.reason, stays.reason) == (CloseReason.STRATEGY_GONE, None)


def test_streams_of_a_strategy_survive_its_registration_again() -> None:
    """The same owner may be put any number of times."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    connection = live(core, "strategies/s-1")
    core.do("strategy.put", strategyId="s-1", userId="user-1")

    assert connection.reason is None


@pytest.mark.parametrize("owner", [None, "user-9"])
def test_a_strategy_without_streams_can_be_deleted(owner: str | None) -> None:
    """Deleting what is not known, or what nobody watches, is no error."""
    core = IngestCore()
    if owner is not None:
        core.do("strategy.put", strategyId="s-1", userId=owner)
    core.do("strategy.delete", strategyId="s-1")

    assert core.strategies.owner("s-1") is None


# ---- state from elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "name", "item", "stream"),
    [
        ("orders.put", "orders", ORDER, "orders"),
        ("positions.put", "positions", HELD, "positions"),
    ],
)
def test_state_is_replaced_in_silence(
    op: str, name: str, item: dict[str, Any], stream: str
) -> None:
    """A put replaces all there was and emits nothing, unless it is told to."""
    core = IngestCore()
    core.do(op, userId="user-1", **{name: [item, {**item, "symbol": "MSFT", "orderId": "o-2"}]})
    connection = live(core, stream)
    core.do(op, userId="user-1", **{name: [item]})
    silent = news(core, connection, 2)
    core.do(op, userId="user-1", **{name: [{**item, "symbol": "GOOGL"}]}, notify=True)
    ((_, snapshot),) = news(core, connection, 2)

    assert silent == []
    assert snapshot["snapshot"] is True
    assert [one["symbol"] for one in snapshot[name]] == ["GOOGL"]
    assert snapshot["timestamp"] == iso_timestamp(core.clock.wall_ms())
    assert core.hub.users.buffered_events == 0


def test_state_from_elsewhere_is_redacted() -> None:
    """Secrets do not enter the state with a put either."""
    core = IngestCore()
    core.do("orders.put", userId="user-1", orders=[{**ORDER, "token": "t", "_row": 1}])
    core.do("positions.put", userId="user-1", positions=[{**HELD, "secrets": ["s"], "_row": 1}])
    (order,) = core.projection.orders_snapshot("user-1", "now")["orders"]
    (position,) = core.projection.positions_snapshot("user-1", "now")["positions"]

    assert order == {**ORDER, "token": "[REDACTED]"}
    assert (position["secrets"], "_row" in position) == ("[REDACTED]", False)


def test_state_can_be_put_for_somebody_who_is_not_connected() -> None:
    """`notify` reaches whoever is there: nobody, in this case."""
    core = IngestCore()
    core.do("orders.put", userId="user-1", orders=[ORDER], notify=True)
    core.do("positions.put", userId="user-1", positions=[HELD], notify=True)
    opening = received(core.connect(request_for("trading")))

    assert [kind for kind, _ in opening] == ["connected", "order:update", "position:update"]
    assert [one["orderId"] for one in opening[1][1]["orders"]] == ["o-1"]
    assert [one["symbol"] for one in opening[2][1]["positions"]] == ["AAPL"]


@pytest.mark.parametrize(
    ("op", "name", "item"),
    [("orders.put", "orders", ORDER), ("positions.put", "positions", HELD)],
)
def test_state_that_is_nested_too_deep_is_refused(op: str, name: str, item: dict[str, Any]) -> None:
    """The same holds for what is put, and nothing is put."""
    core = IngestCore()
    deep: list[Any] = []
    for _ in range(LONGEST):
        deep = [deep]
    answer = core.ask(op=op, userId="user-1", **{name: [item, {**item, "deep": deep}]})

    assert (answer["error"]["code"], answer["error"]["path"]) == ("invalid_message", f"$.{name}")
    assert core.projection.user_count == 0
