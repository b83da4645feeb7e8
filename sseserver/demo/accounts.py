"""The demo's users: their sessions, strategies and agents, under names that never change."""

from typing import Final, NamedTuple

from sseserver.events import JsonObject


class Trader(NamedTuple):
    """A demo user with the strategy and the agent that decide for them."""

    user_id: str
    strategy_id: str
    agent_id: str


TRADERS: Final = (
    Trader("demo-alice", "momentum", "agent-momentum"),
    Trader("demo-bob", "mean-reversion", "agent-reversion"),
    Trader("demo-carol", "pairs", "agent-pairs"),
)

ADMIN: Final = "demo-admin"
"""The user whose session has the role admin."""


def session_of(user_id: str) -> str:
    """Return a demo user's session ID; no secret, since the demo is there to be tried."""
    return f"{user_id}-session"


def registration() -> list[JsonObject]:
    """Return what makes the demo's users known, and clears what an earlier run left of them."""
    lines: list[JsonObject] = [
        {"op": "session.put", "sessionId": session_of(ADMIN), "userId": ADMIN, "role": "admin"}
    ]
    for user_id, strategy_id, _ in TRADERS:
        lines += [
            {"op": "session.put", "sessionId": session_of(user_id), "userId": user_id},
            {"op": "strategy.put", "strategyId": strategy_id, "userId": user_id},
            {"op": "orders.put", "userId": user_id, "orders": []},
            {"op": "positions.put", "userId": user_id, "positions": []},
        ]
    return lines
