"""Tests of `sseserver.ingest.pipeline`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sseserver.clock import iso_timestamp
from sseserver.event_id import format_event_id
from sseserver.events import EVENT_TYPES, Event
from tests.support.captured_log import captured_log
from tests.support.core import request_for
from tests.unit.ingest.ingest_core import IngestCore, SlowBackplane, live, news, received
from tests.unit.ingest.sample_lines import PAYLOADS, TIMESTAMP

ORDER = {"orderId": "o-1", "symbol": "AAPL", "side": "buy", "qty": 10, "status": "new"}
ALERT = {"alertId": "a-1", "level": "warning", "message": "m"}
SIGNAL = {"strategyId": "s-1", "signalType": "entry"}
HELD = {"symbol": "AAPL", "quantity": "10", "entryPrice": "150.00"}
PRICE = {"symbol": "AAPL", "price": 152.5}
STATUS = {"agentId": "agent-1", "status": "running"}

STREAM_OF = {
    "order:update": "orders",
    "order:fill": "orders",
    "trade:new": "orders",
    "position:update": "positions",
    "price:update": "prices",
    "ai:decision": "ai-decisions",
    "agent:status": "ai-decisions",
    "strategy:update": "strategies/s-1",
    "alert:new": "alerts",
}
"""Where each type is delivered (contract section 3)."""

LONGEST = 200
"""Levels of nesting that are accepted."""


# ---- answers ----------------------------------------------------------------------------


def test_a_line_with_a_reference_is_answered_with_the_events_id() -> None:
    """An accepted publish is answered with its `ref`, `ok` and the newest ID given out."""
    core = IngestCore()
    answer = core.ask(type="alert:new", userId="user-1", data=ALERT)

    assert answer == {"ref": 1, "ok": True, "id": format_event_id(core.hub.ids.last)}


def test_a_line_without_a_reference_is_answered_only_when_it_is_wrong() -> None:
    """Without `ref` an accepted line is silent, a refused one is not."""
    core = IngestCore()
    good = core.answers(b'{"op":"ping"}')
    (bad,) = core.answers(b'{"op":"pong"}')

    assert good == []
    assert (bad["ok"], "ref" in bad, bad["error"]["code"]) == (False, False, "unknown_op")


@pytest.mark.parametrize("ref", [7, -1, "seven", ""])
def test_a_reference_comes_back_as_it_was(ref: int | str) -> None:
    """Answers of both kinds carry the line's own `ref`, a number or a string."""
    core = IngestCore()
    good = core.ask(op="ping", ref=ref)
    bad = core.ask(type="price:update", ref=ref, data={"symbol": "AAPL", "price": []})

    assert good == {"ref": ref, "ok": True}
    assert bad == {
        "ref": ref,
        "ok": False,
        "error": {
            "code": "invalid_message",
            "message": "Expected `number | str`, got `array`",
            "path": "$.data.price",
        },
    }


def test_lines_are_counted_by_their_outcome() -> None:
    """Accepted and refused lines are counted apart, oversize ones as refused."""
    core = IngestCore()
    core.answers(b'{"op":"ping"}')
    core.answers(b'{"op":"ping"}')
    core.answers(b"nothing")
    core.pipeline.refuse_oversize(256, list[bytes]().append)
    counters = core.hub.counters

    assert (counters.accepted_lines, counters.refused_lines) == (2, 2)


def test_an_oversize_line_is_answered_with_the_limit() -> None:
    """`too_large` carries neither `ref` nor path, and says what is allowed."""
    answers: list[bytes] = []
    IngestCore().pipeline.refuse_oversize(256, answers.append)

    assert [json.loads(answer) for answer in answers] == [
        {
            "ok": False,
            "error": {"code": "too_large", "message": "A line may have 256 bytes at most"},
        }
    ]


def test_a_bug_costs_one_line() -> None:
    """What nobody foresaw is answered `unavailable` with the `ref`, logged, and survived."""

    def broken(event: Event, on_stored: Callable[[Event], None]) -> None:
        raise LookupError(event.type)

    core = IngestCore(backplane=broken)
    with captured_log() as log:
        answer = core.ask(type="alert:new", userId="user-1", data=ALERT)
    after = core.ask(op="ping")
    (line,) = log.of("ingest_line_failed")

    assert answer == {
        "ref": 1,
        "ok": False,
        "error": {"code": "unavailable", "message": "The line could not be applied"},
    }
    assert line["level"] == "error"
    assert line["exception"].endswith("LookupError: alert:new")
    assert after == {"ref": 1, "ok": True}
    assert (core.hub.counters.accepted_lines, core.hub.counters.refused_lines) == (1, 1)


