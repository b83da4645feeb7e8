"""Every event type of contract section 3 on the real process: what it needs, where it goes.

The event `test`, which an admin sends to every connection, marks the end of what is looked at.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.stream_client import Received, StreamClient

REQUIRED: Mapping[str, dict[str, Any]] = {
    "order:update": {
        "orderId": "o-1",
        "symbol": "AAPL",
        "side": "buy",
        "qty": 10,
        "status": "new",
    },
    "order:fill": {"orderId": "o-1", "filledQty": 4, "filledAvgPrice": 150.25},
    "trade:new": {"tradeId": "t-1", "symbol": "AAPL", "side": "sell", "qty": 4, "price": 150.25},
    "position:update": {"symbol": "AAPL", "quantity": 4, "entryPrice": 150},
    "price:update": {"symbol": "MSFT", "price": 152.5},
    "ai:decision": {"decisionId": "d-1", "action": "buy"},
    "agent:status": {"agentId": "agent-1", "status": "running"},
    "strategy:update": {"strategyId": "s-1", "signalType": "entry"},
    "alert:new": {"alertId": "a-1", "level": "warning", "message": "margin"},
}
"""The fields that each type must have, `entryPrice` as for an opening."""

ALSO_KNOWN: Mapping[str, dict[str, Any]] = {
    "order:update": {
        "filledQty": 1,
        "filledAvgPrice": 150,
        "limitPrice": "151.50",
        "reason": "too late",
    },
    "order:fill": {"symbol": "AAPL", "side": "buy", "qty": 10},
    "trade:new": {"orderId": "o-1"},
    "position:update": {"currentPrice": 151, "exitPrice": 152, "realizedPnL": 1},
    "price:update": {"bid": 152.48, "ask": "152.52", "volume": 1000},
    "ai:decision": {
        "symbol": "AAPL",
        "confidence": 0.85,
        "reasoning": "momentum",
        "details": {"window": [5, 20]},
    },
    "agent:status": {"message": "all is well"},
    "strategy:update": {
        "status": "error",
        "symbol": "AAPL",
        "action": "buy",
        "confidence": 1,
        "details": [1, None],
        "reasoning": "volume",
        "error": "no quotes",
    },
    "alert:new": {},
}
"""The fields that each type may have."""

DELIVERED_ON: Mapping[str, set[str]] = {
    "order:update": {"orders", "trading"},
    "order:fill": {"orders", "trading"},
    "trade:new": {"orders", "trading"},
    "position:update": {"positions", "trading"},
    "price:update": {"prices"},
    "ai:decision": {"ai-decisions"},
    "agent:status": {"ai-decisions"},
    "strategy:update": {"strategies/s-1"},
    "alert:new": {"alerts"},
}
SIGNAL_2 = {"strategyId": "s-2", "signalType": "entry"}
STREAMS = sorted(set().union(*DELIVERED_ON.values()))
BROADCAST = {"price:update", "agent:status"}
BAD_NAMES = ["", "x" * 129, "a\0b", "a\nb", "a\x7f", "a\x85b"]
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def message(event_type: str, data: Mapping[str, Any], user_id: str = "user-1") -> dict[str, Any]:
    """Return a publish message, with a user where the type needs one."""
    user = {} if event_type in BROADCAST else {"userId": user_id}
    return {"op": "publish", "type": event_type, "data": data, **user}


def fault(answer: dict[str, Any]) -> tuple[str, str | None]:
    """Return code and path of a refusal."""
    assert answer["ok"] is False
    return answer["error"]["code"], answer["error"].get("path")


@asynccontextmanager
async def everything_open(server: Daemon, user_id: str) -> AsyncIterator[dict[str, StreamClient]]:
    """Open every stream of a user, the openings read."""
    async with AsyncExitStack() as stack:
        streams = {}
        for name in STREAMS:
            path = f"/api/stream/{name}?replay=0"
            if name == "trading":
                path += f"&userId={user_id}"
            stream = await stack.enter_async_context(server.stream(path, session=user_id))
            assert stream.status == 200, name
            streams[name] = stream
        await until_marked(server, streams)
        yield streams


async def until_marked(
    server: Daemon, streams: dict[str, StreamClient]
) -> dict[str, list[Received]]:
    """Return what has come on each stream up to now."""
    status, _, _ = await server.request(
        "POST", "/api/stream/test", headers={"Cookie": "session=admin"}
    )
    assert status == 200
    arrived: dict[str, list[Received]] = {}
    for name, stream in streams.items():
        arrived[name] = []
        while (event := await stream.next()).type != "test":
            arrived[name].append(event)
    return arrived


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[Daemon, FeedClient]]:
    """Start a server with two users, an admin and a strategy of the first user."""
    async with await daemon.start(folder) as server, server.feed() as feed:
        for user in ("user-1", "user-2"):
            await feed.session(user, user)
        await feed.session("admin", "admin", role="admin")
        await feed.do("strategy.put", strategyId="s-1", userId="user-1")
        yield server, feed


async def test_each_type_is_delivered_on_its_streams_and_nowhere_else(tmp_path: Path) -> None:
    """With its required fields alone each type reaches its streams, under the ID answered."""
    async with (
        started(tmp_path) as (server, feed),
        everything_open(server, "user-1") as streams,
    ):
        for event_type, data in REQUIRED.items():
            answer = await feed.ask(message(event_type, data))
            assert answer.keys() == {"ref", "ok", "id"}, answer
            arrived = await until_marked(server, streams)

            assert {
                name: [(event.type, event.id) for event in events]
                for name, events in arrived.items()
                if events
            } == {name: [(event_type, answer["id"])] for name in DELIVERED_ON[event_type]}


async def test_broadcasts_reach_everybody_and_the_rest_its_user_alone(tmp_path: Path) -> None:
    """Another user's streams receive prices and agents' statuses, and nothing private."""
    async with started(tmp_path) as (server, feed):
        await feed.do("strategy.put", strategyId="s-1", userId="user-2")
        async with everything_open(server, "user-2") as streams:
            await feed.do("strategy.put", strategyId="s-2", userId="user-1")
            for event_type, data in {**REQUIRED, "strategy:update": SIGNAL_2}.items():
                await feed.publish(event_type, data, **user_of(event_type))
            arrived = await until_marked(server, streams)

    assert {name: [event.type for event in events] for name, events in arrived.items()} == {
        "ai-decisions": ["agent:status"],
        "prices": ["price:update"],
        **{name: [] for name in STREAMS if name not in {"ai-decisions", "prices"}},
    }


def user_of(event_type: str) -> dict[str, str]:
    """Return the `userId` field where the type needs one."""
    return {} if event_type in BROADCAST else {"userId": "user-1"}


async def test_every_known_field_arrives(tmp_path: Path) -> None:
    """All fields of the table arrive unchanged; statuses and positions are computed."""
    async with (
        started(tmp_path) as (server, feed),
        everything_open(server, "user-1") as streams,
    ):
        for event_type, data in REQUIRED.items():
            sent = {**data, **ALSO_KNOWN[event_type], "timestamp": "2026-01-02T10:30:00Z"}
            await feed.publish(event_type, sent, **user_of(event_type))
            arrived = await until_marked(server, streams)
            received = [arrived[name][0].data for name in DELIVERED_ON[event_type]]
            expected = sent
            if event_type == "order:fill":
                expected = {**sent, "status": "partially_filled"}
            if event_type == "position:update":
                expected = {
                    "positions": [
                        {
                            "symbol": "AAPL",
                            "quantity": "4",
                            "entryPrice": "150",
                            "currentPrice": "151",
                            "unrealizedPnL": 4.0,
                            "realizedPnL": 1.0,
                        }
                    ],
                    "totalValue": 604.0,
                    "timestamp": sent["timestamp"],
                }

            assert received == [expected] * len(DELIVERED_ON[event_type])


async def test_a_timestamp_is_filled_in(tmp_path: Path) -> None:
    """Where a feed gives none, or null, the event has the server's time in ISO 8601."""
    async with (
        started(tmp_path) as (server, feed),
        everything_open(server, "user-1") as streams,
    ):
        for event_type, data in REQUIRED.items():
            await feed.publish(event_type, data, **user_of(event_type))
            await feed.publish(event_type, {**data, "timestamp": None}, **user_of(event_type))
        arrived = await until_marked(server, streams)
    timestamps = [event.data["timestamp"] for events in arrived.values() for event in events]

    assert len(timestamps) == 2 * sum(map(len, DELIVERED_ON.values()))
    assert [text for text in timestamps if ISO_8601.fullmatch(text) is None] == []


