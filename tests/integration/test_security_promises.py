"""What must never leave the process, and what must end at once (contract section 6).

Each promise is looked at from outside: in the bytes of streams, in the log and in the metrics.
"""

import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.feed_client import FeedClient
from tests.support.sample_events import BROADCAST, SAMPLES
from tests.support.stream_client import Received, StreamClient

SECRET: Final = "hunter2-0xDEADBEEF"

SECRET_KEYS: Final = (
    *("apiKey", "api_key", "API-KEY", "Api Key", "token", "accessToken", "REFRESH_TOKEN"),
    *("secret", "clientSecret", "password", "userPassword", "pass.word", "passphrase"),
    *("Authorization", "proxy-authorization", "Cookie", "set-cookie", "privateKey", "PRIVATE KEY"),
    *("credential", "api-keys", "Tokens", "brokerCredentials"),
)
"""The keys of contract section 6, in many a spelling."""

STREAMS: Final = {
    "orders": {"order:update", "order:fill", "trade:new"},
    "positions": {"position:update"},
    "trading": {"order:update", "order:fill", "trade:new", "position:update"},
    "ai-decisions": {"ai:decision"},
    "strategies": {"strategy:update"},
    "alerts": {"alert:new"},
}
"""The streams of a user and the facts that each carries."""

EVIL_START: Final = "event: evil"

EVIL: Final = f"\r\n\r\n{EVIL_START}\r\ndata: evil\rid: evil\n\n\x00retry: 1\u2028\u0085"

FREE_TEXTS: Final = {
    "order:update": ("reason",),
    "ai:decision": ("action", "reasoning"),
    "agent:status": ("status", "message"),
    "strategy:update": ("action", "reasoning", "error"),
    "alert:new": ("message",),
}
"""Known fields that say what they like."""

LINE: Final = re.compile(r"|(?:event|data|id|retry): .*|: keepalive")
"""What a line of a stream may be, before its line feed."""


def path_of(stream: str, user: str) -> str:
    """Return the path of a user's stream; every user has one strategy of their own."""
    match stream:
        case "strategies":
            return f"/api/stream/strategies/s-{user}"
        case "trading":
            return f"/api/stream/trading?userId={user}"
        case _:
            return f"/api/stream/{stream}"


async def introduce(feed: FeedClient, *users: str) -> None:
    """Give users a session `session-of-{user}` and a strategy `s-{user}`."""
    for user in users:
        await feed.session(f"session-of-{user}", user)
        await feed.do("strategy.put", strategyId=f"s-{user}", userId=user)


def message_of(event_type: str, user: str, **extra: Any) -> dict[str, Any]:
    """Return the message that publishes an event of a type for a user, with further data."""
    data = {**SAMPLES[event_type], **extra}
    if event_type == "strategy:update":
        data["strategyId"] = f"s-{user}"
    message = {"type": event_type, "data": data}
    return message if event_type in BROADCAST else {**message, "userId": user}


@asynccontextmanager
async def streams_of(
    server: Daemon, user: str, *further: str, **options: Any
) -> AsyncIterator[dict[str, StreamClient]]:
    """Open all streams of a user, and others, up to their `connected`."""
    async with AsyncExitStack() as stack:
        streams = {}
        for stream in (*STREAMS, *further):
            client = await stack.enter_async_context(
                server.stream(path_of(stream, user), session=f"session-of-{user}", **options)
            )
            await client.expect("connected")
            streams[stream] = client
        yield streams


async def last_of(stream: StreamClient) -> str:
    """Wait for the end of a stream, which must be a proper one; return the last event's type."""
    await stream.until_end()
    assert stream.is_ended_properly
    return stream.source.events[-1].type


# ---- what must not leave the process ----------------------------------------------------


def laden(value: str) -> dict[str, Any]:
    """Return fields with `value` under every secret key, at several depths."""
    secrets = dict.fromkeys(SECRET_KEYS, value)
    return {
        **secrets,
        "details": {"nested": [{"deeper": [[secrets]]}, secrets], "visible": "visible"},
        "extra": {"password": {"value": value, "list": [value]}, "token": [value]},
        "_internal": value,
        "more": {"_id": value, "list": [{"_x": {"value": value}}]},
    }


