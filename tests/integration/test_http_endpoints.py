"""The paths of the HTTP side against the real process: what each answers, and with what."""

import asyncio
import json
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support import daemon
from tests.support.raw_client import ask, connected, request_bytes

STREAMS = (
    "/api/stream/orders",
    "/api/stream/positions",
    "/api/stream/prices",
    "/api/stream/trading?userId=user-1",
    "/api/stream/ai-decisions",
    "/api/stream/strategies/str-1",
    "/api/stream/alerts",
)
PATHS = (*STREAMS, "/api/stream/metrics", "/api/stream/test", "/healthz", "/readyz", "/metrics")
UNAUTHORIZED = {
    "error": "Unauthorized",
    "message": "No valid session found",
    "statusCode": 401,
}


async def test_all_streams_open_with_a_session(tmp_path: Path) -> None:
    """Seven streams: 200, the headers of the specification, `connected` first."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.do("strategy.put", strategyId="str-1", userId="user-1")
        found = {}
        dates: list[str] = []
        for path in STREAMS:
            async with server.stream(path, session="s-1") as stream:
                connected_event = await stream.expect("connected")
                found[path] = (stream.status, connected_event.data["stream"])
                dates.append(stream.headers["date"])
                headers = {
                    name: stream.headers[name]
                    for name in (
                        "content-type",
                        "cache-control",
                        "connection",
                        "x-accel-buffering",
                        "transfer-encoding",
                        "access-control-allow-origin",
                        "access-control-expose-headers",
                        "vary",
                    )
                }
                assert {
                    "content-type": "text/event-stream",
                    "cache-control": "no-cache",
                    "connection": "keep-alive",
                    "x-accel-buffering": "no",
                    "transfer-encoding": "chunked",
                    "access-control-allow-origin": "*",
                    "access-control-expose-headers": "X-Correlation-ID",
                    "vary": "Accept-Encoding",
                } == headers

    assert {
        path: (200, path.removeprefix("/api/stream/").partition("?")[0]) for path in STREAMS
    } == found
    for date in dates:
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT", date)


async def test_without_a_session_the_answer_is_always_the_same(tmp_path: Path) -> None:
    """401 with one constant body: no cookie, a wrong one, and on any strategy's path.

    And for a session that was revoked, and for one at the moment of its expiry.
    """
    test = "POST /api/stream/test\nCookie: session="
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("revoked", "user-1")
        await feed.do("session.delete", sessionId="revoked")
        await feed.session("brief", "user-1", expiresAt=time.time() + 0.5)
        before = await ask(server.port, f"{test}brief")
        while (expired := await ask(server.port, f"{test}brief")).status == before.status:
            await asyncio.sleep(0)
        await feed.do("strategy.put", strategyId="str-1", userId="user-1")
        private = [path for path in STREAMS if "prices" not in path and "trading" not in path]
        answers = [
            await ask(server.port, f"GET {path}{fields}")
            for path in (*private, "/api/stream/strategies/none")
            for fields in ("", "\nCookie: session=none")
        ]
        answers.append(await ask(server.port, "POST /api/stream/test"))
        answers.append(await ask(server.port, f"{test}revoked"))
        answers.append(expired)

    assert 403 == before.status
    assert [401] * 15 == [answer.status for answer in answers]
    assert {json.dumps(UNAUTHORIZED, separators=(",", ":")).encode()} == {
        answer.body for answer in answers
    }


async def test_a_strategy_of_another_user_does_not_exist(tmp_path: Path) -> None:
    """404, byte for byte the body of a strategy that nobody registered."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-2", "user-2")
        await feed.do("strategy.put", strategyId="str-1", userId="user-1")
        foreign, unknown = [
            await ask(server.port, f"GET /api/stream/strategies/{name}\nCookie: session=s-2")
            for name in ("str-1", "none")
        ]

    assert (404, foreign.body) == (unknown.status, unknown.body)
    assert {
        "error": "Not Found",
        "message": "Strategy not found",
        "statusCode": 404,
    } == foreign.json()
    assert 404 == foreign.status


