"""What an operator sees of the real process: log lines, correlation IDs, metrics.

Source: specification, "Correlation IDs for Tracing" and "Monitoring"; contract sections 2 to 6.
"""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support import daemon
from tests.support.daemon import Daemon

ALERT = {"alertId": "a-1", "level": "info", "message": "m"}


async def metrics(server: Daemon, **headers: str) -> dict[str, Any]:
    """Return `/api/stream/metrics`."""
    status, answer, body = await server.request("GET", "/api/stream/metrics", headers=headers)
    assert (status, answer["content-type"].split(";")[0]) == (200, "application/json")
    found: dict[str, Any] = json.loads(body)
    return found


async def prometheus(server: Daemon) -> dict[str, float]:
    """Return every sample of `/metrics` by its name and labels."""
    status, headers, body = await server.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    return {
        sample.name + "".join(f"[{value}]" for _, value in sorted(sample.labels.items())):
            sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }  # fmt: skip


def fields(line: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return some fields of a log line."""
    return {name: line.get(name) for name in names}


# ---- connections ------------------------------------------------------------------------


async def test_connections_are_logged_with_their_correlation_id(tmp_path: Path) -> None:
    """Coming and going have one INFO line each, both with the request's correlation ID."""
    async with await daemon.start(tmp_path, {"log.level": "info"}) as server:
        async with server.feed() as feed:
            await feed.session("k", "user-1")
        headers = {"X-Correlation-ID": "trace:1.a_b-c"}
        async with server.stream("/api/stream/orders", session="k", headers=headers) as stream:
            connected = await stream.expect("connected")
            echoed = stream.headers["x-correlation-id"]
        came = await server.logged("client_connected")
        left = await server.logged("client_disconnected")
        lines = [line["event"] for line in server.log if "client_id" in line]

    client_id = connected.data["clientId"]
    assert echoed == connected.data["correlationId"] == "trace:1.a_b-c"
    assert fields(came, "level", "client_id", "correlation_id", "stream", "user_id", "peer") == {
        "level": "info",
        "client_id": client_id,
        "correlation_id": "trace:1.a_b-c",
        "stream": "orders",
        "user_id": "user-1",
        "peer": "127.0.0.1",
    }
    assert fields(left, "level", "client_id", "correlation_id", "reason") == {
        "level": "info",
        "client_id": client_id,
        "correlation_id": "trace:1.a_b-c",
        "reason": "client_left",
    }
    assert left["seconds"] >= 0
    assert lines == ["client_connected", "client_disconnected"]


async def test_a_request_without_a_correlation_id_gets_one(tmp_path: Path) -> None:
    """It is in the response, in `connected` and in the log, and differs between requests."""
    found = []
    async with await daemon.start(tmp_path) as server:
        for _ in range(3):
            async with server.stream("/api/stream/prices") as stream:
                connected = await stream.expect("connected")
                correlation_id = stream.headers["x-correlation-id"]
                line = await server.logged("client_connected", correlation_id=correlation_id)
            found.append((connected.data["correlationId"], line["client_id"]))
            assert found[-1] == (correlation_id, connected.data["clientId"])

    assert len({correlation_id for correlation_id, _ in found}) == 3
    assert all(
        re.fullmatch(r"[A-Za-z0-9_.:-]{1,128}", correlation_id) for correlation_id, _ in found
    )


async def test_a_correlation_id_is_in_every_line_of_its_connection(tmp_path: Path) -> None:
    """Refusals, malformed last event IDs, limits and requests name the one who asked."""
    settings = {"limits.connections_per_user": 1}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        oldest = {"X-Correlation-ID": "oldest"}
        newest = {"X-Correlation-ID": "newest", "Last-Event-ID": "1-torn"}
        async with (
            server.stream("/api/stream/alerts", session="k", headers=oldest) as first,
            server.stream("/api/stream/alerts", session="k", headers=newest) as second,
        ):
            await second.expect("connected")
            farewell = (await first.until_end())[-1]
        limit = await server.logged("connection_limit")
        malformed = await server.logged("malformed_last_event_id")
        gone = await server.logged("client_disconnected", correlation_id="oldest")
        await server.request("GET", "/healthz", headers={"X-Correlation-ID": "asked"})
        request = await server.logged("request")

    assert farewell.type == "connection:limit"
    assert fields(limit, "level", "user_id", "correlation_id", "limit") == {
        "level": "warning",
        "user_id": "user-1",
        "correlation_id": "oldest",
        "limit": 1,
    }
    assert gone["reason"] == "connection_limit"
    assert malformed["correlation_id"] == "newest"
    assert fields(request, "level", "path", "status", "correlation_id") == {
        "level": "debug",
        "path": "/healthz",
        "status": 200,
        "correlation_id": "asked",
    }


async def test_a_delivery_that_fails_is_logged(tmp_path: Path) -> None:
    """A client that is owed events and cannot take them is an ERROR line, and is counted."""
    settings = {"limits.max_backlog_bytes": 65_536}
    large = {**ALERT, "message": "x" * 60_000}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        async with server.stream(
            "/api/stream/alerts",
            session="k",
            headers={"X-Correlation-ID": "c-stalled"},
            limit=1 << 12,
        ) as stream:
            client_id = (await stream.expect("connected")).data["clientId"]
            while not any(line["event"] == "delivery_failed" for line in server.log):
                await feed.publish("alert:new", large, userId="user-1")
            failed = await server.logged("delivery_failed")
            left = await server.logged("client_disconnected")
        failures = (await prometheus(server))["sseserver_failed_deliveries_total"]

    assert fields(failed, "level", "client_id", "correlation_id", "reason") == {
        "level": "error",
        "client_id": client_id,
        "correlation_id": "c-stalled",
        "reason": "slow_consumer",
    }
    assert fields(left, "correlation_id", "reason") == {
        "correlation_id": "c-stalled",
        "reason": "slow_consumer",
    }
    assert failures == 1


# ---- events -----------------------------------------------------------------------------


async def test_an_event_can_be_traced_by_its_correlation_id(tmp_path: Path) -> None:
    """At DEBUG each event has a line: its ID, its type, its connections, the feed's ID for it."""
    messages: list[tuple[dict[str, Any], int | None]] = [
        ({"type": "alert:new", "userId": "user-1", "data": ALERT}, 2),
        ({"type": "alert:new", "userId": "user-2", "data": ALERT}, 0),
        ({"type": "alert:new", "userId": "user-1", "data": {**ALERT, "level": "error"}}, 2),
        ({"type": "agent:status", "data": {"agentId": "a", "status": "idle"}}, 0),
        ({"type": "price:update", "data": {"symbol": "A", "price": 1}}, None),
    ]
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="k") as one,
            server.stream("/api/stream/alerts", session="k") as two,
        ):
            await one.expect("connected")
            await two.expect("connected")
            found = []
            for number, (message, _) in enumerate(messages):
                answer = await feed.ask({**message, "correlationId": f"c-{number}"})
                line = await server.logged("event_published", correlation_id=f"c-{number}")
                found.append(
                    fields(line, "level", "type", "connections")
                    | {"is_same": line["event_id"] == answer["id"]}
                )
            await feed.publish("alert:new", ALERT, userId="user-3")
            without = await server.logged("event_published", correlation_id=None)

    assert found == [
        {
            "level": "debug",
            "type": message["type"],
            "connections": connections,
            "is_same": True,
        }
        for message, connections in messages
    ]
    assert without["type"] == "alert:new"