async def test_no_secret_reaches_a_client(tmp_path: Path) -> None:
    """In events, snapshots, state that a feed puts, and replay: redacted at any depth."""
    plain = b""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await introduce(feed, "user-1")
        order = {**SAMPLES["order:update"], "orderId": "put", **laden(SECRET)}
        position = {"symbol": "TSLA", "quantity": "1", "entryPrice": "1", **laden(SECRET)}
        for _ in range(2):  # live, and then in replay and snapshots
            async with streams_of(server, "user-1", "prices") as streams:
                for event_type in SAMPLES:
                    message = message_of(event_type, "user-1", **laden(SECRET))
                    await feed.do("publish", **message)
                for event_type in ("ai:decision", "strategy:update"):  # known, and any JSON
                    message = message_of(event_type, "user-1", details=laden(SECRET))
                    await feed.do("publish", **message)
                for op, field, item in (
                    ("orders", "orders", order),
                    ("positions", "positions", position),
                ):
                    await feed.do(f"{op}.put", userId="user-1", notify=True, **{field: [item]})
                await feed.do("session.delete", sessionId="session-of-user-1")
                for name in STREAMS:
                    await streams[name].until("session:expired")
                    plain += streams[name].plain
                await streams["prices"].until("price:update")
                plain += streams["prices"].plain
            await introduce(feed, "user-1")

    assert SECRET.encode() not in plain
    assert b"_internal" not in plain
    assert b"_id" not in plain
    assert b'"_x"' not in plain
    text = plain.decode()
    assert {f'"{key}":"[REDACTED]"' in text for key in SECRET_KEYS} == {True}
    assert text.count('"visible":"visible"') >= 2 * (len(SAMPLES) - 1)


async def test_a_secret_key_in_disguise_is_redacted(tmp_path: Path) -> None:
    """Escapes in the JSON of a key, full-width letters and repeated keys change nothing."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await introduce(feed, "user-1")
        async with server.stream("/api/stream/alerts", session="session-of-user-1") as stream:
            await stream.expect("connected")
            await feed.send_raw(
                b'{"type":"alert:new","userId":"user-1","data":{"alertId":"a","level":"info",'
                b'"message":"m","p\\u0061ssword":"%b","\\uff54\\uff4f\\uff4b\\uff45\\uff4e":"%b",'
                b'"secret":"x","secret":"%b"}}\n' % ((SECRET.encode(),) * 3)
            )
            event = await stream.expect("alert:new")
            plain = stream.plain

    assert SECRET.encode() not in plain
    assert [key for key, value in event.data.items() if value == "[REDACTED]"] == [
        *("password", "\uff54\uff4f\uff4b\uff45\uff4e", "secret")
    ]


async def test_logs_mask_addresses_and_numbers_and_hold_no_session(tmp_path: Path) -> None:
    """E-mail addresses and phone numbers are masked; session IDs are in no log and no metric."""
    users = ("jane.doe@example.com", "+1 415 555 2671")
    settings = {"limits.connections_per_user": 1, "stream.retry_ms": 500}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        for number, user in enumerate(users):
            session = f"{SECRET}-{number}"
            await feed.session(session, user)
            await feed.ask({"op": "session.put", "sessionId": f"{session}\n", "userId": user})
            async with (
                server.stream("/api/stream/alerts", session=session, last_event_id=SECRET) as first,
                server.stream("/api/stream/alerts", session=session) as second,
            ):
                await first.until("connection:limit")
                await feed.publish("alert:new", SAMPLES["alert:new"], userId=user)
                await second.until("alert:new")
            await server.request(
                "GET", "/api/stream/orders", headers={"Cookie": f"session={session}-unknown"}
            )
        await server.request("POST", "/api/stream/test", headers={"Cookie": f"session={SECRET}-0"})
        pages = [await server.request("GET", path) for path in ("/metrics", "/api/stream/metrics")]
        await feed.do("session.delete", sessionId=f"{SECRET}-0")
        await feed.close()
        await server.stop()
        log = json.dumps(server.log, ensure_ascii=False)

    events = {line["event"] for line in server.log}
    assert {"client_connected", "connection_limit", "alert_delivered", "request"} <= events
    assert "malformed_last_event_id" in events
    assert SECRET not in log
    assert [SECRET.encode() in page[2] for page in pages] == [False, False]
    assert ("jane.doe" in log, "example.com" in log, "555" in log) == (False, False, False)
    assert "***@***-alerts-" in log


async def test_no_events_of_others_on_any_stream(tmp_path: Path) -> None:
    """Users of alike names, all streams, all at once: each has exactly their own, in order."""
    users = ("user-1", "user-10", "user", "anonymous")
    messages = [
        message_of(event_type, user, owner=user)
        for user in users
        for event_type in SAMPLES
        if event_type not in BROADCAST
        for _ in range(10)
    ]
    random.Random(1).shuffle(messages)
    settings = {"limits.connections_per_user": 2 * len(STREAMS)}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await introduce(feed, *users)
        async with AsyncExitStack() as stack:
            opened = {
                (user, coding): await stack.enter_async_context(
                    streams_of(server, user, headers={"Accept-Encoding": coding})
                )
                for coding in ("gzip", "identity")
                for user in users
            }
            answers = await feed.publish_many(messages)
            for user in users:
                await feed.do("session.delete", sessionId=f"session-of-{user}")
            received: dict[tuple[str, str, str], list[Received]] = {
                (user, coding, name): await stream.until_end()
                for (user, coding), streams in opened.items()
                for name, stream in streams.items()
            }

    published = [(message, answer["id"]) for message, answer in zip(messages, answers, strict=True)]
    for (user, coding, name), events in received.items():
        facts = [
            event.id for event in events if event.type in SAMPLES and "snapshot" not in event.data
        ]
        expected = [
            event_id
            for message, event_id in published
            if message["userId"] == user and message["type"] in STREAMS[name]
        ]
        owners = {event.data["owner"] for event in events if "owner" in event.data}
        assert (facts, owners - {user}) == (expected, set()), (user, coding, name)


async def test_nothing_of_a_feed_ends_a_line(tmp_path: Path) -> None:
    """CR, LF and NUL in any text, key or white space of a feed: the lines of a stream are ours."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await introduce(feed, "user-1")
        async with streams_of(server, "user-1", "prices") as streams:
            for event_type in SAMPLES:
                further = {"note": EVIL, "details": {EVIL: [EVIL, {EVIL: EVIL}]}}
                free_text = dict.fromkeys(FREE_TEXTS.get(event_type, ()), EVIL)
                message = message_of(event_type, "user-1", **further, **free_text)
                # White space between tokens may be a raw CR, which ends an SSE line.
                line = json.dumps({**message, "ref": 0}, separators=(",\r\t", "\r:\r"))
                await feed.send_raw(line.encode() + b"\n")
                answer = await feed.answer()
                assert answer["ok"], answer
            await streams["prices"].until("price:update")
            await streams["prices"].expect("price:update")
            await feed.do("session.delete", sessionId="session-of-user-1")
            assert {await last_of(streams[name]) for name in STREAMS} == {"session:expired"}
            plains = {name: stream.plain for name, stream in streams.items()}
            events = [event for stream in streams.values() for event in stream.source.events]

    for name, plain in plains.items():
        assert (b"\r" in plain, b"\0" in plain) == (False, False), name
        assert [line for line in plain.decode().split("\n") if not LINE.fullmatch(line)] == [], name
    assert {event.type for event in events} == {*SAMPLES, "connected", "session:expired"}
    notes = [json.loads(event.data).get("note") for event in events if EVIL_START in event.data]
    assert set(notes) == {None, EVIL}  # None: the snapshot of orders has it further inside