# ---- publishing -------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_each_type_is_delivered_on_its_stream(event_type: str) -> None:
    """Every type goes to its own stream and to no other one but `trading`."""
    core = IngestCore()
    if event_type == "position:update":
        core.do("positions.put", userId="user-1", positions=[HELD])
    streams = {name: live(core, name) for name in set(STREAM_OF.values())}
    known = {name: len(received(connection)) for name, connection in streams.items()}
    broadcast = EVENT_TYPES[event_type].is_broadcast
    event_id = core.publish(event_type, PAYLOADS[event_type], None if broadcast else "user-1")
    core.hub.flush()
    arrived = {
        name: [(event.type, event.last_event_id) for event in connection.source().events][
            known[name] :
        ]
        for name, connection in streams.items()
    }

    assert arrived == {
        name: [(event_type, event_id)] if name == STREAM_OF[event_type] else []
        for name in set(STREAM_OF.values())
    }


@pytest.mark.parametrize(
    ("event_type", "stream"),
    [("order:update", "orders"), ("order:fill", "orders"), ("trade:new", "orders")],
)
def test_trading_carries_what_orders_carries(event_type: str, stream: str) -> None:
    """The combined stream receives the same payload as the stream of orders."""
    core = IngestCore()
    single, combined = live(core, stream), live(core, "trading")
    core.publish(event_type, PAYLOADS[event_type])

    assert news(core, single, 2) == news(core, combined, 3) != []


@pytest.mark.parametrize(
    "event_type", [name for name in PAYLOADS if name not in {"order:fill", "position:update"}]
)
def test_a_payload_arrives_as_it_was_sent(event_type: str) -> None:
    """Every field the contract knows reaches the stream unchanged."""
    core = IngestCore()
    connection = live(core, STREAM_OF[event_type])
    known = len(received(connection))
    broadcast = EVENT_TYPES[event_type].is_broadcast
    core.publish(event_type, PAYLOADS[event_type], None if broadcast else "user-1")

    assert news(core, connection, known) == [(event_type, PAYLOADS[event_type])]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("order:update", ORDER),
        ("alert:new", ALERT),
        ("strategy:update", SIGNAL),
        ("price:update", PRICE),
        ("price:update", PRICE | {"venue": "XNAS"}),
        ("agent:status", STATUS),
        ("position:update", HELD),
    ],
)
def test_a_missing_timestamp_is_filled_in(event_type: str, data: dict[str, Any]) -> None:
    """A payload without `timestamp` (or with null) gets the time of the server."""
    core = IngestCore()
    connection = live(core, STREAM_OF[event_type])
    known = len(received(connection))
    user = None if EVENT_TYPES[event_type].is_broadcast else "user-1"
    core.publish(event_type, data, user)
    core.clock.advance(1)
    core.publish(event_type, {**data, "timestamp": None}, user)
    now_ms = core.clock.wall_ms()

    assert [payload["timestamp"] for _, payload in news(core, connection, known)] == [
        iso_timestamp(now_ms - 1000),
        iso_timestamp(now_ms),
    ]


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("alert:new", ALERT),
        ("price:update", PRICE),
        ("price:update", PRICE | {"venue": "XNAS"}),
        ("agent:status", STATUS),
        ("position:update", HELD),
    ],
)
def test_a_given_timestamp_stays(event_type: str, data: dict[str, Any]) -> None:
    """A feed's own `timestamp` is passed on."""
    core = IngestCore()
    connection = live(core, STREAM_OF[event_type])
    known = len(received(connection))
    user = None if EVENT_TYPES[event_type].is_broadcast else "user-1"
    core.publish(event_type, {**data, "timestamp": TIMESTAMP}, user)
    ((_, payload),) = news(core, connection, known)

    assert payload["timestamp"] == TIMESTAMP


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("order:update", ORDER),
        ("order:fill", PAYLOADS["order:fill"]),
        ("trade:new", PAYLOADS["trade:new"]),
        ("ai:decision", PAYLOADS["ai:decision"]),
        ("strategy:update", SIGNAL),
        ("alert:new", ALERT),
        ("price:update", PRICE),
        ("agent:status", STATUS),
    ],
)
def test_unknown_fields_pass_redacted(event_type: str, data: dict[str, Any]) -> None:
    """What the contract does not list goes on, secrets and internal fields taken out."""
    core = IngestCore()
    connection = live(core, STREAM_OF[event_type])
    known = len(received(connection))
    extra = {"venue": "XNAS", "apiKey": "k", "_node": 3, "nested": [{"PASSWORD": 1, "x": None}]}
    user = None if EVENT_TYPES[event_type].is_broadcast else "user-1"
    core.publish(event_type, {**data, **extra}, user)
    ((_, payload),) = news(core, connection, known)

    assert {name: payload.get(name, "gone") for name in extra} == {
        "venue": "XNAS",
        "apiKey": "[REDACTED]",
        "_node": "gone",
        "nested": [{"PASSWORD": "[REDACTED]", "x": None}],
    }


