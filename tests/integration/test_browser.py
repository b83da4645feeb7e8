"""The native EventSource of Chromium, on a page of another origin, against the real process.

What a browser does by itself is part of what is promised: it decodes as it receives, comes back
with the last event ID, and gives up for good only where the server means it (contract section 4,
"Refusals that a browser survives").
"""

import json
import signal
from pathlib import Path
from typing import Any, Final

from tests.support import daemon
from tests.support.chromium import Page
from tests.support.cutting_proxy import CuttingProxy
from tests.support.feed_client import FeedClient

CONNECTING: Final = 0
CLOSED: Final = 2
"""Ready states of an EventSource (WHATWG HTML 9.2.2)."""

TABS: Final = 5
"""One fewer than the connections that a browser opens to one origin."""

COOKIE: Final = "session=s-1"


def settings_for(page: Page, **settings: Any) -> dict[str, Any]:
    """Return settings under which the page may read streams with its cookie."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return {"cors.allow_origins": [page.origin], "stream.retry_ms": 500, **dotted}


def streams_at(port: int) -> str:
    """Return the address of the streams of a server."""
    return f"http://127.0.0.1:{port}/api/stream"


async def publish_order(feed: FeedClient, number: int) -> str:
    """Publish a numbered fact of `user-1`; return its ID."""
    data = {"orderId": "ord-1", "symbol": "AAPL", "side": "buy", "qty": 1, "status": "new"}
    return await feed.publish("order:update", {**data, "n": number}, userId="user-1")


def facts_of(page: Page, name: str) -> list[int]:
    """Return the numbers of the facts that a source has dispatched."""
    payloads = [json.loads(event.data) for event in page.events(name)]
    return [data["n"] for data in payloads if "n" in data]


async def test_events_are_dispatched_as_they_are_published(tmp_path: Path) -> None:
    """Orders as gzip and prices as zstd: event n is there before event n + 1 is published."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page)) as server,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        base = streams_at(server.port)
        script = f"follow('orders', '{base}/orders'); follow('prices', '{base}/prices')"
        async with page.shown(tmp_path, script, COOKIE):
            for name in ("orders", "prices"):
                await page.until_events(name, 2)
            for number in range(5):
                order_id = await publish_order(feed, number)
                await page.until_id("orders", order_id)
                price_id = await feed.publish("price:update", {"symbol": "AAPL", "price": number})
                await page.until_id("prices", price_id)
        encodings = {
            (await server.logged("client_connected", stream=name))["encoding"]
            for name in ("orders", "prices")
        }

    assert encodings == {"gzip", "zstd"}
    assert page.types("orders") == ["connected", *["order:update"] * 6]
    assert page.types("prices") == ["connected", *["price:update"] * 6]


async def test_newcomers_of_a_shared_gzip_stream_decode_it(tmp_path: Path) -> None:
    """Tabs that join one after the other, between facts, all dispatch every fact in order."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page, stream__keepalive_seconds=1.2)) as server,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        # Each fact that the newest tab receives opens the next one.
        script = f"""
            let tabs = 0
            function join() {{
                const source = follow(`tab-${{tabs++}}`, '{streams_at(server.port)}/orders')
                source.addEventListener('order:update', function next(event) {{
                    if (JSON.parse(event.data).snapshot) return
                    source.removeEventListener('order:update', next)
                    if (tabs < {TABS}) join()
                }})
            }}
            join()
        """
        names = [f"tab-{tab}" for tab in range(TABS)]
        gzip = {"Accept-Encoding": "gzip"}
        async with (
            server.stream("/api/stream/orders", session="s-1", headers=gzip) as first,
            page.shown(tmp_path, script, COOKIE),
        ):
            for number, name in enumerate(names):
                await page.until_events(name, 2)
                await publish_order(feed, number)
            # With its next write a second later the shared context takes the newcomers in.
            await first.until_comment()
            for number in range(TABS, 2 * TABS):
                last_id = await publish_order(feed, number)
                for name in names:
                    await page.until_id(name, last_id)
            metrics = json.loads((await server.request("GET", "/api/stream/metrics"))[2])

    assert (metrics["totalClients"], metrics["audiences"], metrics["gzipContexts"]) == (
        TABS + 1,
        1,
        1,
    )
    assert {name: facts_of(page, name) for name in names} == {
        name: list(range(2 * TABS)) for name in names
    }
    assert [page.errors(name) for name in names] == [[]] * TABS


async def test_a_broken_connection_is_resumed(tmp_path: Path) -> None:
    """Broken by the network, it comes back with its last ID: every fact once, in order."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page)) as server,
        CuttingProxy(server.port) as proxy,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        script = f"follow('orders', '{streams_at(proxy.port)}/orders')"
        async with page.shown(tmp_path, script, COOKIE):
            await page.until_events("orders", 2)
            await page.until_id("orders", await publish_order(feed, 0))
            proxy.cut()
            await publish_order(feed, 1)
            await publish_order(feed, 2)
            await page.until_events("orders", 7)  # with a new opening
            await page.until_id("orders", await publish_order(feed, 3))

    assert facts_of(page, "orders") == [0, 1, 2, 3]
    assert page.errors("orders") == [CONNECTING]


