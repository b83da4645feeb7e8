"""A portfolio against a naive model in fractions: values, profits, and the form of numbers."""

import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sseserver.errors import FeedError
from sseserver.events import JsonObject, Quote
from sseserver.state.decimals import to_amount
from sseserver.state.portfolio import Portfolio
from sseserver.state.prices import Prices

Number = int | float | str

PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
SYMBOLS = st.sampled_from(["A", "B", "C"])
LARGEST = 10**15


def decimal_strings(smallest: int, places: int = 12) -> st.SearchStrategy[str]:
    """Return plain decimal strings, with the zeros at the end that feeds like to write."""
    return st.decimals(smallest, LARGEST, places=places).map(lambda value: format(value, "f"))


def numbers(smallest: int) -> st.SearchStrategy[Number]:
    """Return numbers in every form that a feed may give them, from `smallest` up."""
    return st.one_of(
        st.integers(smallest, LARGEST),
        st.integers(max(smallest, -20), 20),
        st.floats(smallest, LARGEST, allow_nan=False),
        decimal_strings(smallest),
        decimal_strings(smallest, places=2),
    )


QUANTITIES = numbers(-LARGEST)
PRICES = numbers(-LARGEST)


def exact(number: Number) -> Fraction:
    """Return what a feed's number means: a float is the decimal that it was written as."""
    return Fraction(repr(number) if isinstance(number, float) else number)


def cents(value: Fraction) -> float:
    """Round to cents, half to even, without any of the code under test."""
    return float(Fraction(round(value * 100), 100))


class Held(NamedTuple):
    """What the model knows of one position."""

    quantity: Fraction
    entry: Fraction
    price: Fraction


