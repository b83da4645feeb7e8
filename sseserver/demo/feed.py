"""The demo's feed: what is sent to the ingest port, and when.

What is said is decided in `market`, `recorded_quotes` and `trading_desk`; here is the clock.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import structlog

from sseserver.demo.accounts import TRADERS, registration
from sseserver.demo.commentary import feed_line
from sseserver.demo.feed_connection import FeedConnection
from sseserver.demo.market import MarketQuote, MarketSimulator
from sseserver.demo.recorded_quotes import QuotesError, QuotesFile, open_quotes, read_quotes
from sseserver.demo.trading_desk import TradingDesk

_MARKET_STEP_SECONDS: Final = 0.05  # the simulator's 25 updates a second come about one at a time
_DESK_STEP_SECONDS: Final = 1.0  # what `TradingDesk.act` is made for
_MAX_STEP_SECONDS: Final = 1.0  # a machine that slept does not get all it missed
_LOOP_PAUSE_SECONDS: Final = 1.0  # so that a file of one moment does not spin

_log = structlog.get_logger()


async def run_feed(
    ingest_path: str,
    rng: random.Random,
    run: str,
    quotes: AsyncGenerator[MarketQuote, None],
    on_ready: Callable[[], None],
) -> None:
    """Feed the ingest port until cancelled or until the server closes the connection.

    Args:
        ingest_path: The ingest port's Unix socket.
        rng: What the trading desk decides with.
        run: Part of every ID, so that two runs share none.
        quotes: The market, each quote at its time.
        on_ready: Called once the demo's users are known to the server.
    """
    connection = FeedConnection(*await asyncio.open_unix_connection(ingest_path))
    desk = TradingDesk(rng, TRADERS, run)
    try:
        async with asyncio.TaskGroup() as group:
            answers = group.create_task(connection.read_answers())
            for line in (*registration(), *desk.opening()):
                await connection.send(line)
            await connection.settle()
            on_ready()
            group.create_task(_trade(connection, desk))
            group.create_task(_publish_quotes(connection, desk, quotes))
            await answers
    except* (ConnectionError, QuotesError) as errors:
        _log.error("demo_feed_ended", reason=str(errors.exceptions[0]))
    finally:
        connection.close()


async def _publish_quotes(
    connection: FeedConnection, desk: TradingDesk, quotes: AsyncGenerator[MarketQuote, None]
) -> None:
    async with aclosing(quotes):
        async for quote in quotes:
            desk.on_quote(quote)
            await connection.send(feed_line("price:update", quote._asdict()))


async def _trade(connection: FeedConnection, desk: TradingDesk) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_DESK_STEP_SECONDS)
        for line in desk.act(loop.time()):
            await connection.send(line)


async def simulated_quotes(simulator: MarketSimulator) -> AsyncGenerator[MarketQuote, None]:
    """Yield the quotes of a simulated market as time passes."""
    loop = asyncio.get_running_loop()
    for quote in simulator.opening():
        yield quote
    before = loop.time()
    while True:
        await asyncio.sleep(_MARKET_STEP_SECONDS)
        now = loop.time()
        for quote in simulator.advance(min(now - before, _MAX_STEP_SECONDS)):
            yield quote
        before = now


async def replayed_quotes(file: QuotesFile, speed: float) -> AsyncGenerator[MarketQuote, None]:
    """Yield recorded quotes in the file's order, over and over.

    They go out without the time at which they were recorded: to whoever watches, this market
    is happening now.

    Args:
        file: A file that has been checked.
        speed: Seconds of the recording in one second.

    Raises:
        QuotesError: The file has changed since and cannot be read any more.
    """
    while True:
        async with aclosing(_replay_once(file.path, speed)) as quotes:
            async for quote in quotes:
                yield quote
        _log.warning("demo_quotes_begin_anew", path=str(file.path), rows=file.rows)
        await asyncio.sleep(_LOOP_PAUSE_SECONDS)


async def _replay_once(path: Path, speed: float) -> AsyncGenerator[MarketQuote, None]:
    loop = asyncio.get_running_loop()
    # Reading a few rows from a local file takes less time than handing it to a thread.
    with open_quotes(path) as lines:
        started: float | None = None
        for at_seconds, quote in read_quotes(lines):
            if started is None:
                started = loop.time() - at_seconds / speed
            wait = started + at_seconds / speed - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            yield quote