@pytest.mark.parametrize("name", ["userId", "orderId", "symbol", "correlationId"])
async def test_names_hold_no_control_characters(tmp_path: Path, name: str) -> None:
    """What becomes part of an ID, a log line or a header is refused at the door.

    In a line of known fields only and in one with others, which are read in two ways.
    """
    messages = [message_of("order:update", "user-1", **extra) for extra in ({}, {"note": "n"})]
    for message in messages:
        part = message["data"] if name in {"orderId", "symbol"} else message
        part[name] = EVIL
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        answers = await feed.publish_many(messages)

    path = f"$.data.{name}" if name in {"orderId", "symbol"} else f"$.{name}"
    assert [False, False] == [answer["ok"] for answer in answers]
    assert [("invalid_message", path)] * 2 == [
        (answer["error"]["code"], answer["error"]["path"]) for answer in answers
    ]


async def test_names_in_operations_hold_no_control_characters(tmp_path: Path) -> None:
    """Nor do those of sessions, of strategies and in state that a feed puts."""
    order, position = SAMPLES["order:update"], {"symbol": "A", "quantity": 1, "entryPrice": 1}
    fields = {"sessionId": "s", "strategyId": "s", "userId": "u", "orders": [], "positions": []}
    bad: dict[tuple[str, str], dict[str, Any]] = {
        ("session.put", "$.sessionId"): {"sessionId": EVIL},
        ("session.put", "$.userId"): {"userId": EVIL},
        ("session.delete", "$.sessionId"): {"sessionId": EVIL},
        ("strategy.put", "$.strategyId"): {"strategyId": EVIL},
        ("strategy.put", "$.userId"): {"userId": EVIL},
        ("strategy.delete", "$.strategyId"): {"strategyId": EVIL},
        ("strategy.delete", "$.userId"): {"userId": EVIL},
        ("orders.put", "$.userId"): {"userId": EVIL},
        ("orders.put", "$.orders[0].orderId"): {"orders": [{**order, "orderId": EVIL}]},
        ("orders.put", "$.orders[1].symbol"): {"orders": [order, {**order, "symbol": EVIL}]},
        ("positions.put", "$.userId"): {"userId": EVIL},
        ("positions.put", "$.positions[0].symbol"): {"positions": [{**position, "symbol": EVIL}]},
    }
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        answers = {
            (op, path): await feed.ask({"op": op, **fields, **changed})
            for (op, path), changed in bad.items()
        }

    assert {(op, path): ("invalid_message", path) for op, path in bad} == {
        case: ("ok", "") if answer["ok"] else (answer["error"]["code"], answer["error"]["path"])
        for case, answer in answers.items()
    }