async def test_unknown_fields_pass_redacted(tmp_path: Path) -> None:
    """What the table does not list arrives too: secrets masked, internal fields left out."""
    unknown = {
        "venue": "XNAS",
        "API-KEY": "k-1",
        "nested": {"list": [{"userPassword": "p-1", "size": 1.5}]},
        "_shard": 7,
    }
    passed = {
        "venue": "XNAS",
        "API-KEY": "[REDACTED]",
        "nested": {"list": [{"userPassword": "[REDACTED]", "size": 1.5}]},
    }
    async with started(tmp_path) as (server, feed):
        async with everything_open(server, "user-1") as streams:
            for event_type, data in REQUIRED.items():
                await feed.publish(event_type, {**data, **unknown}, **user_of(event_type))
            arrived = await until_marked(server, streams)
        async with server.stream("/api/stream/trading?userId=user-1&replay=0") as later:
            await later.expect("connected")
            orders = (await later.expect("order:update")).data["orders"]
            positions = (await later.expect("position:update")).data["positions"]
        logged = json.dumps(server.log)
    payloads = [
        event.data["positions"][0] if event.type == "position:update" else event.data
        for events in arrived.values()
        for event in events
    ]

    assert len(payloads) == sum(map(len, DELIVERED_ON.values()))
    for payload in (*payloads, *orders, *positions):
        assert {name: value for name, value in payload.items() if name in unknown} == passed
    assert ("k-1" in logged, "p-1" in logged) == (False, False)


