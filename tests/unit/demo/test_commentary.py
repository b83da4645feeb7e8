"""Tests for `sseserver.demo.commentary`."""

import random
from collections.abc import Callable
from itertools import count, pairwise

from sseserver.demo.accounts import Trader
from sseserver.demo.commentary import Commentary, Intent, feed_line
from sseserver.events import JsonObject

ALICE = Trader("alice", "momentum", "agent-1")
BOB = Trader("bob", "pairs", "agent-2")
INTENT = Intent("ord-1", "AAPL", "buy", 10, is_exit=False)


def ids() -> Callable[[str], str]:
    """Return a source of IDs."""
    numbers = count(1)
    return lambda kind: f"{kind}-{next(numbers)}"


def commentary(seed: int = 1) -> Commentary:
    """Return the voices of two traders."""
    return Commentary(random.Random(seed), [ALICE, BOB], ids())


def test_a_line_has_the_fields_it_needs() -> None:
    """User and correlation ID are left out where there is none."""
    assert {"type": "t", "data": {"a": 1}} == feed_line("t", {"a": 1})
    assert {"type": "t", "data": {}, "userId": "u", "correlationId": "c"} == feed_line(
        "t", {}, "u", "c"
    )


def test_the_opening_starts_every_agent_and_strategy() -> None:
    """Both kinds of status come once for each trader."""
    assert [
        ("agent:status", "running"),
        ("strategy:update", "started"),
        ("agent:status", "running"),
        ("strategy:update", "started"),
    ] == [(line["type"], line["data"]["status"]) for line in commentary().opening()]


def reasons(intent: Intent, *, is_started: bool = True) -> list[JsonObject]:
    """Return what was said over many orders like this one."""
    voices = commentary()
    if is_started:
        voices.opening()
    return [line for _ in range(100) for line in voices.reasons(ALICE, intent)]


def test_an_order_has_its_decision_and_signal() -> None:
    """They agree with the order and with each other, and carry its ID for tracing."""
    lines = reasons(INTENT)

    assert {line["type"] for line in lines} == {"ai:decision", "strategy:update"}
    for line in lines:
        data = line["data"]
        assert ("buy", "AAPL", "ord-1") == (data["action"], data["symbol"], line["correlationId"])
        assert 0 <= data["confidence"] <= 1
        assert "AAPL" in data["reasoning"]


def test_a_signal_leaves_the_owner_to_the_server() -> None:
    """A registered strategy's signal names no user; a decision does."""
    owners = {(line["type"], line.get("userId")) for line in reasons(INTENT)}

    assert owners == {("ai:decision", "alice"), ("strategy:update", None)}


def test_a_signal_says_whether_it_enters_or_leaves() -> None:
    """The signal's type follows what is held."""
    kinds = {
        is_exit: {
            line["data"]["signalType"]
            for line in reasons(INTENT._replace(is_exit=is_exit))
            if line["type"] == "strategy:update"
        }
        for is_exit in (False, True)
    }

    assert kinds == {False: {"entry"}, True: {"exit"}}


def test_a_stopped_strategy_has_no_reasons() -> None:
    """Before its start, a strategy neither decides nor signals."""
    assert [] == reasons(INTENT, is_started=False)


def test_an_alert_has_an_id_of_its_own() -> None:
    """Level and text are the caller's."""
    expected = {
        "type": "alert:new",
        "userId": "alice",
        "data": {"alertId": "alert-1", "level": "info", "message": "hello"},
    }

    assert expected == commentary().alert("alice", "info", "hello")


def test_a_strategy_goes_through_its_states() -> None:
    """It stops or fails only while it runs, starts only while it does not, and says why."""
    voices = commentary()
    voices.opening()
    seconds = [voices.supervise(ALICE) for _ in range(20_000)]
    updates = [line["data"] for lines in seconds for line in lines if "strategyId" in line["data"]]

    assert {update["status"] for update in updates} == {"started", "stopped", "error"}
    for before, after in pairwise(updates):
        assert (before["status"] == "started") != (after["status"] == "started")
    assert all(("error" in update) == (update["status"] == "error") for update in updates)


def test_agents_speak_now_and_then() -> None:
    """About every half minute, and never more than one line a second."""
    voices = commentary()
    seconds = [voices.supervise(BOB) for _ in range(10_000)]
    spoken = [line for lines in seconds for line in lines if line["type"] == "agent:status"]

    assert max(map(len, seconds)) == 1
    assert 250 < len(spoken) < 350
    assert {"agent-2"} == {line["data"]["agentId"] for line in spoken}
