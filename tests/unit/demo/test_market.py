"""Tests for `sseserver.demo.market`."""

import math
import random
from collections import Counter
from decimal import Decimal

import pytest

from sseserver.demo.market import INSTRUMENTS, MarketQuote, MarketSimulator

SYMBOLS = [instrument.symbol for instrument in INSTRUMENTS]


def day(seed: int, steps: int = 400, seconds: float = 1.0) -> list[MarketQuote]:
    """Return the quotes of some minutes of trading."""
    simulator = MarketSimulator(random.Random(seed), updates_per_second=25)
    quotes = simulator.opening()
    for _ in range(steps):
        quotes += simulator.advance(seconds)
    return quotes


def test_the_same_seed_gives_the_same_market() -> None:
    """Randomness comes from the argument alone."""
    assert day(1, 100) == day(1, 100)
    assert day(1, 100) != day(2, 100)


def test_the_opening_has_every_instrument_near_its_price() -> None:
    """Each instrument is quoted once, with its starting price inside or beside the spread."""
    opening = MarketSimulator(random.Random(1)).opening()

    assert SYMBOLS == [quote.symbol for quote in opening]
    for quote, instrument in zip(opening, INSTRUMENTS, strict=True):
        start = Decimal(instrument.price)
        assert quote.bid - Decimal("0.01") <= start <= quote.ask + Decimal("0.01")


def test_the_number_of_updates_is_what_was_asked_for() -> None:
    """Fractions of an update are owed and come later."""
    simulator = MarketSimulator(random.Random(1), updates_per_second=24)

    assert [0, 1, 1, 1, 0, 1] == [len(simulator.advance(1 / 32)) for _ in range(6)]


def test_no_time_gives_no_update() -> None:
    """The market stands still between steps."""
    assert MarketSimulator(random.Random(1)).advance(0.0) == []


def test_active_instruments_are_quoted_more_often() -> None:
    """The share of updates follows the activity."""
    counts = Counter(quote.symbol for quote in day(1))

    assert counts["SPY"] > 1.5 * counts["JPM"] > 1.5 * counts["NFLX"]


def test_quotes_are_whole_cents_with_the_trade_inside_an_uncrossed_spread() -> None:
    """Every price is a positive multiple of the tick and bid is below ask."""
    for _, price, bid, ask in day(1):
        assert (-2, -2, -2) == tuple(value.as_tuple().exponent for value in (price, bid, ask))
        assert 0 < bid < ask
        assert price > 0


def test_a_price_that_falls_towards_nothing_stays_above_it() -> None:
    """Even after thousands of years of trading, a bid is at least one tick."""
    simulator = MarketSimulator(random.Random(3), updates_per_second=1e-8)

    for _ in range(100):
        assert all(quote.bid > 0 for quote in simulator.advance(1e9))


def test_spreads_are_those_of_the_instruments() -> None:
    """A liquid instrument has a tick of spread, a costly one its usual cents."""
    spreads: dict[str, set[Decimal]] = {symbol: set() for symbol in SYMBOLS}
    for symbol, _, bid, ask in day(1):
        spreads[symbol].add(ask - bid)

    assert spreads["SPY"] == {Decimal("0.01"), Decimal("0.02")}
    assert spreads["META"] == {Decimal("0.11"), Decimal("0.12"), Decimal("0.13")}


def log_returns(seed: int) -> dict[str, list[float]]:
    """Return each instrument's log returns over steps of one minute."""
    simulator = MarketSimulator(random.Random(seed), updates_per_second=0.5)
    last = {quote.symbol: quote for quote in simulator.opening()}
    returns: dict[str, list[float]] = {symbol: [] for symbol in SYMBOLS}
    for _ in range(2000):
        before = dict(last)
        last |= {quote.symbol: quote for quote in simulator.advance(60.0)}
        for symbol, values in returns.items():
            values.append(math.log(float(last[symbol].bid / before[symbol].bid)))
    return returns


def test_volatility_and_correlation_are_those_of_the_instruments() -> None:
    """A yearly volatility comes out again, and instruments move together as they should."""
    returns = log_returns(5)
    steps_per_year = 252 * 6.5 * 60

    def deviation(symbol: str) -> float:
        return math.sqrt(sum(value**2 for value in returns[symbol]) / len(returns[symbol]))

    def correlation(one: str, other: str) -> float:
        both = zip(returns[one], returns[other], strict=True)
        mean = sum(a * b for a, b in both) / len(returns[one])
        return mean / deviation(one) / deviation(other)

    assert deviation("TSLA") * math.sqrt(steps_per_year) == pytest.approx(0.58, rel=0.1)
    assert deviation("SPY") * math.sqrt(steps_per_year) == pytest.approx(0.13, rel=0.1)
    assert correlation("SPY", "QQQ") == pytest.approx(0.98 * 0.95, abs=0.05)
    assert correlation("NFLX", "TSLA") == pytest.approx(0.48 * 0.52, abs=0.1)
