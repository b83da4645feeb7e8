"""Tests for `sseserver.demo.feed`, against a real Unix socket."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sseserver.demo import feed
from sseserver.demo.accounts import registration
from sseserver.demo.feed import replayed_quotes, run_feed, simulated_quotes
from sseserver.demo.market import INSTRUMENTS, MarketQuote, MarketSimulator
from sseserver.demo.recorded_quotes import QuotesError, QuotesFile, check_quotes
from tests.unit.demo.fake_ingest_port import FakeIngestPort, ingest_port

QUOTES = [
    MarketQuote(f"S{number}", Decimal(number), Decimal(number), Decimal(number))
    for number in range(1, 4)
]


async def some_quotes() -> AsyncGenerator[MarketQuote, None]:
    """Yield a few quotes, then none for ever."""
    for quote in QUOTES:
        yield quote
    await asyncio.Event().wait()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[FakeIngestPort]:
    """Return a fake ingest port that listens beside the test."""
    async with ingest_port(tmp_path / "feed.sock") as port:
        yield port


@asynccontextmanager
async def feeding(
    tmp_path: Path, quotes: AsyncGenerator[MarketQuote, None], ready: list[str]
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the feed meanwhile."""
    path = str(tmp_path / "feed.sock")
    running = asyncio.create_task(
        run_feed(path, random.Random(1), "run", quotes, lambda: ready.append("ready"))
    )
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_users_are_known_before_the_demo_is_ready(
    port: FakeIngestPort, tmp_path: Path
) -> None:
    """Registration comes first, and ready means that all of it was answered."""
    ready: list[str] = []
    port.answers.clear()
    async with feeding(tmp_path, some_quotes(), ready):
        await port.until(lambda: len(port.lines) == len(registration()) + 6)
        assert ready == []
        port.answers.set()
        await port.until(lambda: any(line.get("type") == "price:update" for line in port.lines))

    assert ready == ["ready"]
    assert registration() == port.lines[: len(registration())]


async def test_quotes_are_published_in_order(port: FakeIngestPort, tmp_path: Path) -> None:
    """Each quote is one broadcast with its symbol, price, bid and ask."""
    async with feeding(tmp_path, some_quotes(), []):
        await port.until(lambda: len(port.lines) == len(registration()) + 6 + len(QUOTES))

    prices = [line for line in port.lines if line.get("type") == "price:update"]

    assert prices == [
        {"type": "price:update", "data": {"symbol": f"S{n}", "price": n, "bid": n, "ask": n}}
        for n in range(1, 4)
    ]


async def test_the_desk_trades_on_the_quotes(
    port: FakeIngestPort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders are placed and filled at the prices that were published."""
    monkeypatch.setattr(feed, "_DESK_STEP_SECONDS", 0.001)
    async with feeding(tmp_path, some_quotes(), []):
        await port.until(lambda: any(line.get("type") == "trade:new" for line in port.lines))

    trade = next(line["data"] for line in port.lines if line.get("type") == "trade:new")

    assert trade["symbol"] == f"S{trade['price']}"


async def test_a_lost_connection_ends_the_feed_with_a_line(
    port: FakeIngestPort, tmp_path: Path
) -> None:
    """The server closed the connection: one error line, no exception."""
    port.closes_after = 5
    with capture_logs() as logs:
        async with feeding(tmp_path, some_quotes(), []) as running:
            await running

    assert [("demo_feed_ended", "error")] == [(log["event"], log["log_level"]) for log in logs]


async def test_quotes_that_changed_end_the_feed_with_a_line(
    port: FakeIngestPort, tmp_path: Path
) -> None:
    """A file that was good at the start and is not any more is named."""
    file = QuotesFile(tmp_path / "gone.csv", 1, ("A",))
    with capture_logs() as logs:
        async with feeding(tmp_path, replayed_quotes(file, 1.0), []) as running:
            await running

    assert logs == [{"event": "demo_feed_ended", "log_level": "error", "reason": "no such file"}]


async def test_a_cancelled_feed_closes_its_connection(port: FakeIngestPort, tmp_path: Path) -> None:
    """At a drain the feed is cancelled and leaves nothing open."""
    quotes = some_quotes()
    async with feeding(tmp_path, quotes, []) as running:
        await port.until(lambda: len(port.lines) > len(registration()) + 6)

    assert running.cancelled()
    assert [] == [quote async for quote in quotes]


def write_quotes(path: Path, *rows: tuple[str, str]) -> QuotesFile:
    """Write quotes of the given times and symbols."""
    lines = [f"2026-01-02T10:00:{seconds}Z,{symbol},2,1,3\n" for seconds, symbol in rows]
    path.write_text("".join(["timestamp,symbol,price,bid,ask\n", *lines]))
    return check_quotes(path)


async def take(quotes: AsyncGenerator[MarketQuote, None], count: int) -> list[str]:
    """Return the symbols of the next quotes."""
    symbols = []
    async with aclosing(quotes):
        async for quote in quotes:
            symbols.append(quote.symbol)
            if len(symbols) == count:
                break
    return symbols


async def test_recorded_quotes_come_in_the_files_order_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock of the recording steps back; each new round is logged."""
    monkeypatch.setattr(feed, "_LOOP_PAUSE_SECONDS", 0.0)
    file = write_quotes(tmp_path / "quotes.csv", ("01", "A"), ("02", "B"), ("00", "C"))
    with capture_logs() as logs:
        symbols = await take(replayed_quotes(file, 1000.0), 7)

    assert symbols == ["A", "B", "C", "A", "B", "C", "A"]
    assert [("demo_quotes_begin_anew", 3)] * 2 == [(log["event"], log["rows"]) for log in logs]


async def test_recorded_quotes_keep_their_distance_divided_by_the_speed(tmp_path: Path) -> None:
    """Ten seconds of the recording at 100 times its speed take a tenth of a second."""
    file = write_quotes(tmp_path / "quotes.csv", ("01", "A"), ("11", "B"))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await take(replayed_quotes(file, 100.0), 2)

    assert 0.099 <= loop.time() - started < 9.0  # no clock but this one; the margin is for it


async def test_a_file_that_gets_damaged_is_an_error(tmp_path: Path) -> None:
    """The row that was read before it is still given out."""
    file = write_quotes(tmp_path / "quotes.csv", ("01", "A"))
    with file.path.open("a") as more:
        more.write("broken\n")
    quotes = replayed_quotes(file, 1.0)

    assert (await anext(quotes)).symbol == "A"
    with pytest.raises(QuotesError, match="line 3"):
        await anext(quotes)


async def test_the_simulated_market_opens_and_moves() -> None:
    """Every instrument is quoted at once, then quotes come as time passes."""
    symbols = await take(simulated_quotes(MarketSimulator(random.Random(1), 1000)), 150)

    assert symbols[:12] == [instrument.symbol for instrument in INSTRUMENTS]