async def test_no_event_poses_as_a_snapshot(tmp_path: Path) -> None:
    """What only a snapshot has, a feed's event does not: a page always knows the two apart."""
    posing = {
        "snapshot": True,
        "orders": [],
        "positions": [],
        "totalValue": 0,
        "initializing": True,
        "prices": [],
    }
    types = ["order:update", "order:fill", "trade:new", "position:update", "price:update"]
    async with (
        started(tmp_path) as (server, feed),
        everything_open(server, "user-1") as streams,
    ):
        for event_type in types:
            await feed.publish(
                event_type, {**REQUIRED[event_type], **posing}, **user_of(event_type)
            )
        arrived = await until_marked(server, streams)
    events = {event.type: event.data for event in arrived["trading"] + arrived["prices"]}

    assert list(events) == types
    for event_type in ("order:update", "order:fill", "trade:new"):
        assert events[event_type].keys() & {"snapshot", "orders"} == set()
    assert events["position:update"].keys() == {"positions", "totalValue", "timestamp"}
    assert [item["symbol"] for item in events["position:update"]["positions"]] == ["AAPL"]
    assert events["price:update"].keys() & {"initializing", "prices"} == set()


async def test_a_required_field_that_is_missing_is_named(tmp_path: Path) -> None:
    """Without it, or with null, the line is `invalid_message` with the field's path."""
    expected = []
    messages = []
    for event_type, data in REQUIRED.items():
        if event_type == "strategy:update":
            continue
        for name in data:
            without = {key: value for key, value in data.items() if key != name}
            messages.append(message(event_type, without))
            messages.append(message(event_type, {**data, name: None}))
            code = ("invalid_message", f"$.data.{name}")
            expected += [code, code]
    messages += [
        message("strategy:update", {"signalType": "entry"}),
        message("strategy:update", {"strategyId": "s-1"}),
    ]
    expected += [("invalid_message", "$.data.strategyId"), ("invalid_message", "$.data")]
    for event_type, data in REQUIRED.items():
        envelope = message(event_type, data)
        del envelope["data"]
        messages.append(envelope)
        expected.append(("invalid_message", "$.data"))
    for event_type in REQUIRED.keys() - BROADCAST - {"strategy:update"}:
        envelope = message(event_type, REQUIRED[event_type])
        del envelope["userId"]
        messages.append(envelope)
        expected.append(("invalid_message", "$.userId"))
    async with started(tmp_path) as (_, feed):
        answers = await feed.publish_many(messages)

    # Null in a field that may be left out means that it was; `entryPrice` is one of those.
    assert [fault(answer) for answer in answers] == expected


