"""A market simulator: prices that nobody recorded but that move as prices do.

The simulator moves the logarithm of each price by Brownian motion with two parts, one that all
instruments share and one of their own, mixed by the instrument's correlation with the market.
A quote is then cut to whole ticks around that fair price, with the spread the instrument has on
a quiet day. The volatilities are the usual yearly ones, spread over the seconds of a trading
year: a share of 230 dollars moves by some cents a second, as it does on an exchange.
"""

import math
import random
from decimal import Decimal
from typing import Final, NamedTuple

TRADING_SECONDS_PER_YEAR: Final = 252 * 6.5 * 3600
"""252 trading days of 6.5 hours, what a yearly volatility of US shares refers to."""

DEFAULT_UPDATES_PER_SECOND: Final = 25.0
"""Quick enough to look alive, slow enough to be read in a terminal."""


class MarketQuote(NamedTuple):
    """Last trade, best bid and best ask of one instrument."""

    symbol: str
    price: Decimal
    bid: Decimal
    ask: Decimal


class Instrument(NamedTuple):
    """What the simulator knows of one instrument.

    `volatility` is per year, `correlation` is with the market as a whole, `spread_ticks` the
    usual distance of bid and ask in ticks of 0.01, and `activity` the relative number of
    updates.
    """

    symbol: str
    price: float
    volatility: float
    correlation: float
    spread_ticks: int
    activity: int


# Prices, volatilities and spreads of the order seen in US trading in 2025; no recording.
INSTRUMENTS: Final = (
    Instrument("SPY", 588.00, 0.13, 0.98, 1, 5),
    Instrument("QQQ", 512.00, 0.18, 0.95, 1, 5),
    Instrument("AAPL", 229.00, 0.24, 0.70, 2, 4),
    Instrument("MSFT", 425.00, 0.21, 0.72, 4, 3),
    Instrument("NVDA", 138.00, 0.48, 0.65, 1, 5),
    Instrument("AMZN", 218.00, 0.29, 0.67, 2, 3),
    Instrument("GOOGL", 186.00, 0.28, 0.62, 2, 3),
    Instrument("META", 606.00, 0.33, 0.60, 12, 2),
    Instrument("TSLA", 378.00, 0.58, 0.52, 8, 4),
    Instrument("JPM", 244.00, 0.21, 0.58, 4, 2),
    Instrument("NFLX", 895.00, 0.34, 0.48, 40, 1),
    Instrument("AMD", 124.00, 0.47, 0.58, 1, 3),
)


class _Walk:
    """One instrument on its way: its own part of the walk, and its last trade in ticks."""

    __slots__ = ("instrument", "last_ticks", "own", "seen_at")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.own = 0.0
        self.seen_at = 0.0
        self.last_ticks: int | None = None


class MarketSimulator:
    """A market of `INSTRUMENTS` whose prices walk at random, together and each for itself."""

    def __init__(
        self, rng: random.Random, updates_per_second: float = DEFAULT_UPDATES_PER_SECOND
    ) -> None:
        self._rng = rng
        self._updates_per_second = updates_per_second
        self._walks = tuple(map(_Walk, INSTRUMENTS))
        self._weights = tuple(instrument.activity for instrument in INSTRUMENTS)
        self._market = 0.0
        self._seconds = 0.0
        self._updates_owed = 0.0

    def opening(self) -> list[MarketQuote]:
        """Return one quote of every instrument, as the market opens."""
        return list(map(self._quote, self._walks))

    def advance(self, elapsed_seconds: float) -> list[MarketQuote]:
        """Let time pass and return the quotes that changed meanwhile, oldest first."""
        self._seconds += elapsed_seconds
        self._market += self._step(elapsed_seconds)
        self._updates_owed += elapsed_seconds * self._updates_per_second
        updates = int(self._updates_owed)
        self._updates_owed -= updates
        return list(map(self._quote, self._rng.choices(self._walks, self._weights, k=updates)))

    def _step(self, elapsed_seconds: float) -> float:
        """Return an increment of standard Brownian motion; time counts in trading years."""
        return self._rng.gauss(0.0, math.sqrt(elapsed_seconds / TRADING_SECONDS_PER_YEAR))

    def _quote(self, walk: _Walk) -> MarketQuote:
        symbol, start, volatility, correlation, usual_spread, _ = walk.instrument
        walk.own += self._step(self._seconds - walk.seen_at)
        walk.seen_at = self._seconds
        own_share = math.sqrt(1.0 - correlation**2)
        fair = start * math.exp(volatility * (correlation * self._market + own_share * walk.own))

        spread_ticks = max(1, usual_spread + self._rng.choice((-1, 0, 0, 0, 1)))
        bid_ticks = max(1, round(fair * 100 - spread_ticks / 2))
        ask_ticks = bid_ticks + spread_ticks
        # Not every change of a quote comes with a trade.
        if walk.last_ticks is None or self._rng.random() < 0.5:
            walk.last_ticks = self._rng.choice((bid_ticks, ask_ticks))
        return MarketQuote(symbol, *map(_from_ticks, (walk.last_ticks, bid_ticks, ask_ticks)))


def _from_ticks(ticks: int) -> Decimal:
    return Decimal(ticks).scaleb(-2)
