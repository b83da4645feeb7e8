"""Last quotes and marks: `sseserver.state.prices`."""

from collections import Counter
from decimal import Decimal

import msgspec
import pytest

from sseserver.events import JsonObject, Quote
from sseserver.state.decimals import to_amount
from sseserver.state.prices import CANDIDATE_SHARE, Mark, Prices


class QuoteData(msgspec.Struct):
    """A payload as the ingest stage makes them: what a feed left out is UNSET."""

    symbol: str
    price: float | str
    bid: float | str | msgspec.UnsetType = msgspec.UNSET
    ask: float | str | msgspec.UnsetType = msgspec.UNSET
    volume: float | str | msgspec.UnsetType = msgspec.UNSET
    timestamp: str | msgspec.UnsetType = msgspec.UNSET


def make_quote(event_id: int, symbol: str, price: float | str = 1) -> Quote:
    """Return a quote without anything but a price."""
    return Quote(event_id, symbol, price, {"symbol": symbol, "price": price})


def make_prices(*quotes: Quote, max_instruments: int = 1000) -> Prices:
    """Return prices that hold these quotes, put as `Projection.set_price` puts them."""
    prices = Prices(max_instruments, Counter())
    put(prices, *quotes)
    return prices


def put(prices: Prices, *quotes: Quote) -> None:
    """Store quotes as `Projection.set_price` does."""
    for quote in quotes:
        if quote.symbol not in prices.quotes:
            prices.make_room()
        prices.quotes[quote.symbol] = quote


def test_a_mark_is_the_price_of_the_quote() -> None:
    """The mark of a quote has its price, exactly, and says where it comes from."""
    quote = make_quote(1, "AAPL", "150.00")

    mark = make_prices(quote).mark(quote)

    assert mark == Mark(to_amount("150.00"), quote, is_quoted=True)


def test_a_mark_is_converted_once() -> None:
    """All holders of an instrument share one conversion."""
    quote = make_quote(1, "AAPL", 150.25)
    prices = make_prices(quote)

    assert prices.mark(quote) is prices.mark(quote)


def test_a_new_quote_has_a_new_mark() -> None:
    """The shared conversion is that of the quote asked for, not an older one."""
    older, newer = make_quote(1, "AAPL", 150), make_quote(2, "AAPL", 151)
    prices = make_prices(older)
    prices.mark(older)

    put(prices, newer)

    assert prices.mark(newer).price.value == Decimal(151)


@pytest.mark.parametrize(("after_id", "is_after"), [(4, True), (5, False), (6, False)])
def test_a_quoted_mark_is_after_lower_ids(after_id: int, is_after: bool) -> None:
    """A quote's mark counts as later than every ID below the quote's."""
    assert Mark(to_amount(1), make_quote(5, "AAPL"), is_quoted=True).is_after(after_id) is is_after


def test_a_mark_follows_the_new_id_of_its_quote() -> None:
    """A quote that was held back and sent under a later ID makes its mark later, too."""
    quote = make_quote(5, "AAPL")
    mark = Mark(to_amount(1), quote, is_quoted=True)

    quote.id = 9

    assert mark.is_after(8)


@pytest.mark.parametrize("quote", [None, make_quote(5, "AAPL")])
def test_a_given_mark_is_after_nothing(quote: Quote | None) -> None:
    """A price that a feed gave with a position is no news of the market's."""
    assert not Mark(to_amount(1), quote, is_quoted=False).is_after(0)


def test_quotes_after_are_in_the_order_of_ids() -> None:
    """Quotes later than an ID come in the order of their IDs, wherever they are stored."""
    first, second, third = make_quote(1, "A"), make_quote(2, "B"), make_quote(3, "C")
    prices = make_prices(third, first, second)

    assert prices.after(None, 1) == [second, third]


def test_quotes_after_are_those_of_the_symbols() -> None:
    """Only the symbols that were asked for are looked at; unknown ones are passed over."""
    first, second = make_quote(1, "A"), make_quote(2, "B")
    prices = make_prices(first, second)

    assert prices.after(frozenset({"B", "NONE"}), 0) == [second]


def test_no_symbols_are_none() -> None:
    """An empty set means none, not all."""
    assert make_prices(make_quote(1, "A")).after(frozenset(), 0) == []