async def test_any_name_of_a_strategy_can_be_followed(tmp_path: Path) -> None:
    """A slash inside a name is escaped in the path, and moves no bounds of it anywhere."""
    paths = {"a/b": "a%2Fb", "..": "%2e%2e", "50% \u00e4": "50%25%20%C3%A4"}
    seen = {}
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        for name, path in paths.items():
            await feed.do("strategy.put", strategyId=name, userId="user-1")
            target = f"/api/stream/strategies/{path}"
            async with server.stream(target, session="s-1") as stream:
                opened = await stream.expect("connected")
                data = {"strategyId": name, "status": "started"}
                await feed.publish("strategy:update", data)
                update = await stream.expect("strategy:update")
            seen[name] = (opened.data["stream"], update.data["strategyId"])
        moved = [
            (await ask(server.port, f"GET {path}")).status
            for path in ("/api/stream%2Fprices", "/api/stream/strategies%2Fa", "/%2Fhealthz")
        ]

    assert {name: (f"strategies/{name}", name) for name in paths} == seen
    assert [404] * 3 == moved


async def test_every_error_is_json_with_cors_and_a_correlation_id(tmp_path: Path) -> None:
    """400, 401, 403, 404, 405, 406, 413, 414, 431: the specification's body, for any origin."""
    settings = {"limits.max_symbols": 2, "server.max_header_bytes": 1024}
    requests = {
        "GET /%zz": (400, "Bad Request"),
        "GET /api/stream/trading": (400, "Bad Request"),
        "GET /api/stream/prices?symbols=A,B,C": (400, "Bad Request"),
        "GET /healthz\nX : y": (400, "Bad Request"),
        "GET /api/stream/orders": (401, "Unauthorized"),
        "POST /api/stream/test\nCookie: session=s-1": (403, "Forbidden"),
        "GET /api/stream/all": (404, "Not Found"),
        "GET /api/stream/strategies/none\nCookie: session=s-1": (404, "Not Found"),
        "POST /api/stream/orders": (405, "Method Not Allowed"),
        "GET /api/stream/prices\nAccept: text/html": (406, "Not Acceptable"),
        "GET /api/stream/prices\nAccept-Encoding: *;q=0": (406, "Not Acceptable"),
        "POST /api/stream/test\nContent-Length: 65537": (413, "Content Too Large"),
        "GET /" + "a" * 1024: (414, "URI Too Long"),
        "GET /healthz\nX: " + "a" * 1024: (431, "Request Header Fields Too Large"),
    }
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        found = {head: await ask(server.port, head) for head in requests}

    assert requests == {
        head: (answer.status, answer.json()["error"]) for head, answer in found.items()
    }
    for answer in found.values():
        assert {"error", "message", "statusCode"} == answer.json().keys()
        assert answer.status == answer.json()["statusCode"]
        assert {
            "content-type": "application/json",
            "cache-control": "no-store",
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "GET, OPTIONS",
            "access-control-allow-headers": "Content-Type, Authorization",
            "access-control-expose-headers": "X-Correlation-ID",
        }.items() <= answer.headers.items()
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", answer.headers["x-correlation-id"])