def test_unknown_fields_of_a_position_pass_redacted() -> None:
    """They stand beside the position's own, in the event and in the snapshot."""
    core = IngestCore()
    connection = live(core, "positions")
    core.publish("position:update", {**HELD, "desk": "eq", "token": "t", "_row": 1})
    ((_, payload),) = news(core, connection, 2)
    snapshot = core.projection.positions_snapshot("user-1", "now")
    expected = {
        "symbol": "AAPL",
        "quantity": "10",
        "entryPrice": "150.00",
        "currentPrice": "150.00",
        "unrealizedPnL": 0.0,
        "desk": "eq",
        "token": "[REDACTED]",
    }

    assert payload["positions"] == snapshot["positions"] == [expected]


@pytest.mark.parametrize(
    ("event_type", "posing"),
    [
        ("order:update", {"snapshot": True, "orders": []}),
        ("order:fill", {"snapshot": True, "orders": []}),
        ("trade:new", {"snapshot": True, "orders": []}),
        ("price:update", {"initializing": True, "prices": []}),
    ],
)
def test_no_event_poses_as_a_snapshot(event_type: str, posing: dict[str, Any]) -> None:
    """Whatever a feed writes into `data`, a page cannot take one event for all there is."""
    core = IngestCore()
    connection = live(core, STREAM_OF[event_type])
    known = len(received(connection))
    user = None if EVENT_TYPES[event_type].is_broadcast else "user-1"
    core.publish(event_type, {**PAYLOADS[event_type], **posing}, user)
    ((_, payload),) = news(core, connection, known)

    assert payload.keys() - {"status"} == PAYLOADS[event_type].keys() - {"status"}


def test_no_position_poses_as_a_snapshot() -> None:
    """What a feed adds to a position stands in its entry; the payload is the portfolio's."""
    core = IngestCore()
    connection = live(core, "positions")
    posing = {"snapshot": True, "positions": [], "totalValue": 0}
    core.publish("position:update", {**HELD, **posing})
    ((_, payload),) = news(core, connection, 2)

    assert payload.keys() == {"positions", "totalValue", "timestamp"}
    assert ([item["symbol"] for item in payload["positions"]], payload["totalValue"]) == (
        ["AAPL"],
        1500.0,
    )


@pytest.mark.parametrize("key", [b"", b'"key":"k-1",'])
def test_what_could_just_be_read_is_refused_as_a_feeds_mistake(key: bytes) -> None:
    """Between what is followed and what is not even read there is no nesting that is a bug."""
    core = IngestCore()
    line = (
        b'{"ref":1,%b"type":"ai:decision","userId":"user-1",'
        b'"data":{"decisionId":"d-1","action":"hold","details":%b%b}}'
    )
    with captured_log() as log:
        codes = {
            answer["error"]["code"]
            for levels in range(LONGEST, 1100)
            for answer in core.answers(line % (key, b"[" * levels, b"]" * levels))
        }

    assert {"invalid_message"} == codes
    assert [] == log.lines


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"type": "alert:new", "userId": "user-1", "data": ALERT}, "$.data"),
        ({"type": "price:update", "data": PRICE}, "$.data"),
    ],
)
def test_what_is_nested_too_deep_to_redact_is_refused(message: dict[str, Any], path: str) -> None:
    """A payload past the levels that are redacted is refused where it stands."""
    core = IngestCore()
    deep: list[Any] = []
    for _ in range(LONGEST):
        deep = [deep]
    answer = core.ask(**{**message, "data": {**message["data"], "deep": deep}})

    assert (answer["error"]["code"], answer["error"]["path"]) == ("invalid_message", path)