@pytest.mark.parametrize(
    ("data", "item"),
    [
        (
            QuoteData("A", 1.5, bid=1.4, ask="1.6", volume=7, timestamp="T"),
            {"symbol": "A", "price": 1.5, "bid": 1.4, "ask": "1.6", "timestamp": "T"},
        ),
        (QuoteData("A", 1.5), {"symbol": "A", "price": 1.5}),
        (
            {"symbol": "A", "price": 1.5, "bid": 1.4, "ask": "1.6", "venue": "X", "timestamp": "T"},
            {"symbol": "A", "price": 1.5, "bid": 1.4, "ask": "1.6", "timestamp": "T"},
        ),
        ({"symbol": "A", "price": 1.5}, {"symbol": "A", "price": 1.5}),
    ],
)
def test_snapshot_item_has_the_fields_of_the_contract(
    data: QuoteData | JsonObject, item: JsonObject
) -> None:
    """An item of the snapshot has symbol, price, bid, ask and timestamp where they are known."""
    prices = make_prices(Quote(1, "A", 1.5, data))

    assert prices.snapshot(None, "now") == {
        "initializing": True,
        "prices": [item],
        "timestamp": "now",
    }


def test_snapshot_is_that_of_the_symbols() -> None:
    """A filtered snapshot has the known symbols of the filter, by name."""
    prices = make_prices(make_quote(1, "C"), make_quote(2, "B"), make_quote(3, "A"))

    snapshot = prices.snapshot(frozenset({"C", "A", "NONE"}), "now")

    assert [item["symbol"] for item in snapshot["prices"]] == ["A", "C"]


def test_snapshot_without_quotes_is_empty() -> None:
    """Without quotes the list is empty; the stream still opens."""
    assert make_prices().snapshot(None, "now")["prices"] == []


def test_the_longest_silent_instrument_goes() -> None:
    """Past the limit the instrument with the oldest quote goes, whenever it was first seen."""
    prices = make_prices(
        make_quote(1, "A"), make_quote(2, "B"), make_quote(3, "A"), max_instruments=2
    )

    put(prices, make_quote(4, "C"))

    assert list(prices.quotes) == ["A", "C"]


def test_evicted_instruments_are_counted() -> None:
    """Each instrument that goes is counted."""
    evictions: Counter[str] = Counter()
    prices = Prices(2, evictions)

    put(prices, *(make_quote(number, f"S{number}") for number in range(5)))

    assert evictions == {"instruments": 3}


def test_a_known_instrument_evicts_nothing() -> None:
    """A new quote of a known instrument takes no room."""
    prices = make_prices(make_quote(1, "A"), make_quote(2, "B"), max_instruments=2)

    put(prices, make_quote(3, "A"))

    assert list(prices.quotes) == ["A", "B"]


def test_an_evicted_instrument_leaves_no_mark() -> None:
    """What was converted for an instrument goes with it."""
    quote = make_quote(1, "A", 5)
    prices = make_prices(quote, max_instruments=1)
    mark = prices.mark(quote)

    put(prices, make_quote(2, "B"), quote)

    assert prices.mark(quote) is not mark


def test_a_candidate_that_speaks_again_stays() -> None:
    """Silence is judged when room is needed, not when candidates were looked for."""
    count = 3 * CANDIDATE_SHARE  # so a search finds three candidates: S0, S1 and S2
    prices = make_prices(
        *(make_quote(number, f"S{number}") for number in range(count)), max_instruments=count
    )
    put(prices, make_quote(1000, "NEW"))

    put(prices, make_quote(1001, "S1"), make_quote(1002, "NEWER"))

    assert {"S0", "S1", "S2"} & prices.quotes.keys() == {"S1"}


def test_eviction_equals_a_search_each_time() -> None:
    """Setting candidates aside gives the same survivors as looking for the oldest every time."""
    limit = 2 * CANDIDATE_SHARE
    prices = make_prices(max_instruments=limit)
    model: dict[str, int] = {}
    for event_id in range(2000):
        symbol = f"S{event_id * 7919 % 311}"
        put(prices, make_quote(event_id, symbol))
        if symbol not in model and len(model) == limit:
            del model[min(model, key=lambda name: model[name])]
        model[symbol] = event_id

    assert {symbol: quote.id for symbol, quote in prices.quotes.items()} == model