async def test_the_delivery_of_an_error_alert_is_logged(tmp_path: Path) -> None:
    """At INFO too there is a line, with how many connections, and zero where nobody listens."""
    error = {**ALERT, "level": "error"}
    async with await daemon.start(tmp_path, {"log.level": "info"}) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        async with server.stream("/api/stream/alerts", session="k") as stream:
            await stream.expect("connected")
            for user in ("user-1", "user-2"):
                await feed.publish("alert:new", error, userId=user, correlationId=f"c-{user}")
            lines = [
                await server.logged("alert_delivered", correlation_id=f"c-{user}")
                for user in ("user-1", "user-2")
            ]
        events = {line["event"] for line in server.log}

    assert [fields(line, "level", "user_id", "connections") for line in lines] == [
        {"level": "info", "user_id": "user-1", "connections": 1},
        {"level": "info", "user_id": "user-2", "connections": 0},
    ]
    assert "event_published" not in events


async def test_a_replay_buffer_that_overflows_is_logged(tmp_path: Path) -> None:
    """WARN, with the user and the count: once at first, however many events follow."""
    settings = {"buffer.events_per_user": 5}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        message = {"type": "alert:new", "userId": "user-1", "data": ALERT}
        await feed.publish_many([message] * 5)
        await feed.do("ping")
        before = [line for line in server.log if line["event"] == "buffer_overflow"]
        await feed.publish_many([message] * 20)
        line = await server.logged("buffer_overflow")
        await server.request("GET", "/healthz")
        await server.logged("request")
        lines = [line for line in server.log if line["event"] == "buffer_overflow"]
        evicted = (await metrics(server))["buffers"]["evictedEvents"]

    assert before == []
    assert lines == [line]
    assert fields(line, "level", "user_id", "evicted_events") == {
        "level": "warning",
        "user_id": "user-1",
        "evicted_events": 1,
    }
    assert evicted == 20