async def test_it_comes_back_after_a_restart(tmp_path: Path) -> None:
    """The new process tells it of the gap that a crash leaves, and it goes on live."""
    async with Page() as page:
        settings = settings_for(page)
        async with await daemon.start(tmp_path, settings) as server, server.feed() as feed:
            script = f"follow('trading', '{streams_at(server.port)}/trading?userId=user-1')"
            async with page.shown(tmp_path, script):
                await page.until_events("trading", 3)
                before = await publish_order(feed, 0)
                await page.until_id("trading", before)
                server.signal(signal.SIGKILL)
                await server.process.wait()
                await page.until(lambda: bool(page.errors("trading")))
                again = {**settings, "server.port": server.port}
                async with await daemon.start(tmp_path, again) as restarted:
                    await page.until_events("trading", 8)
                    async with restarted.feed() as new_feed:
                        await page.until_id("trading", await publish_order(new_feed, 1))
                    types = page.types("trading")

    snapshots = ["order:update", "position:update"]
    assert types == [
        *("connected", *snapshots, "order:update"),
        *("connected", "stream:gap", *snapshots, "order:update"),
    ]
    assert facts_of(page, "trading") == [0, 1]
    gap = json.loads(page.events("trading")[5].data)
    assert (gap["lastEventId"], gap["reason"]) == (before, "restarted")


async def test_the_tab_that_the_limit_closed_stops_for_good(tmp_path: Path) -> None:
    """It receives `connection:limit`, comes back once, and 204 ends it; the other tab goes on."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page, limits__connections_per_user=1)) as server,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        script = f"""
            const url = '{streams_at(server.port)}/orders'
            follow('old', url).addEventListener('connected', () => follow('new', url))
        """
        async with page.shown(tmp_path, script, COOKIE):
            await page.until_errors("old", [CONNECTING, CLOSED])
            await page.until_id("new", await publish_order(feed, 0))
        statuses = [line["status"] for line in server.log if line["event"] == "request"]

    assert page.types("old") == ["connected", "order:update", "connection:limit"]
    assert page.errors("new") == []
    assert 204 in statuses


async def test_a_refusal_that_passes_is_survived(tmp_path: Path) -> None:
    """A full server answers `connection:refused`; the browser comes back and is let in."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page, server__max_connections=1)) as server,
        server.stream("/api/stream/prices") as stream,
    ):
        script = f"follow('prices', '{streams_at(server.port)}/prices')"
        async with page.shown(tmp_path, script):
            await page.until_errors("prices", [CONNECTING])
            await stream.close()
            await page.until_events("prices", 3)

    refusal = page.events("prices")[0]
    assert page.types("prices") == ["connection:refused", "connected", "price:update"]
    assert (json.loads(refusal.data)["reason"], refusal.last_event_id) == ("max_connections", "")


async def test_farewells_are_received_before_the_end(tmp_path: Path) -> None:
    """`session:expired`, after which 401 is for good, and `server:shutdown`, after which not."""
    async with (
        Page() as page,
        await daemon.start(tmp_path, settings_for(page)) as server,
        server.feed() as feed,
    ):
        await feed.session("s-1", "user-1")
        base = streams_at(server.port)
        script = f"follow('orders', '{base}/orders'); follow('prices', '{base}/prices')"
        async with page.shown(tmp_path, script, COOKIE):
            await page.until_events("orders", 2)
            await page.until_events("prices", 2)
            await feed.do("session.delete", sessionId="s-1")
            await page.until_errors("orders", [CONNECTING, CLOSED])
            server.signal(signal.SIGTERM)
            await page.until_errors("prices", [CONNECTING])

    assert page.types("orders") == ["connected", "order:update", "session:expired"]
    assert page.types("prices") == ["connected", "price:update", "server:shutdown"]


async def test_only_listed_origins_read_with_a_cookie(tmp_path: Path) -> None:
    """`*` is for requests without a cookie, and an origin that is not listed gets nothing."""
    folders = [tmp_path / name for name in ("all", "others")]
    for folder in folders:
        folder.mkdir()
    async with (
        Page() as page,
        await daemon.start(folders[0], {"cors.allow_origins": ["*"]}) as open_to_all,
        await daemon.start(folders[1], {"cors.allow_origins": ["http://127.0.0.1"]}) as to_others,
    ):
        script = f"""
            follow('all, cookie', '{streams_at(open_to_all.port)}/prices')
            follow('all, no cookie', '{streams_at(open_to_all.port)}/prices', false)
            follow('others, cookie', '{streams_at(to_others.port)}/prices')
            follow('others, no cookie', '{streams_at(to_others.port)}/prices', false)
        """
        refused = ("all, cookie", "others, cookie", "others, no cookie")
        async with page.shown(tmp_path, script, COOKIE):
            for name in refused:
                await page.until_errors(name, [CLOSED])
            await page.until_events("all, no cookie", 2)

    assert [page.types(name) for name in refused] == [[], [], []]
