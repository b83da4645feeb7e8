"""What the demo says beside orders and fills: decisions, signals, alerts, how agents are doing.

`demo.trading_desk` decides when something is said.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from sseserver.demo.accounts import Trader
from sseserver.events import JsonObject

Side: TypeAlias = Literal["buy", "sell"]

# How talkative the demo is: each chance is per second and trader, or per order.
_SIGNAL_CHANCE: Final = 0.6
_AGENT_CHANCE: Final = 0.03
_RESTART_CHANCE: Final = 0.2
_STOP_CHANCE: Final = 0.005

_REASONS: Final[dict[Side, tuple[str, ...]]] = {
    "buy": (
        "{symbol} trades above its 20-minute average with rising volume",
        "{symbol} came back to yesterday's close and held",
        "the spread of {symbol} against its sector is two deviations wide",
    ),
    "sell": (
        "{symbol} lost its 20-minute average",
        "momentum of {symbol} fades while the market rises",
        "{symbol} reached the target of the last entry",
    ),
}

_AGENT_STATES: Final = (
    ("running", "watching the market"),
    ("thinking", "weighing the last five minutes"),
    ("idle", "nothing to do at these prices"),
)


class Intent(NamedTuple):
    """An order about to be placed, and whether it reduces what is held."""

    order_id: str
    symbol: str
    side: Side
    quantity: int
    is_exit: bool


def feed_line(
    event_type: str,
    data: JsonObject,
    user_id: str | None = None,
    correlation_id: str | None = None,
) -> JsonObject:
    """Return a message for the ingest port, without a reference (contract section 3)."""
    line: JsonObject = {"type": event_type, "data": data}
    if user_id is not None:
        line["userId"] = user_id
    if correlation_id is not None:
        line["correlationId"] = correlation_id
    return line


class Commentary:
    """The voices of the demo; remembers which strategies run."""

    def __init__(
        self, rng: random.Random, traders: Sequence[Trader], new_id: Callable[[str], str]
    ) -> None:
        """Begin with every strategy about to start.

        Args:
            rng: Every choice comes from it.
            traders: Whose strategies and agents these are.
            new_id: Returns an ID never given out before, of the kind it is called with.
        """
        self._rng = rng
        self._traders = tuple(traders)
        self._new_id = new_id
        self._running: set[str] = set()

    def opening(self) -> list[JsonObject]:
        """Return what agents and strategies say when the demo starts."""
        lines = []
        for trader in self._traders:
            lines.append(_agent_status(trader, *_AGENT_STATES[0]))
            lines.append(self._strategy_status(trader, "started"))
        return lines

    def reasons(self, trader: Trader, intent: Intent) -> list[JsonObject]:
        """Return the decision and the signal that led to an order; a stopped strategy has none."""
        if trader.strategy_id not in self._running:
            return []
        confidence = round(self._rng.uniform(0.55, 0.98), 2)
        reasoning = self._rng.choice(_REASONS[intent.side]).format(symbol=intent.symbol)
        decision = {
            "decisionId": self._new_id("decision"),
            "action": intent.side,
            "symbol": intent.symbol,
            "confidence": confidence,
            "reasoning": reasoning,
        }
        signal = {
            "strategyId": trader.strategy_id,
            "signalType": "exit" if intent.is_exit else "entry",
            "symbol": intent.symbol,
            "action": intent.side,
            "confidence": confidence,
            "reasoning": reasoning,
            "details": {"orderId": intent.order_id, "quantity": intent.quantity},
        }
        lines = []
        if self._rng.random() < _SIGNAL_CHANCE:
            lines.append(feed_line("ai:decision", decision, trader.user_id, intent.order_id))
        if self._rng.random() < _SIGNAL_CHANCE:
            # No user: the server knows the owner of a registered strategy.
            lines.append(feed_line("strategy:update", signal, None, intent.order_id))
        return lines

    def alert(self, user_id: str, level: str, message: str) -> JsonObject:
        """Return an `alert:new` of a level the contract knows."""
        data = {"alertId": self._new_id("alert"), "level": level, "message": message}
        return feed_line("alert:new", data, user_id)

    def supervise(self, trader: Trader) -> list[JsonObject]:
        """Return what an agent or a strategy says of itself, now and then."""
        chance = self._rng.random()
        if chance < _AGENT_CHANCE:
            return [_agent_status(trader, *self._rng.choice(_AGENT_STATES))]
        if trader.strategy_id in self._running:
            if chance > 1.0 - _STOP_CHANCE:
                return [self._strategy_status(trader, self._rng.choice(("stopped", "error")))]
        elif chance > 1.0 - _RESTART_CHANCE:
            return [self._strategy_status(trader, "started")]
        return []

    def _strategy_status(self, trader: Trader, status: str) -> JsonObject:
        data = {"strategyId": trader.strategy_id, "status": status}
        if status == "started":
            self._running.add(trader.strategy_id)
        else:
            self._running.discard(trader.strategy_id)
        if status == "error":
            data["error"] = "indicator data is older than 5 s"
        return feed_line("strategy:update", data)


def _agent_status(trader: Trader, status: str, message: str) -> JsonObject:
    data = {"agentId": trader.agent_id, "status": status, "message": message}
    return feed_line("agent:status", data)