async def test_methods(tmp_path: Path) -> None:
    """HEAD on a stream and every method that a path lacks: 405 with `Allow`; OPTIONS: 200."""
    async with await daemon.start(tmp_path) as server:
        options = {path: await ask(server.port, f"OPTIONS {path}") for path in PATHS}
        heads = {path: await ask(server.port, f"HEAD {path}") for path in PATHS}
        deleted = {path: await ask(server.port, f"DELETE {path}") for path in PATHS}

    allowed = {
        path: "GET, OPTIONS" if path in STREAMS else "GET, HEAD, OPTIONS" for path in PATHS
    } | {"/api/stream/test": "POST, OPTIONS"}
    refusing = {*STREAMS, "/api/stream/test"}
    assert {path: (200, allow) for path, allow in allowed.items()} == {
        path: (answer.status, answer.headers["allow"]) for path, answer in options.items()
    }
    assert {path: (405, allow) for path, allow in allowed.items()} == {
        path: (answer.status, answer.headers["allow"]) for path, answer in deleted.items()
    }
    assert {path: 405 if path in refusing else 200 for path in PATHS} == {
        path: answer.status for path, answer in heads.items()
    }
    assert "GET, OPTIONS" == heads["/api/stream/orders"].headers["allow"]


async def test_correlation_ids(tmp_path: Path) -> None:
    """Kept when valid, replaced when not; in the head, in `connected` and in the log."""
    kept = ("c-1", "A.b_c:d-9", "x" * 128)
    replaced = ("", "a b", "x" * 129, "a/b", "\u00e9")
    async with await daemon.start(tmp_path) as server:
        answers = {
            name: (await ask(server.port, f"GET /healthz\nX-Correlation-ID: {name}")).headers[
                "x-correlation-id"
            ]
            for name in (*kept, *replaced)
        }
        headers = {"X-Correlation-ID": "trace-7"}
        async with server.stream("/api/stream/prices", headers=headers) as stream:
            event = await stream.expect("connected")
            in_head = stream.headers["x-correlation-id"]
        opened = await server.logged("client_connected", correlation_id="trace-7")
        closed = await server.logged("client_disconnected", correlation_id="trace-7")

    assert {name: name for name in kept}.items() <= answers.items()
    assert not any(name == answers[name] for name in replaced)
    assert 8 == len(set(answers.values()))
    assert ("trace-7", "trace-7") == (event.data["correlationId"], in_head)
    assert opened["client_id"] == closed["client_id"] == event.data["clientId"]


async def test_the_test_event_reaches_every_connection(tmp_path: Path) -> None:
    """401 without a session, 403 without the role; an admin's goes out in every coding."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.session("s-a", "root", role="admin")
        line = "POST /api/stream/test"
        refused = [
            (await ask(server.port, f"{line}{fields}")).status
            for fields in ("", "\nCookie: session=none", "\nCookie: session=s-1")
        ]
        async with (
            server.stream("/api/stream/alerts", session="s-1") as plain,
            server.stream(
                "/api/stream/orders", session="s-1", headers={"Accept-Encoding": "gzip"}
            ) as gzip,
            server.stream("/api/stream/prices", headers={"Accept-Encoding": "zstd"}) as zstd,
            server.stream("/api/stream/prices?symbols=", version="HTTP/1.0") as old,
        ):
            streams = (plain, gzip, zstd, old)
            for stream in streams:
                await stream.expect("connected")
            sent = await ask(server.port, f"{line}\nCookie: session=s-a\nContent-Length: 2", b"{}")
            events = [await stream.until("test") for stream in streams]
            codings = [stream.headers.get("content-encoding") for stream in streams]

    assert [401, 401, 403] == refused
    assert [None, "gzip", "zstd", None] == codings
    assert (200, True, 4) == (sent.status, sent.json()["success"], sent.json()["clients"])
    assert [sent.json()["id"]] * 4 == [event.id for event in events]
    assert [{"message", "timestamp"}] * 4 == [set(event.data) for event in events]


async def test_health_readiness_and_metrics(tmp_path: Path) -> None:
    """Alive, ready, and text that Prometheus' own parser reads."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            await feed.publish(
                "alert:new", {"alertId": "a", "level": "info", "message": "m"}, userId="user-1"
            )
            await stream.expect("alert:new")
            health = await ask(server.port, "GET /healthz")
            ready = await ask(server.port, "GET /readyz")
            metrics = await ask(server.port, "GET /metrics")
            shown = await ask(server.port, "GET /api/stream/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.body.decode())
        for sample in family.samples
    }

    assert (200, 200, 200) == (health.status, ready.status, metrics.status)
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    assert (1, 1, 1, 1) == (
        samples["sseserver_streams", "alerts"],
        samples["sseserver_published_events_total", "alert:new"],
        samples["sseserver_delivered_events_total",],
        samples["sseserver_delivery_latency_seconds_count",],
    )
    assert b"user-1" not in metrics.body
    assert (1, 1, [{"userId": "user-1", "clientCount": 1}]) == (
        shown.json()["totalClients"],
        shown.json()["totalUsers"],
        shown.json()["clientsPerUser"],
    )