async def test_a_field_of_the_wrong_kind_is_named(tmp_path: Path) -> None:
    """Every known field is checked, and the refusal says where."""
    messages: list[dict[str, Any]] = []
    expected: list[tuple[str, str]] = []
    wrong: object
    for event_type, data in REQUIRED.items():
        for name in (data | ALSO_KNOWN[event_type]).keys() - {"details"}:
            for wrong in ([], {}, True):
                messages.append(message(event_type, {**data, name: wrong}))
                expected.append(("invalid_message", f"$.data.{name}"))
        messages.append(message(event_type, {**data, "timestamp": "yesterday"}))
        expected.append(("invalid_message", "$.data.timestamp"))
        messages.append({**message(event_type, data), "data": [data]})
        expected.append(("invalid_message", "$.data"))
        messages.append({**message(event_type, data), "correlationId": 7})
        expected.append(("invalid_message", "$.correlationId"))
    for event_type, name, wrong in (
        ("order:update", "side", "hold"),
        ("trade:new", "side", "BUY"),
        ("alert:new", "level", "critical"),
        ("strategy:update", "status", "paused"),
        ("ai:decision", "confidence", 1.01),
        ("strategy:update", "confidence", -0.01),
        ("order:update", "qty", 0),
        ("order:update", "qty", -1),
        ("order:update", "filledQty", -1),
        ("order:fill", "filledQty", "-1"),
        ("price:update", "volume", -0.01),
        ("price:update", "price", "1e5"),
        ("price:update", "price", "NaN"),
        ("price:update", "price", ""),
        ("trade:new", "price", "0x10"),
        ("position:update", "quantity", "1_000"),
        ("position:update", "quantity", 10**16),
    ):
        messages.append(message(event_type, {**REQUIRED[event_type], name: wrong}))
        expected.append(("invalid_message", f"$.data.{name}"))
    async with started(tmp_path) as (_, feed):
        answers = await feed.publish_many(messages)

    assert [fault(answer) for answer in answers] == expected


async def test_names_have_1_to_128_characters_without_controls(tmp_path: Path) -> None:
    """Longer, empty and control characters are refused, whichever name it is; 128 are fine."""
    names = {
        event_type: [
            name
            for name in (*data, *ALSO_KNOWN[event_type])
            if name.endswith("Id") or name == "symbol"
        ]
        for event_type, data in REQUIRED.items()
    }
    messages = []
    expected = []
    for event_type, fields in names.items():
        for name in fields:
            for bad in BAD_NAMES:
                messages.append(message(event_type, {**REQUIRED[event_type], name: bad}))
                expected.append(("invalid_message", f"$.data.{name}"))
    for bad in BAD_NAMES:
        messages.append(message("alert:new", REQUIRED["alert:new"], bad))
        expected.append(("invalid_message", "$.userId"))
    other = {"strategy:update": {"strategyId": "s-9"}}  # not registered
    good = "\u00e9 \U0001f600" + "x" * 125
    async with started(tmp_path) as (_, feed):
        refused = await feed.publish_many(messages)
        accepted = await feed.publish_many(
            [
                message(
                    event_type,
                    {**REQUIRED[event_type], **other.get(event_type, {}), name: good},
                    good,
                )
                for event_type, fields in names.items()
                for name in fields
            ]
        )

    assert [fault(answer) for answer in refused] == expected
    assert [answer["ok"] for answer in accepted] == [True] * len(accepted)


async def test_numbers_may_be_decimal_strings(tmp_path: Path) -> None:
    """Quantities and prices come as JSON numbers or decimal strings, with the same meaning."""
    async with started(tmp_path) as (server, feed):
        await feed.publish(
            "position:update",
            {"symbol": "A", "quantity": "0.1", "entryPrice": "0.2"},
            userId="user-1",
        )
        await feed.publish(
            "position:update", {"symbol": "B", "quantity": 0.1, "entryPrice": 0.2}, userId="user-1"
        )
        await feed.publish("price:update", {"symbol": "A", "price": "0.30"})
        await feed.publish("price:update", {"symbol": "B", "price": 0.3})
        async with server.stream("/api/stream/positions?replay=0", session="user-1") as stream:
            await stream.expect("connected")
            snapshot = (await stream.expect("position:update")).data
    one, other = snapshot["positions"]

    assert (one["quantity"], one["entryPrice"], one["currentPrice"]) == ("0.1", "0.2", "0.30")
    assert (other["quantity"], other["entryPrice"], other["currentPrice"]) == ("0.1", "0.2", "0.3")
    assert one["unrealizedPnL"] == other["unrealizedPnL"] == 0.01
    assert snapshot["totalValue"] == 0.06