class Model:
    """The contract's rules for positions, written down once more as plainly as possible."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.quotes: dict[str, Fraction] = {}

    def quote(self, symbol: str, price: Fraction) -> None:
        """Let a price move."""
        self.quotes[symbol] = price
        if symbol in self.held:
            self.held[symbol] = self.held[symbol]._replace(price=price)

    def update(self, symbol: str, quantity: Fraction, given: dict[str, Fraction]) -> Fraction:
        """Apply an update and return what was realised; KeyError where `entryPrice` lacks."""
        old = self.held.get(symbol, Held(Fraction(0), Fraction(0), Fraction(0)))
        known = old.price if old.quantity else self.quotes.get(symbol)
        price = given.get("currentPrice", known)
        way_out = given.get("exitPrice", price)
        if not quantity:
            realized = Fraction(0)
            if old.quantity:
                assert way_out is not None
                realized = (way_out - given.get("entryPrice", old.entry)) * old.quantity
            self.held.pop(symbol, None)
            return realized
        if not old.quantity:
            entry = given["entryPrice"]
            self.held[symbol] = Held(quantity, entry, entry if price is None else price)
            return Fraction(0)
        assert price is not None
        assert way_out is not None
        is_flip = (quantity > 0) != (old.quantity > 0)
        closed = old.quantity if is_flip else Fraction(0)
        if not is_flip and abs(quantity) < abs(old.quantity):
            closed = old.quantity - quantity
        entry = given.get("entryPrice", way_out if is_flip else old.entry)
        self.held[symbol] = Held(quantity, entry, price)
        return (way_out - old.entry) * closed

    def total(self) -> float:
        """Return the value of everything, in cents."""
        return cents(sum((held.quantity * held.price for held in self.held.values()), Fraction(0)))


class PortfolioMachine(RuleBasedStateMachine):
    """Any feed: updates with any fields, quotes in between."""

    @initialize()
    def begin(self) -> None:
        """Start with nothing."""
        self.prices = Prices(100, Counter())
        self.portfolio = Portfolio(100, self.prices, Counter())
        self.model = Model()
        self.last_id = 0

    @rule(symbol=SYMBOLS, price=PRICES)
    def quote(self, symbol: str, price: Number) -> None:
        """The market moves."""
        self.last_id += 1
        self.prices.quotes[symbol] = Quote(self.last_id, symbol, price, {})
        self.model.quote(symbol, exact(price))

    @rule(
        symbol=SYMBOLS,
        quantity=QUANTITIES,
        given=st.fixed_dictionaries(
            {},
            optional={"entryPrice": PRICES, "exitPrice": PRICES, "currentPrice": PRICES},
        ),
    )
    def update(self, symbol: str, quantity: Number, given: dict[str, Number]) -> None:
        """The feed says what is held."""
        self.last_id += 1
        data: dict[str, Any] = {"symbol": symbol, "quantity": quantity, **given}
        fractions = {name: exact(number) for name, number in given.items()}
        try:
            realized = self.model.update(symbol, exact(quantity), fractions)
        except KeyError:
            self.refuse(data)
            return
        payload = self.portfolio.update(data, self.last_id)

        (item,) = payload["positions"]
        assert payload["totalValue"] == self.model.total()
        assert item.get("realizedPnL", 0.0) == cents(realized)
        assert Fraction(item["quantity"]) == exact(quantity)
        self.check(item)

    @rule(after=st.integers(0, 3))
    def revalue(self, after: int) -> None:
        """A window ends: whoever asks is told the total and what moved."""
        payload = self.portfolio.revaluation(self.last_id - after, "now")
        if payload is not None:
            assert payload["totalValue"] == self.model.total()
            for item in payload["positions"]:
                self.check_held(item)

    @rule()
    def look(self) -> None:
        """Somebody opens a stream: the snapshot has what is held, at its exact value.

        Not an invariant: looking takes over quotes, and they must not be lost between looks.
        """
        snapshot = self.portfolio.snapshot("now")

        assert {item["symbol"] for item in snapshot["positions"]} == self.model.held.keys()
        assert snapshot["totalValue"] == self.model.total()
        for item in snapshot["positions"]:
            self.check_held(item)

    def refuse(self, data: JsonObject) -> None:
        """Expect a refusal that changes nothing."""
        before = self.portfolio.snapshot("now")
        try:
            self.portfolio.update(data, self.last_id)
        except FeedError as error:
            assert error.path == "$.data.entryPrice"  # noqa: PT017 - no pytest.raises in a machine
        else:
            raise AssertionError(data)
        assert self.portfolio.snapshot("now") == before

    def check_held(self, item: JsonObject) -> None:
        """Compare the item of a held position with the model."""
        held = self.model.held[item["symbol"]]
        assert Fraction(item["quantity"]) == held.quantity
        assert Fraction(item["entryPrice"]) == held.entry
        assert Fraction(item["currentPrice"]) == held.price
        assert item["unrealizedPnL"] == cents((held.price - held.entry) * held.quantity)
        self.check(item)

    def check(self, item: JsonObject) -> None:
        """Check the form of an item."""
        for name in ("quantity", "entryPrice", "currentPrice"):
            assert PLAIN.fullmatch(item[name]), item
            assert not re.fullmatch(r"-0(\.0*)?", item[name]), item
        for name in ("unrealizedPnL", "realizedPnL"):
            assert isinstance(item.get(name, 0.0), float)


TestPortfolio = PortfolioMachine.TestCase


@given(numbers(-LARGEST))
def test_text_reads_back_as_the_number(number: Number) -> None:
    """The text of a number is a plain decimal that means exactly what the feed meant."""
    text = to_amount(number).text

    assert PLAIN.fullmatch(text)
    assert Fraction(text) == exact(number)


@given(decimal_strings(1))
def test_text_keeps_every_digit(number: str) -> None:
    """A decimal string goes out with the digits it came in with."""
    assert to_amount(number).text == number


@given(
    entry=st.integers(-(10**6), 10**6),
    opened=st.integers(-1000, 1000).filter(bool),
    closes=st.lists(
        st.tuples(st.fractions(0, 1, max_denominator=10), st.integers(-(10**6), 10**6)), max_size=5
    ),
    last=st.integers(-(10**6), 10**6),
)
def test_what_leaves_and_what_stays_is_everything(
    entry: int, opened: int, closes: list[tuple[Fraction, int]], last: int
) -> None:
    """However a position is closed in parts, realised and unrealised profit miss nothing.

    Prices are in whole cents and quantities whole, so that no payload is rounded.
    """
    portfolio = Portfolio(10, Prices(10, Counter()), Counter())

    def update(quantity: int, **prices: int) -> JsonObject:
        fields = {name: str(Decimal(price) / 100) for name, price in prices.items()}
        payload = portfolio.update({"symbol": "A", "quantity": quantity, **fields}, 1)
        item: JsonObject = payload["positions"][0]
        return item

    item = update(opened, entryPrice=entry, currentPrice=last)
    quantity, cash, realized = opened, -entry * opened, Fraction(0)
    for share, price in closes:
        left = int(quantity * share)
        if not quantity:
            break
        item = update(left, exitPrice=price)
        realized += Fraction(str(item.get("realizedPnL", 0.0)))
        cash += price * (quantity - left)
        quantity = left

    profit = realized + Fraction(str(item["unrealizedPnL"]))
    assert profit * 100 == cash + last * quantity
