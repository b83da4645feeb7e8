"""One event of each type that a feed may publish (contract section 3)."""

from typing import Any, Final

SAMPLES: Final[dict[str, dict[str, Any]]] = {
    "order:update": {
        "orderId": "ord-1",
        "symbol": "AAPL",
        "side": "buy",
        "qty": "10.5",
        "status": "new",
    },
    "order:fill": {"orderId": "ord-1", "filledQty": 4, "filledAvgPrice": "150.250"},
    "trade:new": {"tradeId": "t-1", "symbol": "AAPL", "side": "buy", "qty": 4, "price": 150.25},
    "position:update": {"symbol": "MSFT", "quantity": "3", "entryPrice": "400.10"},
    "price:update": {"symbol": "AAPL", "price": 152.5, "bid": 152.48, "ask": 152.52},
    "ai:decision": {"decisionId": "d-1", "action": "buy", "confidence": 0.8},
    "agent:status": {"agentId": "agent-1", "status": "running"},
    "strategy:update": {"strategyId": "s-1", "status": "started"},
    "alert:new": {"alertId": "a-1", "level": "error", "message": "m"},
}
"""What each needs in `data`."""

BROADCAST: Final = frozenset({"price:update", "agent:status"})
"""Those that concern everybody and name no user."""