# ---- what must end at once --------------------------------------------------------------


def in_seconds(seconds: float) -> str:
    """Return the moment so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_an_expired_session_ends_its_streams(tmp_path: Path) -> None:
    """By itself, when its time has come; a renewal in between is respected."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("brief", "user-1", expiresAt=in_seconds(1.0))
        await feed.session("renewed", "user-1", expiresAt=in_seconds(1.0))
        await feed.session("shortened", "user-1", expiresAt=in_seconds(3600))
        async with (
            server.stream("/api/stream/alerts", session="brief") as brief,
            server.stream("/api/stream/alerts", session="renewed") as renewed,
            server.stream("/api/stream/alerts", session="shortened") as shortened,
        ):
            await feed.session("renewed", "user-1", expiresAt=in_seconds(3600))
            await feed.session("shortened", "user-1", expiresAt=in_seconds(0.3))
            ended = [await last_of(stream) for stream in (brief, shortened)]
            event_id = await feed.publish("alert:new", SAMPLES["alert:new"], userId="user-1")
            event = await renewed.until("alert:new")
        statuses = [
            (
                await server.request(
                    "GET", "/api/stream/alerts", headers={"Cookie": f"session={one}"}
                )
            )[0]
            for one in ("brief", "shortened")
        ]

    assert ended == ["session:expired"] * 2
    assert event.id == event_id
    assert statuses == [401, 401]


@pytest.mark.parametrize(
    "change",
    [
        {"op": "session.delete", "sessionId": "s-1"},
        {"op": "session.put", "sessionId": "s-1", "userId": "user-2"},
        {"op": "session.put", "sessionId": "s-1", "userId": "user-1", "role": "admin"},
        {"op": "session.put", "sessionId": "s-1", "userId": "user-1", "expiresAt": 1},
    ],
    ids=["deleted", "other user", "other role", "past expiry"],
)
async def test_a_session_that_is_no_longer_the_same_ends_its_streams(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """All of them, properly, before the answer to the feed; streams of other sessions go on."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.session("s-2", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="s-1") as alerts,
            server.stream("/api/stream/trading?userId=user-1", session="s-1") as trading,
            server.stream("/api/stream/alerts", session="s-2") as other,
        ):
            await feed.ask(change)
            await feed.publish("alert:new", SAMPLES["alert:new"], userId="user-1")
            await other.until("alert:new")
            ended = [await last_of(stream) for stream in (alerts, trading)]
            received = [event.type for event in alerts.source.events]

    assert ended == ["session:expired"] * 2
    assert received == ["connected", "session:expired"]


@pytest.mark.parametrize("op", ["strategy.put", "strategy.delete"])
async def test_a_strategy_that_changes_hands_ends_its_old_owners_streams(
    tmp_path: Path, op: str
) -> None:
    """The old owner's stream ends, and what comes then is not for them; nor is what was."""
    fields = {"userId": "user-2"} if op == "strategy.put" else {}
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await introduce(feed, "user-1", "user-2")
        await feed.do("strategy.put", strategyId="s", userId="user-1")
        data = {"strategyId": "s", "status": "started"}
        async with server.stream("/api/stream/strategies/s", session="session-of-user-1") as old:
            await feed.publish("strategy:update", {**data, "n": 1})
            await old.until("strategy:update")
            await feed.do(op, strategyId="s", **fields)
            await feed.do("strategy.put", strategyId="s", userId="user-2")
            await feed.publish("strategy:update", {**data, "n": 2})
            last = await last_of(old)
            numbers = [json.loads(event.data).get("n") for event in old.source.events]
        again = await server.request(
            "GET", "/api/stream/strategies/s", headers={"Cookie": "session=session-of-user-1"}
        )
        async with server.stream("/api/stream/strategies/s", session="session-of-user-2") as new:
            replay = (await new.expect("connected")).data["replay"]
            event = await new.expect("strategy:update")

    assert (last, numbers) == ("strategy:update", [None, 1])
    assert again[0] == 404
    assert (replay, event.data["n"]) == (1, 2)
