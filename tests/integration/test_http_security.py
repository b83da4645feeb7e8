"""What pages of other sites, proxies and strangers get, against the real process."""

import json
from pathlib import Path

from tests.support import daemon
from tests.support.raw_client import ask, connected, request_bytes

TEST = "POST /api/stream/test\nCookie: session=s-a"
TRADING = "GET /api/stream/trading?userId=user-1"


async def stream_status(port: int, head: str) -> int:
    """Ask for a stream, return the status and leave."""
    async with connected(port) as client:
        client.send(request_bytes(head))
        return (await client.head()).status


async def test_listed_origins(tmp_path: Path) -> None:
    """One that is listed is echoed, with credentials; others get nothing; caches are told."""
    listed = ("https://app.example", "http://localhost:3000")
    lines = (
        "GET /healthz",
        "GET /nowhere",
        "GET /api/stream/orders",
        "OPTIONS /api/stream/orders",
        "GET /api/stream/orders\nCookie: session=s-1",
        "GET /%zz",
        "GET /healthz\nA : b",
        "GET /" + "a" * 1024,
        "GET /healthz\nA: " + "a" * 1024,
    )
    found = {}
    settings = {"cors.allow_origins": listed, "server.max_header_bytes": 1024}
    async with await daemon.start(tmp_path, settings) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
        for origin in (*listed, "https://evil.example"):
            for line in lines:
                async with connected(server.port) as client:
                    client.send(request_bytes(f"{line}\nOrigin: {origin}"))
                    headers = (await client.head()).headers
                found[origin, line] = (
                    headers.get("access-control-allow-origin"),
                    headers.get("access-control-allow-credentials"),
                    headers["vary"],
                )

    assert {
        (origin, line): (
            origin if origin in listed else None,
            "true" if origin in listed else None,
            "Origin, Accept-Encoding" if "Cookie" in line else "Origin",
        )
        for origin, line in found
    } == found


async def test_any_origin(tmp_path: Path) -> None:
    """`*` is what any page gets, without credentials; a preflight is answered 200."""
    async with await daemon.start(tmp_path) as server:
        preflight = await ask(
            server.port,
            "OPTIONS /api/stream/orders\nOrigin: https://any.example"
            "\nAccess-Control-Request-Method: GET",
        )

    assert (200, b"") == (preflight.status, preflight.body)
    assert {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, OPTIONS",
        "access-control-allow-headers": "Content-Type, Authorization",
        "access-control-expose-headers": "X-Correlation-ID",
    }.items() <= preflight.headers.items()
    assert not {"access-control-allow-credentials", "vary"} & preflight.headers.keys()


async def test_posts_of_foreign_pages(tmp_path: Path) -> None:
    """Only our own host, an origin listed by name, or no browser at all may post."""
    async with await daemon.start(
        tmp_path, {"cors.allow_origins": ["*", "https://app.example"]}
    ) as server:
        async with server.feed() as feed:
            await feed.session("s-a", "root", role="admin")
        own = f"127.0.0.1:{server.port}"
        cases = {
            "": 200,
            "\nOrigin: https://app.example": 200,
            f"\nHost: {own}\nOrigin: http://{own}": 200,
            f"\nHost: {own}\nOrigin: https://{own}": 200,
            f"\nHost: {own}\nOrigin: http://127.0.0.1": 403,
            "\nOrigin: https://evil.example": 403,
            "\nOrigin: null": 403,
            "\nOrigin: *": 403,
            "\nOrigin: file://": 403,
            "\nOrigin: https://app.example, https://evil.example": 403,
        }
        found = {fields: (await ask(server.port, f"{TEST}{fields}")).status for fields in cases}

    assert cases == found


async def test_dns_rebinding(tmp_path: Path) -> None:
    """Without a session, users are named only under a host that no attacker can own."""
    settings = {"server.allowed_hosts": ["feed.example"]}
    hosts = {
        "localhost": 200,
        "LOCALHOST:1": 200,
        "app.localhost": 200,
        "127.0.0.1:8080": 200,
        "127.9.9.9": 200,
        "[::1]:8080": 200,
        "feed.example": 200,
        "feed.example.:443": 200,
        "evil.example": 403,
        "feed.example.evil.example": 403,
        "127.0.0.1.evil.example": 403,
        "192.0.2.1": 403,
        "0.0.0.0": 403,
    }
    async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        await feed.session("s-a", "root", role="admin")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            opened = {
                host: await stream_status(server.port, f"{TRADING}\nHost: {host}") for host in hosts
            }
            by_target = await stream_status(
                server.port, "GET http://evil.example/api/stream/trading?userId=user-1"
            )
            without_host = await stream_status(server.port, f"{TRADING} HTTP/1.0\nHost:")
            by_session = await stream_status(
                server.port, f"{TRADING}\nHost: evil.example\nCookie: session=s-1"
            )
            names = {
                host: bool(
                    json.loads(
                        (await ask(server.port, f"GET /api/stream/metrics\nHost: {host}")).body
                    )["clientsPerUser"]
                )
                for host in hosts
            }
            to_admin = await ask(
                server.port,
                "GET /api/stream/metrics\nHost: evil.example\nCookie: session=s-a",
            )

    assert hosts == opened
    assert (403, 400, 200) == (by_target, without_host, by_session)
    assert {host: status == 200 for host, status in hosts.items()} == names
    assert "user-1" == to_admin.json()["clientsPerUser"][0]["userId"]