async def test_a_buffer_that_is_cleaned_up_is_logged(tmp_path: Path) -> None:
    """Some time after the last client left its buffer is freed, and the log says so."""
    settings = {"buffer.ttl_seconds": 0.05}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.publish("alert:new", ALERT, userId="user-1")
        line = await server.logged("buffer_cleared")
        buffers = (await metrics(server))["buffers"]

    assert fields(line, "level", "user_id", "events") == {
        "level": "info",
        "user_id": "user-1",
        "events": 1,
    }
    assert (buffers["users"], buffers["events"], buffers["bytes"]) == (0, 0, 0)


async def test_personal_data_is_masked(tmp_path: Path) -> None:
    """E-mail addresses and phone numbers in names do not reach the log."""
    user = "jane.doe@example.com"
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("k", user)
        async with server.stream("/api/stream/alerts", session="k") as stream:
            client_id = (await stream.expect("connected")).data["clientId"]
            await feed.publish(
                "alert:new", {**ALERT, "level": "error"}, userId=user, correlationId=user
            )
            delivered = await server.logged("alert_delivered")
        came = await server.logged("client_connected")
        text = json.dumps(server.log)

    assert client_id.startswith(user)
    assert came["user_id"] == delivered["user_id"] == delivered["correlation_id"] == "***@***"
    assert came["client_id"].startswith("***@***-alerts-")
    assert "jane.doe" not in text


# ---- metrics ----------------------------------------------------------------------------

SHAPE = {
    "timestamp": str,
    "totalClients": int,
    "totalUsers": int,
    "clientsPerUser": list,
    "memory": {"residentBytes": int},
    "buffers": {
        "users": int,
        "events": int,
        "bytes": int,
        "evictedEvents": int,
        "droppedBuffers": int,
    },
    "latency": {"observations": int, "p50Seconds": float, "p99Seconds": float},
}
"""The specification's keys first, then memory, buffers and latency."""


def has_shape(value: Any, shape: Any) -> bool:
    """Tell whether a value has at least these keys, of these types."""
    if isinstance(shape, dict):
        return all(name in value and has_shape(value[name], shape[name]) for name in shape)
    return type(value) is shape


