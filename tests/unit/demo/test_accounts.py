"""Tests for `sseserver.demo.accounts`."""

from collections import Counter

from sseserver.demo.accounts import ADMIN, TRADERS, registration, session_of


def test_everybody_gets_a_session_and_one_is_admin() -> None:
    """Sessions are fixed; only the admin's has a role."""
    sessions = {
        line["sessionId"]: (line["userId"], line.get("role"))
        for line in registration()
        if line["op"] == "session.put"
    }

    assert sessions == {
        "demo-admin-session": ("demo-admin", "admin"),
        "demo-alice-session": ("demo-alice", None),
        "demo-bob-session": ("demo-bob", None),
        "demo-carol-session": ("demo-carol", None),
    }
    assert set(sessions) == {session_of(trader.user_id) for trader in TRADERS} | {session_of(ADMIN)}


def test_each_trader_has_a_strategy_and_empty_books() -> None:
    """Owners are registered; what an earlier run left in the state is cleared."""
    strategies = {
        line["strategyId"]: line["userId"]
        for line in registration()
        if line["op"] == "strategy.put"
    }
    cleared = Counter(
        line["userId"] for line in registration() if line.get("orders", line.get("positions")) == []
    )

    assert strategies == {trader.strategy_id: trader.user_id for trader in TRADERS}
    assert cleared == {trader.user_id: 2 for trader in TRADERS}