async def test_protected_mode_and_proxies(tmp_path: Path) -> None:
    """Behind a proxy neither open trading nor names: 403, and an empty list."""
    fields = (
        "Forwarded: for=192.0.2.1",
        "Via: 1.1 proxy",
        "X-Forwarded-For: 192.0.2.1",
        "X-Real-IP: 192.0.2.1",
    )
    async with await daemon.start(tmp_path) as server, server.feed() as feed:
        await feed.session("s-1", "user-1")
        direct = await stream_status(server.port, TRADING)
        opened = [await stream_status(server.port, f"{TRADING}\n{field}") for field in fields]
        owned = await stream_status(server.port, f"{TRADING}\n{fields[0]}\nCookie: session=s-1")
        async with server.stream("/api/stream/alerts", session="s-1") as stream:
            await stream.expect("connected")
            near, *far = [
                (await ask(server.port, f"GET /api/stream/metrics\n{field}")).json()
                for field in ("X: y", *fields)
            ]

    assert (200, [403] * 4, 200) == (direct, opened, owned)
    assert "user-1" in [user["userId"] for user in near["clientsPerUser"]]
    assert [[]] * 4 == [page["clientsPerUser"] for page in far]
    assert all(page["totalClients"] for page in far)


async def test_protected_mode_turned_off(tmp_path: Path) -> None:
    """Then a proxy may pass open trading on, and names go to who asks under our host."""
    settings = {"auth.protected_mode": False}
    async with await daemon.start(tmp_path, settings) as server:
        async with connected(server.port) as client:
            client.send(request_bytes(f"{TRADING}\nX-Forwarded-For: 192.0.2.1"))
            opened = (await client.head()).status
            shown = await ask(server.port, "GET /api/stream/metrics\nX-Forwarded-For: 192.0.2.1")
        foreign = await stream_status(server.port, f"{TRADING}\nHost: evil.example")

    assert (200, 403) == (opened, foreign)
    assert [{"userId": "user-1", "clientCount": 1}] == shown.json()["clientsPerUser"]


async def test_trading_by_session(tmp_path: Path) -> None:
    """With `auth.trading = "session"` it takes the session of `userId`, under any host."""
    async with await daemon.start(
        tmp_path, {"auth.trading": "session", "auth.cookie_name": "sid"}
    ) as server:
        async with server.feed() as feed:
            await feed.session("s-1", "user-1")
            await feed.session("s-2", "user-2")
        cases = {
            f"{TRADING}\nCookie: sid=s-1": 200,
            f"{TRADING}\nCookie: a=b; sid=s-1\nHost: evil.example\nVia: 1.1 proxy": 200,
            f"{TRADING}\nCookie: sid=s-2": 403,
            f"{TRADING}\nCookie: session=s-1": 401,
            TRADING: 401,
            "GET /api/stream/trading": 401,
            "GET /api/stream/trading\nCookie: sid=s-1": 400,
            "GET /api/stream/trading?userId=\nCookie: sid=s-1": 400,
        }
        found = {head: await stream_status(server.port, head) for head in cases}

    assert cases == found


async def test_what_is_never_an_error(tmp_path: Path) -> None:
    """Open trading needs a user; a last event ID that cannot be read harms nothing."""
    async with await daemon.start(tmp_path) as server:
        missing = [
            await stream_status(server.port, f"GET /api/stream/trading{query}")
            for query in ("", "?userId=", "?userid=user-1", "?userId=a%0Db")
        ]
        harmless = [
            await stream_status(server.port, f"{TRADING}{text}")
            for text in (
                "&lastEventId=%ff%zz",
                "&lastEventId=" + "9" * 5000,
                "\nLast-Event-ID: 1735819800000-abc",
                "\nLast-Event-ID: \x01\xff",
            )
        ]

    assert ([400] * 4, [200] * 4) == (missing, harmless)
