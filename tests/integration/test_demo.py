"""The demo as a visitor meets it: what it prints can be pasted, and its market is alive.

Contract section 1: a market simulator or real quotes, demo users whose orders fill and whose
positions move with it, and lines that work.
"""

import asyncio
import gzip
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support import program
from tests.support.program import Running
from tests.support.stream_client import StreamClient
from tests.support.tools import need

USERS: Final = ("demo-alice", "demo-bob", "demo-carol")

ROWS: Final = 20
READ_ROWS: Final = ROWS + 5

TIMEOUT_SECONDS: Final = 45.0
"""Its users decide at random, about one order every two seconds; this is many times as long."""


class Demo:
    """A running demo and what it printed.

    Attributes:
        port: Where it accepts HTTP.
        lines: The lines of its banner that can be pasted into a shell.
    """

    def __init__(self, running: Running, banner: list[str]) -> None:
        self._running = running
        self.banner = "\n".join(banner)
        self.lines = [line.strip() for line in banner if line.startswith("  ")]
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.banner)
        assert found, banner
        self.port = int(found[1])

    async def stop(self) -> program.Done:
        """End it as Ctrl-C does."""
        return await self._running.stop(signal.SIGINT)


@asynccontextmanager
async def demo(folder: Path, *arguments: str) -> AsyncIterator[Demo]:
    """Run the demo on a free port until it has said what to try."""
    async with program.running("demo", "--port", "0", *arguments, folder=folder) as running:
        yield Demo(running, await running.until("Ctrl-C ends it"))


async def output_of(line: str, folder: Path, awaited: str) -> str:
    """Run a line in a shell until it has printed `awaited`, and return what it printed."""
    process = await asyncio.create_subprocess_shell(
        f"exec {line}",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    output = ""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while awaited not in output:
                data = await process.stdout.read(1 << 16)
                assert data, f"{line!r} ended with {output!r}"
                output += data.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
    return output


def awaited_from(line: str) -> str:
    """Return what a line of the banner shows when it works."""
    match line:
        case _ if "/api/stream/prices" in line:
            return '"bid":'
        case _ if "/api/stream/test" in line:
            return '"success":true'
        case _ if " publish " in line:
            return '"ok":true'
        case _ if " tail " in line:
            return "connected"
        case _:
            return "event: connected"


async def test_every_line_of_the_banner_works_as_printed(tmp_path: Path) -> None:
    """Prices, a user's streams, tail, an event of one's own and one to everybody; then Ctrl-C."""
    need("curl")
    folder = tmp_path / "a folder"
    folder.mkdir()
    async with demo(folder) as running:
        outputs = await asyncio.gather(
            *(output_of(line, tmp_path, awaited_from(line)) for line in running.lines)
        )
        done = await running.stop()

    programs = [re.sub(r"^\S*python\S* -m ", "", line).split(" ")[0] for line in running.lines]
    assert programs == [*["curl"] * 4, *["sseserver"] * 2, "curl"]
    assert all(outputs)
    assert (done.code, done.err) == (0, "")
    assert "demo_line_refused" not in done.out


async def until_filled_and_moved(stream: StreamClient) -> dict[str, Any]:
    """Follow a trader until an order is filled; return the fill and what followed from it.

    The position follows the fill, and moves when a price moves.
    """
    orders: dict[str, Any] = {}
    fill: dict[str, Any] = {}
    values: list[float] = []
    while len(set(values)) < 2:
        event = await stream.next()
        if event.type == "order:update" and "snapshot" not in event.data:
            orders[event.data["orderId"]] = event.data
        elif event.type == "order:fill" and event.data["orderId"] in orders and not fill:
            fill = event.data
        elif event.type == "position:update" and fill:
            values += [
                position["unrealizedPnL"]
                for position in event.data["positions"]
                if position["symbol"] == fill["symbol"]
            ]
    return {"order": orders[fill["orderId"]], "fill": fill, "values": values}


async def first_to_trade(port: int) -> dict[str, Any]:
    """Follow all demo users and return what the first did whose order was filled."""
    streams = [
        await StreamClient.connect(
            port, f"/api/stream/trading?userId={user}", session=f"{user}-session"
        )
        for user in USERS
    ]
    tasks = [asyncio.create_task(until_filled_and_moved(stream)) for stream in streams]
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in streams:
            await stream.close()


async def test_orders_fill_and_positions_move_on_the_simulated_market(tmp_path: Path) -> None:
    """An order of some demo user is filled, and the position it makes is valued anew."""
    async with demo(tmp_path) as running:
        trade = await first_to_trade(running.port)
        done = await running.stop()

    order, fill = trade["order"], trade["fill"]
    assert (fill["symbol"], fill["side"]) == (order["symbol"], order["side"])
    assert fill["status"] in {"filled", "partially_filled"}
    assert (done.code, done.err) == (0, "")


def record_quotes(path: Path) -> list[tuple[str, float]]:
    """Write a compressed file of quotes, one every two seconds; return symbols and prices."""
    quotes = [(("UP", "DOWN")[n % 2], 100 + (n if n % 2 == 0 else -n)) for n in range(ROWS)]
    rows = [
        f"2026-01-02T10:{n * 2 // 60:02}:{n * 2 % 60:02}Z,{symbol},{price}.00,{price}.00,{price}.02"
        for n, (symbol, price) in enumerate(quotes)
    ]
    text = "\n".join(["timestamp,symbol,price,bid,ask", *rows, ""])
    path.write_bytes(gzip.compress(text.encode()))
    return [(symbol, float(price)) for symbol, price in quotes]


async def live_prices(port: int, count: int) -> list[dict[str, Any]]:
    """Return so many live prices."""
    stream = await StreamClient.connect(port, "/api/stream/prices")
    try:
        await stream.expect("connected")
        await stream.expect("price:update")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return [(await stream.expect("price:update")).data for _ in range(count)]
    finally:
        await stream.close()


async def test_recorded_quotes_make_the_market(tmp_path: Path) -> None:
    """With `--quotes FILE --speed 20`: its prices in its order, over and over, and orders on them.

    They are recorded two seconds apart, so at their own pace they would take too long here.
    """
    quotes = record_quotes(tmp_path / "quotes.csv.gz")
    async with demo(tmp_path, "--quotes", "quotes.csv.gz", "--speed", "20") as running:
        prices, trade = await asyncio.gather(
            live_prices(running.port, READ_ROWS), first_to_trade(running.port)
        )
        done = await running.stop()

    seen = [(price["symbol"], float(price["price"])) for price in prices]
    start = quotes.index(seen[0])
    assert seen == [quotes[(start + place) % ROWS] for place in range(READ_ROWS)]
    assert [price["bid"] for price in prices] == [price for _, price in seen]
    assert trade["fill"]["symbol"] in {"UP", "DOWN"}
    assert (done.code, done.err) == (0, "")


async def test_bad_quotes_are_exit_code_2_before_anything_starts(tmp_path: Path) -> None:
    """The line and what is wrong with it are named, and no socket is left."""
    (tmp_path / "quotes.csv").write_text(
        "timestamp,symbol,price,bid,ask\n2026-01-02T10:00:00Z,A,1,1,1\nyesterday,A,1,1,1\n"
    )
    done = await program.run("demo", "--port", "0", "--quotes", "quotes.csv", folder=tmp_path)

    assert (done.code, done.out) == (2, "")
    assert ("quotes.csv" in done.err, "line 3" in done.err) == (True, True)
    assert not (tmp_path / "sseserver.sock").exists()