async def test_symbols(tmp_path: Path) -> None:
    """`?symbols=` narrows snapshot and events; empty it means none, without it all."""
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-a", "root", role="admin")
        for symbol in ("AAPL", "MSFT"):
            await feed.publish("price:update", {"symbol": symbol, "price": 1})
        async with (
            server.stream("/api/stream/prices") as everything,
            server.stream("/api/stream/prices?symbols=MSFT,%20NONE") as some,
            server.stream("/api/stream/prices?symbols=") as nothing,
        ):
            snapshots = []
            for stream in (everything, some, nothing):
                await stream.expect("connected")
                data = (await stream.expect("price:update")).data
                assert data["initializing"] is True
                snapshots.append([price["symbol"] for price in data["prices"]])
            for symbol in ("AAPL", "MSFT"):
                await feed.publish("price:update", {"symbol": symbol, "price": 2})
            live = [
                [(await everything.next()).data["symbol"] for _ in range(2)],
                [(await some.next()).data["symbol"]],
            ]
            await ask(server.port, "POST /api/stream/test\nCookie: session=s-a")
            await nothing.expect("test")

    assert [["AAPL", "MSFT"], ["MSFT"], []] == snapshots
    assert [["AAPL", "MSFT"], ["MSFT"]] == live


async def test_codings_and_types_by_weight(tmp_path: Path) -> None:
    """The coding a client weighs highest, plain bytes when it wants those, 406 for nothing."""
    cases: dict[str, str | int | None] = {
        "": None,
        "Accept-Encoding: gzip": "gzip",
        "Accept-Encoding: gzip, deflate, br, zstd": "zstd",
        "Accept-Encoding: zstd;q=0.3, gzip;q=0.8": "gzip",
        "Accept-Encoding: gzip;q=0.3, identity;q=0.8": None,
        "Accept-Encoding: gzip;q=0, zstd;q=0": None,
        "Accept-Encoding: *;q=0.5": "zstd",
        "Accept-Encoding: br;q=1.0, identity;q=0": 406,
        "Accept-Encoding: *;q=0": 406,
        "Accept: text/*;q=0.1": None,
        "Accept: */*, text/event-stream;q=0": 406,
        "Accept: text/html, application/json": 406,
    }
    found: dict[str, str | int | None] = {}
    async with await daemon.start(tmp_path) as server:
        for field in cases:
            async with connected(server.port) as client:
                client.send(request_bytes(f"GET /api/stream/prices\n{field}"))
                answer = await client.head()
                found[field] = (
                    answer.headers.get("content-encoding")
                    if answer.status == 200
                    else answer.status
                )

    assert cases == found


async def test_ipv6(tmp_path: Path) -> None:
    """An IPv6 address is listened on, named in the log, and ours as `Host`."""
    async with await daemon.start(tmp_path, {"server.host": "::1"}) as server:
        async with connected(server.port, "::1") as client:
            client.send(
                request_bytes(f"GET /api/stream/trading?userId=user-1\nHost: [::1]:{server.port}")
            )
            answer = await client.head()
        line = server.log[0]
        opened = await server.logged("client_connected")

    assert 200 == answer.status
    assert ("::1", "::1") == (line["host"], opened["peer"])