def test_a_new_redactor_takes_effect_at_the_next_line() -> None:
    """The configuration of redaction can be replaced while running."""
    core = IngestCore()
    connection = live(core, "alerts")
    core.pipeline.redactor = IngestCore({"redaction.secret_keys": ["desk"]}).pipeline.redactor
    core.publish("alert:new", {**ALERT, "desk": "eq", "token": "t"})
    ((_, payload),) = news(core, connection, 1)

    assert (payload["desk"], payload["token"]) == ("[REDACTED]", "t")


def test_facts_are_kept_for_replay_and_broadcasts_are_not() -> None:
    """The replay buffer holds the user's facts, and no price nor status."""
    core = IngestCore()
    core.publish("alert:new", ALERT)
    core.publish("order:update", ORDER)
    core.publish("price:update", PRICE, None)
    core.publish("agent:status", STATUS, None)
    replayed = [
        *received(core.connect(request_for("alerts"))),
        *received(core.connect(request_for("orders"))),
    ]

    assert [kind for kind, _ in replayed] == [
        "connected", "alert:new", "connected", "order:update", "order:update",
    ]  # fmt: skip
    assert core.hub.users.buffered_events == 2


def test_published_events_are_counted_by_type() -> None:
    """Each accepted event counts once, a refused one not at all."""
    core = IngestCore()
    core.publish("alert:new", ALERT)
    core.publish("alert:new", {**ALERT, "level": "error"})
    core.publish("price:update", PRICE, None)
    core.publish("agent:status", STATUS, None)
    core.ask(type="alert:new", userId="user-1", data={})

    assert core.hub.counters.published_events == {
        "alert:new": 2,
        "price:update": 1,
        "agent:status": 1,
    }


def test_latency_counts_from_the_reading_of_the_line() -> None:
    """The delivery of a fact, a price and a status is measured from when it was read."""
    core = IngestCore()
    for stream in ("alerts", "prices", "ai-decisions"):
        live(core, stream)
    core.publish("alert:new", ALERT)
    core.publish("price:update", PRICE, None)
    core.publish("agent:status", STATUS, None)
    core.clock.advance(0.2)
    core.hub.flush()
    latency = core.hub.counters.delivery_latency

    assert (latency.count, round(latency.total_seconds, 9)) == (3, 0.6)


def test_an_event_is_delivered_once_it_is_stored() -> None:
    """Nobody is handed what the backplane has not stored yet."""
    backplane = SlowBackplane()
    core = IngestCore(backplane=backplane)
    connection = live(core, "alerts")
    core.publish("alert:new", ALERT)
    before = news(core, connection, 1)
    backplane.store()

    assert before == []
    assert [kind for kind, _ in news(core, connection, 1)] == ["alert:new"]


# ---- what follows from an event ---------------------------------------------------------


def test_an_order_is_in_the_state_before_its_answer() -> None:
    """Updates and fills of an order are in the next snapshot, the status following the fill."""
    core = IngestCore()
    core.publish("order:update", ORDER)
    connection = live(core, "orders")
    core.publish(
        "order:fill", {"orderId": "o-1", "filledQty": 4, "filledAvgPrice": 150, "status": "?"}
    )
    ((kind, fill),) = news(core, connection, 3)
    (order,) = core.projection.orders_snapshot("user-1", "now")["orders"]

    assert (kind, fill["status"], fill["filledQty"]) == ("order:fill", "partially_filled", 4)
    assert (order["status"], order["filledQty"], order["qty"]) == ("partially_filled", 4, 10)


def test_a_trade_changes_no_state() -> None:
    """`trade:new` is passed on and stored nowhere but for replay."""
    core = IngestCore()
    core.publish("trade:new", PAYLOADS["trade:new"])

    assert core.projection.user_count == 0


def test_a_position_is_valued() -> None:
    """A `position:update` goes out with the portfolio's figures, at the last price."""
    core = IngestCore()
    core.publish("price:update", PRICE, None)
    connection = live(core, "positions")
    core.publish("position:update", HELD)
    ((kind, payload),) = news(core, connection, 2)
    del payload["timestamp"]

    assert kind == "position:update"
    assert payload == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "150.00",
                "currentPrice": "152.5",
                "unrealizedPnL": 25.0,
            }
        ],
        "totalValue": 1525.0,
    }