async def test_the_metrics_count_clients_and_users(tmp_path: Path) -> None:
    """Connections are counted in all, by user and by stream, while they are there."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        empty = await metrics(server)
        for user in ("user-1", "user-2"):
            await feed.session(user, user)
        async with (
            server.stream("/api/stream/orders", session="user-1") as one,
            server.stream("/api/stream/alerts", session="user-1") as two,
            server.stream("/api/stream/alerts", session="user-2") as three,
            server.stream("/api/stream/prices") as four,
        ):
            for stream in (one, two, three, four):
                await stream.expect("connected")
            event_id = await feed.publish("alert:new", ALERT, userId="user-1")
            assert (await two.expect("alert:new")).id == event_id
            full = await metrics(server)
        while (left := await metrics(server))["totalClients"]:
            await asyncio.sleep(0)

    assert (empty["totalClients"], empty["totalUsers"], empty["clientsPerUser"]) == (0, 0, [])
    assert has_shape(full, SHAPE)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", full["timestamp"])
    assert (full["totalClients"], full["totalUsers"]) == (4, 2)
    assert sorted(full["clientsPerUser"], key=lambda one: str(one["userId"])) == [
        {"userId": "user-1", "clientCount": 2},
        {"userId": "user-2", "clientCount": 1},
    ]
    assert full["clientsPerStream"] == {"orders": 1, "alerts": 2, "prices": 1}
    assert full["memory"]["residentBytes"] > 10 << 20
    assert (full["buffers"]["users"], full["buffers"]["events"]) == (2, 1)
    assert full["latency"]["observations"] == 1
    assert (left["totalUsers"], left["clientsPerUser"]) == (0, [])


async def test_what_is_published_is_delivered(tmp_path: Path) -> None:
    """Published, delivered and measured agree with what clients received, by type and in all."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        before = await prometheus(server)
        await feed.session("k", "user-1")
        async with (
            server.stream("/api/stream/alerts", session="k") as one,
            server.stream("/api/stream/alerts", session="k") as two,
            server.stream("/api/stream/prices") as prices,
        ):
            await one.expect("connected")
            await two.expect("connected")
            await prices.expect("connected")
            await prices.expect("price:update")
            alert = {"type": "alert:new", "userId": "user-1", "data": ALERT}
            price = {"type": "price:update", "data": {"symbol": "A", "price": 1}}
            await feed.publish_many([alert] * 30 + [price] * 20 + [{"type": "no"}] * 3)
            for _ in range(30):
                await one.expect("alert:new")
                await two.expect("alert:new")
            for _ in range(20):
                await prices.expect("price:update")
            after = await prometheus(server)
            as_json = await metrics(server)
    moved = {
        name.removeprefix("sseserver_"): after[name] - before.get(name, 0)
        for name in after
        if "_bucket" not in name
    }

    assert {
        name: moved[name]
        for name in (
            "published_events_total[alert:new]",
            "published_events_total[price:update]",
            "delivered_events_total",
            "delivery_latency_seconds_count",
            "accepted_lines_total",
            "refused_lines_total",
            "streams_opened_total[alerts]",
            "streams_opened_total[prices]",
            "streams[alerts]",
            "streams[prices]",
            "connected_users",
            "buffered_events",
        )
    } == {
        "published_events_total[alert:new]": 30,
        "published_events_total[price:update]": 20,
        "delivered_events_total": 2 * 30 + 20,
        "delivery_latency_seconds_count": 2 * 30 + 20,
        "accepted_lines_total": 51,
        "refused_lines_total": 3,
        "streams_opened_total[alerts]": 2,
        "streams_opened_total[prices]": 1,
        "streams[alerts]": 2,
        "streams[prices]": 1,
        "connected_users": 1,
        "buffered_events": 30,
    }
    assert 0 < moved["writes_total"] <= 80
    assert moved["delivery_latency_seconds_sum"] > 0
    assert as_json["delivery"]["publishedEvents"] == 50
    assert as_json["delivery"]["deliveredEvents"] == 80
    assert as_json["latency"]["observations"] == 80


async def test_replays_evictions_and_endings_are_counted(tmp_path: Path) -> None:
    """What is replayed, evicted and closed, and why, has its counter."""
    settings = {"buffer.events_per_user": 3, "limits.connections_per_user": 1}
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("k", "user-1")
        for _ in range(5):
            await feed.publish("alert:new", ALERT, userId="user-1")
        async with server.stream("/api/stream/alerts", session="k") as first:
            await first.expect("connected")
            async with server.stream("/api/stream/alerts", session="k") as second:
                await second.expect("connected")
                await first.until_end()
                await feed.do("session.delete", sessionId="k")
                await second.until_end()
        for reason in ("connection_limit", "session_expired"):
            await server.logged("client_disconnected", reason=reason)
        await server.request("GET", "/nothing")
        found = await prometheus(server)

    assert {
        name: found[f"sseserver_{name}"]
        for name in (
            "replayed_events_total",
            "evicted_events_total",
            "evicted_connections_total",
            "streams_closed_total[connection_limit]",
            "streams_closed_total[session_expired]",
            "state_entries[sessions]",
        )
    } == {
        "replayed_events_total": 6,
        "evicted_events_total": 2,
        "evicted_connections_total": 1,
        "streams_closed_total[connection_limit]": 1,
        "streams_closed_total[session_expired]": 1,
        "state_entries[sessions]": 0,
    }


async def test_the_server_says_what_it_does_from_start_to_end(tmp_path: Path) -> None:
    """Listening, feeds, draining and stopped each have a line, in order; every line is JSON."""
    server = await daemon.start(tmp_path, {"log.level": "info"})
    async with server:
        async with server.feed() as feed:
            await feed.do("ping")
        await server.logged("feed_disconnected")
        code = await server.stop()
    events = [line["event"] for line in server.log]

    assert (code, events) == (
        0,
        ["listening", "feed_connected", "feed_disconnected", "draining", "stopped"],
    )
    assert {"timestamp", "level", "event"} <= set.intersection(*map(set, server.log))