async def test_prices_may_be_negative(tmp_path: Path) -> None:
    """As oil in April 2020: prices of every kind keep their sign, and so does what they make."""
    quote = {"symbol": "CL", "price": -37.63, "bid": "-37.70", "ask": -37.5}
    order = {**REQUIRED["order:update"], "limitPrice": "-30.00", "filledAvgPrice": -31}
    fill = {**REQUIRED["order:fill"], "filledAvgPrice": "-37.63"}
    trade = {**REQUIRED["trade:new"], "price": -37.63}
    held = {"symbol": "CL", "quantity": 2, "entryPrice": "-5.00", "currentPrice": -4}
    async with started(tmp_path) as (server, feed):
        async with everything_open(server, "user-1") as streams:
            await feed.publish("order:update", order, userId="user-1")
            await feed.publish("order:fill", fill, userId="user-1")
            await feed.publish("trade:new", trade, userId="user-1")
            await feed.publish("position:update", held, userId="user-1")
            await feed.publish("price:update", quote)
            closed = {"symbol": "CL", "quantity": 1, "exitPrice": "-37.63"}
            await feed.publish("position:update", closed, userId="user-1")
            arrived = await until_marked(server, streams)
        async with server.stream("/api/stream/positions?replay=0", session="user-1") as stream:
            await stream.expect("connected")
            snapshot = (await stream.expect("position:update")).data

    for event, sent in zip(arrived["orders"], [order, fill, trade], strict=True):
        assert event.data.items() >= sent.items()
    (price,) = arrived["prices"]
    assert price.data.items() >= quote.items()
    items = [event.data["positions"][0] for event in arrived["positions"]]
    assert arrived["positions"][0].data["totalValue"] == -8.0
    assert [item["realizedPnL"] for item in items if "realizedPnL" in item] == [-32.63]
    assert (snapshot["totalValue"], snapshot["positions"]) == (
        -37.63,
        [
            {
                "symbol": "CL",
                "quantity": "1",
                "entryPrice": "-5.00",
                "currentPrice": "-37.63",
                "unrealizedPnL": -32.63,
            }
        ],
    )


async def test_a_user_on_a_broadcast_is_refused(tmp_path: Path) -> None:
    """A `userId` on a type for everybody is `invalid_message`."""
    async with started(tmp_path) as (_, feed):
        answers = [
            await feed.ask({**message(event_type, REQUIRED[event_type]), "userId": "user-1"})
            for event_type in sorted(BROADCAST)
        ]

    assert [fault(answer) for answer in answers] == [("invalid_message", "$.userId")] * 2


async def test_a_strategy_update_goes_to_the_owner_alone(tmp_path: Path) -> None:
    """It needs no `userId` when the strategy is registered; one who is not the owner is refused."""
    signal = {"strategyId": "s-1", "signalType": "entry", "symbol": "AAPL", "action": "buy"}
    async with (
        started(tmp_path) as (server, feed),
        everything_open(server, "user-1") as streams,
    ):
        without = await feed.publish("strategy:update", signal)
        named = await feed.publish("strategy:update", signal, userId="user-1")
        stolen = await feed.ask(message("strategy:update", signal, "user-2"))
        unknown = await feed.ask(
            {"type": "strategy:update", "data": {**signal, "strategyId": "s-9"}}
        )
        arrived = await until_marked(server, streams)

    assert [event.id for event in arrived["strategies/s-1"]] == [without, named]
    assert fault(stolen) == ("not_allowed", "$.userId")
    assert fault(unknown) == ("invalid_message", "$.userId")


async def test_a_position_is_opened_with_its_entry_price(tmp_path: Path) -> None:
    """Only a position that is not held yet needs `entryPrice`."""
    update = {"symbol": "AAPL", "quantity": 5}
    async with started(tmp_path) as (_, feed):
        opening = await feed.ask(message("position:update", update))
        opened = await feed.ask(message("position:update", {**update, "entryPrice": 150}))
        added = await feed.ask(message("position:update", {**update, "quantity": 6}))

    assert fault(opening) == ("invalid_message", "$.data.entryPrice")
    assert [opened["ok"], added["ok"]] == [True, True]


async def test_an_error_alert_has_priority(tmp_path: Path) -> None:
    """Level `error` is marked, goes out at once, and its delivery is logged; others are not."""
    async with started(tmp_path) as (server, feed):
        async with everything_open(server, "user-1") as streams:
            *_, event_id = [
                await feed.publish(
                    "alert:new", {"alertId": "a", "level": level, "message": "m"}, userId="user-1"
                )
                for level in ("info", "warning", "error")
            ]
            line = await server.logged("alert_delivered", event_id=event_id)
            arrived = await until_marked(server, streams)
        lines = [entry for entry in server.log if entry["event"] == "alert_delivered"]

    assert [event.data.get("priority") for event in arrived["alerts"]] == [None, None, "high"]
    assert (line["connections"], line["user_id"]) == (1, "user-1")
    assert lines == [line]