def test_a_position_that_cannot_be_valued_changes_nothing() -> None:
    """Opening without `entryPrice` is refused with its path; no event, no state."""
    core = IngestCore()
    answer = core.ask(
        type="position:update", userId="user-1", data={"symbol": "AAPL", "quantity": 1}
    )

    assert (answer["error"]["code"], answer["error"]["path"]) == (
        "invalid_message",
        "$.data.entryPrice",
    )
    assert (core.projection.user_count, core.hub.users.buffered_events) == (0, 0)
    assert core.hub.counters.published_events == {}


def test_a_price_revalues_those_who_hold_and_watch() -> None:
    """A price asks for a window when a connected user's holding moved, and not otherwise."""
    core = IngestCore()
    core.do("positions.put", userId="user-1", positions=[HELD])
    core.publish("price:update", PRICE, None)
    without_watcher = len(core.window_wishes)
    connection = live(core, "positions")
    core.publish("price:update", {**PRICE, "symbol": "MSFT"}, None)
    other_symbol = len(core.window_wishes)
    core.publish("price:update", {**PRICE, "price": 151}, None)
    core.hub.end_window()
    ((_, payload),) = news(core, connection, 2)

    assert (without_watcher, other_symbol, len(core.window_wishes)) == (0, 0, 1)
    assert payload["positions"][0]["currentPrice"] == "151"


def test_a_negative_price_is_a_price() -> None:
    """Oil at -37.63: quoted, held at a loss, re-valued and traded like any other price."""
    core = IngestCore()
    core.do("positions.put", userId="user-1", positions=[{**HELD, "entryPrice": "-5.00"}])
    prices, positions = live(core, "prices"), live(core, "positions")
    orders = live(core, "orders")
    quote = {"symbol": "AAPL", "price": -37.63, "bid": "-37.65", "ask": -37.5}
    trade = {**PAYLOADS["trade:new"], "price": "-37.63"}
    core.publish("price:update", quote, None)
    core.publish("trade:new", trade)
    core.hub.end_window()
    ((_, quoted),) = news(core, prices, 2)
    ((_, traded),) = news(core, orders, 2)
    ((_, revalued),) = news(core, positions, 2)

    assert quoted.items() >= quote.items()
    assert traded == trade
    assert (revalued["totalValue"], revalued["positions"]) == (
        -376.3,
        [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "-5.00",
                "currentPrice": "-37.63",
                "unrealizedPnL": -326.3,
            }
        ],
    )


def test_an_agents_status_is_known_to_those_who_were_slow() -> None:
    """The newest status of each agent is kept in the projection."""
    core = IngestCore()
    core.publish("agent:status", STATUS, None)
    event_id = core.publish("agent:status", {**STATUS, "status": "idle"}, None)
    (event,) = core.projection.agent_statuses_after(0)

    assert (format_event_id(event.id), json.loads(event.data)["status"]) == (event_id, "idle")


# ---- alerts -----------------------------------------------------------------------------


def test_an_error_alert_is_written_at_once() -> None:
    """Level `error` does not wait for a flush, is marked, and its delivery is logged."""
    core = IngestCore()
    connections = [live(core, "alerts"), live(core, "alerts")]
    with captured_log() as log:
        answer = core.ask(
            type="alert:new",
            userId="user-1",
            correlationId="c-7",
            data={**ALERT, "level": "error"},
        )
    arrived = [received(connection)[1:] for connection in connections]
    (line,) = log.of("alert_delivered")

    for ((kind, payload),) in arrived:
        assert (kind, payload["level"], payload["priority"]) == ("alert:new", "error", "high")
    assert line == {
        "level": "info",
        "event": "alert_delivered",
        "event_id": answer["id"],
        "user_id": "user-1",
        "connections": 2,
        "correlation_id": "c-7",
    }


@pytest.mark.parametrize("level", ["info", "warning"])
def test_other_alerts_wait_for_the_flush(level: str) -> None:
    """Lower levels are not marked, not logged by themselves, and go with the next flush."""
    core = IngestCore()
    connection = live(core, "alerts")
    with captured_log() as log:
        core.publish("alert:new", {**ALERT, "level": level})
    before = received(connection)[1:]
    ((_, payload),) = news(core, connection, 1)

    assert (before, "priority" in payload, log.of("alert_delivered")) == ([], False, [])


# ---- log --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "data", "connections"),
    [
        ("order:update", ORDER, 1),
        ("alert:new", {**ALERT, "level": "error"}, 1),
        ("agent:status", STATUS, 1),
        ("price:update", PRICE, None),
    ],
)
def test_every_event_is_logged_when_wanted(
    event_type: str, data: dict[str, Any], connections: int | None
) -> None:
    """At level debug each event has one line, with its ID and the feed's correlation ID."""
    core = IngestCore()
    core.pipeline.logs_events = True
    live(core, STREAM_OF[event_type])
    user = {} if EVENT_TYPES[event_type].is_broadcast else {"userId": "user-1"}
    with captured_log() as log:
        answer = core.ask(type=event_type, data=data, correlationId="c-7", **user)

    assert log.of("event_published") == [
        {
            "level": "debug",
            "event": "event_published",
            "event_id": answer["id"],
            "type": event_type,
            "connections": connections,
            "correlation_id": "c-7",
        }
    ]


def test_no_event_is_logged_otherwise() -> None:
    """By default the hot path logs nothing."""
    core = IngestCore()
    with captured_log() as log:
        core.publish("order:update", ORDER)
        core.publish("agent:status", STATUS, None)
        core.publish("price:update", PRICE, None)

    assert log.lines == []


# ---- strategies -------------------------------------------------------------------------


def test_a_registered_strategy_needs_no_user() -> None:
    """An update of a registered strategy goes to its owner alone."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    owner = live(core, "strategies/s-1")
    other = live(core, "strategies/s-1", user_id="user-2")
    sibling = live(core, "strategies/s-2")
    core.publish("strategy:update", SIGNAL, None)

    assert [news(core, one, 1) != [] for one in (owner, other, sibling)] == [True, False, False]


def test_a_strategy_of_somebody_else_is_not_published_to() -> None:
    """Naming a user who is not the owner is `not_allowed`; naming the owner is fine."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    refused = core.ask(type="strategy:update", userId="user-2", data=SIGNAL)
    accepted = core.ask(type="strategy:update", userId="user-1", data=SIGNAL)

    assert (refused["error"]["code"], refused["error"]["path"]) == ("not_allowed", "$.userId")
    assert accepted["ok"]
    assert core.hub.users.buffered_events == 1


def test_a_strategy_that_is_not_registered_needs_its_user() -> None:
    """Without owner and `userId` nobody could be meant."""
    core = IngestCore()
    refused = core.ask(type="strategy:update", data=SIGNAL)
    accepted = core.ask(type="strategy:update", userId="user-1", data=SIGNAL)

    assert (refused["error"]["code"], refused["error"]["path"]) == ("invalid_message", "$.userId")
    assert accepted["ok"]


# ---- keys -------------------------------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("extra", [{}, {"mine": [1, {"a": 2}]}])
def test_a_retry_is_answered_with_the_first_id_and_not_delivered_again(
    event_type: str, extra: dict[str, Any]
) -> None:
    """Of every type, with and without fields that pass through."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    connection = live(core, STREAM_OF[event_type])
    user = {} if EVENT_TYPES[event_type].is_broadcast else {"userId": "user-1"}
    message = {"type": event_type, "data": PAYLOADS[event_type] | extra, "key": "k-1", **user}
    known = len(received(connection))
    first, retried = core.ask(**message), core.ask(**message, correlationId="again")

    assert first == retried
    assert first["ok"]
    assert [event_type] == [name for name, _ in news(core, connection, known)]


def test_a_strategys_retry_is_its_owners() -> None:
    """Whether the line names the user or not: the strategy says whose it is."""
    core = IngestCore()
    core.do("strategy.put", strategyId="s-1", userId="user-1")
    message = {"type": "strategy:update", "data": SIGNAL, "key": "k-1"}

    assert core.ask(**message)["id"] == core.ask(**message, userId="user-1")["id"]


def test_other_data_under_a_key_changes_nothing() -> None:
    """It is refused, and the first publish stands."""
    core = IngestCore()
    core.ask(type="order:update", userId="user-1", data=ORDER, key="k-1")
    before = core.hub.ids.last
    answer = core.ask(type="order:update", userId="user-1", data=ORDER | {"qty": 11}, key="k-1")

    assert ("invalid_message", "$.key") == (answer["error"]["code"], answer["error"]["path"])
    assert before == core.hub.ids.last


def test_what_was_refused_may_be_tried_again() -> None:
    """A line that changed nothing leaves its key free."""
    core = IngestCore()
    close = {"type": "position:update", "userId": "user-1", "key": "k-1"}
    refused = core.ask(**close, data={"symbol": "AAPL", "quantity": "10"})
    taken = core.ask(**close, data=HELD)

    assert (False, True) == (refused["ok"], taken["ok"])
