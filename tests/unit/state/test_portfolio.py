"""One user's positions: `sseserver.state.portfolio`."""

from collections import Counter
from collections.abc import Callable

import pytest

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject, Quote
from sseserver.state.portfolio import Portfolio
from sseserver.state.prices import Prices


class Book:
    """A portfolio with its prices, and IDs that rise with every call as the pipeline's do."""

    def __init__(self, max_positions: int = 10) -> None:
        self.evictions: Counter[str] = Counter()
        self.prices = Prices(1000, self.evictions)
        self.portfolio = Portfolio(max_positions, self.prices, self.evictions)
        self.last_id = 0

    def quote(self, symbol: str, price: float | str) -> Quote:
        """Let the market quote a price."""
        self.last_id += 1
        quote = Quote(self.last_id, symbol, price, {})
        self.prices.quotes[symbol] = quote
        return quote

    def update(self, symbol: str, quantity: float | str, **fields: object) -> JsonObject:
        """Apply a `position:update` and return its payload."""
        self.last_id += 1
        data = {"symbol": symbol, "quantity": quantity, **fields}
        return self.portfolio.update(data, self.last_id)

    def item(self, symbol: str, quantity: float | str, **fields: object) -> JsonObject:
        """Apply a `position:update` and return the position in its payload."""
        (item,) = self.update(symbol, quantity, **fields)["positions"]
        result: JsonObject = item
        return result

    def put(self, *positions: JsonObject) -> None:
        """Replace the positions."""
        self.last_id += 1
        self.portfolio.replace(positions, self.last_id)

    def snapshot(self) -> list[JsonObject]:
        """Return the positions of a snapshot."""
        result: list[JsonObject] = self.portfolio.snapshot("now")["positions"]
        return result


@pytest.fixture
def book() -> Book:
    """Return an empty portfolio."""
    return Book()


@pytest.fixture
def long(book: Book) -> Book:
    """Return a portfolio that holds 10 AAPL, bought at 150.00, now at 152.50."""
    book.update("AAPL", 10, entryPrice="150.00", currentPrice="152.50")
    return book


@pytest.fixture
def short(book: Book) -> Book:
    """Return a portfolio that is short of 10 AAPL, sold at 150.00, now at 152.50."""
    book.update("AAPL", -10, entryPrice="150.00", currentPrice="152.50")
    return book


# Opening


def test_an_opened_position_is_valued(book: Book) -> None:
    """The payload is the sample of the specification."""
    payload = book.update(
        "AAPL", 10, entryPrice="150.00", currentPrice="152.50", timestamp="2026-01-02T10:30:00Z"
    )

    assert payload == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "150.00",
                "currentPrice": "152.50",
                "unrealizedPnL": 25.0,
            }
        ],
        "totalValue": 1525.0,
        "timestamp": "2026-01-02T10:30:00Z",
    }


def test_a_short_counts_negative(book: Book) -> None:
    """A short loses as the price rises, and takes from the total."""
    payload = book.update("AAPL", "-10", entryPrice="150.00", currentPrice="152.50")

    assert payload == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "-10",
                "entryPrice": "150.00",
                "currentPrice": "152.50",
                "unrealizedPnL": -25.0,
            }
        ],
        "totalValue": -1525.0,
    }


def test_opening_needs_an_entry_price(book: Book) -> None:
    """A position opened without `entryPrice` is refused, and the fault is named."""
    with pytest.raises(FeedError) as caught:
        book.update("AAPL", 10, currentPrice=150)

    assert caught.value.code == FeedErrorCode.INVALID_MESSAGE
    assert caught.value.path == "$.data.entryPrice"
    assert "`entryPrice`" in caught.value.message


def test_a_refused_update_changes_nothing(long: Book) -> None:
    """After a refusal the portfolio is what it was."""
    before = long.portfolio.snapshot("now")

    with pytest.raises(FeedError):
        long.update("MSFT", 10)

    assert long.portfolio.snapshot("now") == before


def test_opening_without_a_price_takes_the_last_quote(book: Book) -> None:
    """Where the feed gives no `currentPrice` the last quote is the price."""
    book.quote("AAPL", "152.50")

    assert book.item("AAPL", 10, entryPrice="150.00")["currentPrice"] == "152.50"


def test_opening_without_any_price_takes_the_entry_price(book: Book) -> None:
    """Where no price is known at all it is the entry price, and nothing is won or lost."""
    item = book.item("AAPL", 10, entryPrice="150.00")

    assert (item["currentPrice"], item["unrealizedPnL"]) == ("150.00", 0.0)


def test_total_is_over_the_whole_portfolio(long: Book) -> None:
    """The payload lists what changed; its total counts every position."""
    payload = long.update("MSFT", "-2.5", entryPrice=400, currentPrice=400.1)

    assert [item["symbol"] for item in payload["positions"]] == ["MSFT"]
    assert payload["totalValue"] == 1525.0 - 1000.25


def test_the_total_is_rounded_once(book: Book) -> None:
    """Rounding happens to the sum, not to its parts."""
    book.update("A", 1, entryPrice="0.004")
    book.update("B", 1, entryPrice="0.004")

    assert book.update("C", 1, entryPrice="0.004")["totalValue"] == 0.01


def test_money_is_not_binary(book: Book) -> None:
    """Sums that binary floating point gets wrong are right."""
    book.update("A", 1, entryPrice=0.005)
    book.update("B", 1, entryPrice=0.005)

    # 0.015, half to even; the float 0.015 is below the half.
    assert book.update("C", 1, entryPrice=0.005)["totalValue"] == 0.02


def test_the_largest_positions_hide_no_cent(book: Book) -> None:
    """Huge positions that cancel out leave the cents of the others."""
    book.update("A", 1e15, entryPrice=1e15)
    book.update("B", 1, entryPrice="0.01")

    assert book.update("C", -1e15, entryPrice=1e15)["totalValue"] == 0.01


def test_strings_have_no_exponent(book: Book) -> None:
    """Tiny and huge numbers are written out."""
    item = book.item("A", 1e-7, entryPrice=1e15, currentPrice="0.0000001")

    assert (item["quantity"], item["entryPrice"], item["currentPrice"]) == (
        "0.0000001",
        "1000000000000000",
        "0.0000001",
    )


# Adding and correcting


def test_adding_keeps_the_entry_price(long: Book) -> None:
    """More of a position, without a new entry price, keeps the old one and realises nothing."""
    assert long.item("AAPL", 20, currentPrice="151") == {
        "symbol": "AAPL",
        "quantity": "20",
        "entryPrice": "150.00",
        "currentPrice": "151",
        "unrealizedPnL": 20.0,
    }


def test_adding_takes_an_entry_price(long: Book) -> None:
    """More of a position with an average price takes that over."""
    assert long.item("AAPL", 20, entryPrice="151.00")["entryPrice"] == "151.00"


def test_an_update_without_a_price_keeps_the_price(long: Book) -> None:
    """The price that the feed gave before stays until something newer is known."""
    assert long.item("AAPL", 20)["currentPrice"] == "152.50"


def test_the_same_quantity_realises_nothing(long: Book) -> None:
    """An update of the price alone says nothing of realised profit."""
    assert "realizedPnL" not in long.item("AAPL", 10, currentPrice=160)


def test_adding_to_a_short_realises_nothing(short: Book) -> None:
    """More of a short is adding, although its quantity is lower."""
    assert "realizedPnL" not in short.item("AAPL", -11)


def test_the_feed_may_give_realized_profit_any_time(long: Book) -> None:
    """The feed's `realizedPnL` is passed on as a number in cents, whatever the update does."""
    assert long.item("AAPL", 20, realizedPnL="-1.005")["realizedPnL"] == -1.0


# Negative prices


@pytest.fixture
def oil(book: Book) -> Book:
    """Return a portfolio long of 2 barrels bought at 10.00, and one in a spread sold at -1.25."""
    book.update("CL", 2, entryPrice="10.00")
    book.update("SPREAD", -1, entryPrice=-1.25)
    return book


def test_a_long_at_a_negative_price_is_worth_less_than_nothing(oil: Book) -> None:
    """A quote below zero is taken over with its sign: by the position, its profit and the total."""
    quote = oil.quote("CL", -37.63)

    assert oil.portfolio.revaluation(quote.id - 1, "now") == {
        "positions": [
            {
                "symbol": "CL",
                "quantity": "2",
                "entryPrice": "10.00",
                "currentPrice": "-37.63",
                "unrealizedPnL": -95.26,
            }
        ],
        "totalValue": -74.01,
        "timestamp": "now",
    }


def test_a_position_may_be_opened_below_zero(oil: Book) -> None:
    """A short that was sold at a negative price is worth something, and wins as it falls."""
    assert oil.item("SPREAD", -1, currentPrice="-3.00") == {
        "symbol": "SPREAD",
        "quantity": "-1",
        "entryPrice": "-1.25",
        "currentPrice": "-3.00",
        "unrealizedPnL": 1.75,
    }


@pytest.mark.parametrize(
    ("symbol", "quantity", "fields", "realized"),
    [
        ("CL", 0, {"exitPrice": "-37.63"}, -95.26),
        ("CL", 1, {"exitPrice": "-37.63"}, -47.63),
        ("CL", 0, {"currentPrice": -0.5}, -21.0),
        ("SPREAD", 0, {"exitPrice": "-3.00"}, 1.75),
        ("SPREAD", 0, {"entryPrice": "-2", "exitPrice": "-3.00"}, 1.0),
        ("SPREAD", 5, {"exitPrice": "0.75"}, -2.0),
    ],
)
def test_what_is_left_below_zero_is_realised(
    oil: Book, symbol: str, quantity: int, fields: JsonObject, realized: float
) -> None:
    """Full and partial closes, and a flip, at negative entry and exit prices."""
    assert oil.item(symbol, quantity, **fields)["realizedPnL"] == realized


@pytest.mark.parametrize("price", [-0.0, "-0", "-0.00"])
def test_a_price_of_minus_nothing_is_nothing(book: Book, price: float | str) -> None:
    """On the wire zero has no sign."""
    item = book.item("CL", 2, entryPrice=price)

    assert item["entryPrice"] in {"0", "0.00"}
    assert str(item["unrealizedPnL"]) == "0.0"


# Closing


def test_a_closed_position_goes_out_with_its_profit(long: Book) -> None:
    """A full close says quantity "0" and what it realised, at the exit price."""
    payload = long.update("AAPL", 0, exitPrice="155.00", timestamp="T")

    assert payload == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "0",
                "entryPrice": "150.00",
                "currentPrice": "152.50",
                "unrealizedPnL": 0.0,
                "realizedPnL": 50.0,
            }
        ],
        "totalValue": 0.0,
        "timestamp": "T",
    }


@pytest.mark.parametrize("quantity", [0, 0.0, -0.0, "0", "0.00", "-0"])
def test_every_zero_closes(long: Book, quantity: float | str) -> None:
    """Zero in any form closes the position, and it leaves the list."""
    assert long.item("AAPL", quantity)["quantity"] == "0"
    assert long.snapshot() == []


def test_without_exit_price_the_given_price_counts(long: Book) -> None:
    """A close without `exitPrice` was made at the message's `currentPrice`."""
    item = long.item("AAPL", 0, currentPrice="151")

    assert (item["currentPrice"], item["realizedPnL"]) == ("151", 10.0)


def test_without_prices_the_last_known_counts(long: Book) -> None:
    """A close without any price was made at the last known one."""
    assert long.item("AAPL", 0)["realizedPnL"] == 25.0


def test_the_last_known_price_may_be_a_quote(long: Book) -> None:
    """A quote since the last update is the last known price of a close."""
    long.quote("AAPL", 151)

    assert long.item("AAPL", 0)["realizedPnL"] == 10.0


def test_the_profit_of_the_feed_wins(long: Book) -> None:
    """A `realizedPnL` that the feed gives with a close is taken, rounded to cents."""
    assert long.item("AAPL", 0, exitPrice=155, realizedPnL="49.125")["realizedPnL"] == 49.12


def test_the_entry_price_of_a_close_is_that_of_what_is_closed(long: Book) -> None:
    """An entry price that comes with a full close corrects the one that was known."""
    item = long.item("AAPL", 0, entryPrice="149.00", exitPrice="155.00")

    assert (item["entryPrice"], item["realizedPnL"]) == ("149.00", 60.0)


def test_closing_a_short_realises_the_other_way(short: Book) -> None:
    """A short bought back below its entry price has won."""
    assert short.item("AAPL", 0, exitPrice="145")["realizedPnL"] == 50.0


def test_a_closed_position_can_be_opened_again(long: Book) -> None:
    """After a close the symbol needs an entry price as any other, and stands last."""
    long.update("MSFT", 1, entryPrice=400)
    long.update("AAPL", 0)
    with pytest.raises(FeedError):
        long.update("AAPL", 5)

    long.update("AAPL", 5, entryPrice=160)

    assert list(long.portfolio.symbols) == ["MSFT", "AAPL"]


@pytest.mark.parametrize(
    ("fields", "entry_price", "current_price", "realized"),
    [
        ({}, "0", "0", 0.0),
        ({"entryPrice": "150.00"}, "150.00", "150.00", 0.0),
        ({"exitPrice": 155}, "155", "155", 0.0),
        ({"currentPrice": "151"}, "151", "151", 0.0),
        ({"currentPrice": 151, "entryPrice": 150, "realizedPnL": 7}, "150", "151", 7.0),
    ],
)
def test_closing_what_is_not_held_is_well_formed(
    long: Book, fields: JsonObject, entry_price: str, current_price: str, realized: float
) -> None:
    """A close of something not held has all fields of a close, and changes nothing."""
    payload = long.update("MSFT", 0, **fields)

    assert payload == {
        "positions": [
            {
                "symbol": "MSFT",
                "quantity": "0",
                "entryPrice": entry_price,
                "currentPrice": current_price,
                "unrealizedPnL": 0.0,
                "realizedPnL": realized,
            }
        ],
        "totalValue": 1525.0,
    }
    assert list(long.portfolio.symbols) == ["AAPL"]


def test_closing_what_is_not_held_knows_the_quote(book: Book) -> None:
    """The last quote is the price of something that was never held, too."""
    book.quote("MSFT", "400.00")

    item = book.item("MSFT", 0)

    assert (item["entryPrice"], item["currentPrice"]) == ("400.00", "400.00")


# Partial closes and flips


def test_a_partial_close_realises_the_closed_part(long: Book) -> None:
    """What a long shrinks by is realised; the rest keeps its entry price."""
    assert long.item("AAPL", 4, exitPrice="155.00") == {
        "symbol": "AAPL",
        "quantity": "4",
        "entryPrice": "150.00",
        "currentPrice": "152.50",
        "unrealizedPnL": 10.0,
        "realizedPnL": 30.0,
    }


def test_a_partial_close_of_a_short_realises_the_closed_part(short: Book) -> None:
    """What a short shrinks by is realised with the sign of a short."""
    item = short.item("AAPL", -4, exitPrice="155.00")

    assert (item["unrealizedPnL"], item["realizedPnL"]) == (-10.0, -30.0)


def test_a_partial_close_is_realised_at_the_entry_price_held(long: Book) -> None:
    """An entry price that comes with a partial close is that of the rest."""
    item = long.item("AAPL", 4, entryPrice="151", exitPrice="155", currentPrice="155")

    assert (item["entryPrice"], item["unrealizedPnL"], item["realizedPnL"]) == ("151", 16.0, 30.0)


def test_a_flip_realises_the_whole_of_the_old_side(long: Book) -> None:
    """From long to short: the long is realised, the short starts at its own entry price."""
    payload = long.update("AAPL", -5, entryPrice="154.00", exitPrice="155.00", currentPrice="153")

    assert payload == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "-5",
                "entryPrice": "154.00",
                "currentPrice": "153",
                "unrealizedPnL": 5.0,
                "realizedPnL": 50.0,
            }
        ],
        "totalValue": -765.0,
    }


def test_a_flip_of_a_short_realises_it(short: Book) -> None:
    """From short to long: the short is realised with the sign of a short."""
    assert short.item("AAPL", 20, exitPrice="155.00")["realizedPnL"] == -50.0


@pytest.mark.parametrize(
    ("fields", "entry_price"),
    [
        ({"exitPrice": "155.00", "currentPrice": "156"}, "155.00"),
        ({"currentPrice": "156"}, "156"),
        ({}, "152.50"),
    ],
)
def test_a_flip_without_entry_price_is_one_trade(
    long: Book, fields: JsonObject, entry_price: str
) -> None:
    """The new side was entered at the price at which the old one was left."""
    assert long.item("AAPL", -5, **fields)["entryPrice"] == entry_price


def test_a_profit_that_is_nothing_is_said(long: Book) -> None:
    """A part closed at its entry price realised 0.0, which is not the same as nothing closed."""
    assert long.item("AAPL", 4, exitPrice="150.00")["realizedPnL"] == 0.0


def test_the_profit_of_the_feed_wins_for_a_part(long: Book) -> None:
    """The feed's `realizedPnL` is taken for a partial close as well."""
    assert long.item("AAPL", 4, exitPrice=155, realizedPnL=1)["realizedPnL"] == 1.0


# Other fields


def test_unknown_fields_pass_through(book: Book) -> None:
    """Fields that are not ours are in the item, and cannot replace what is computed."""
    item = book.item("AAPL", 1, entryPrice=1, venue={"mic": "XNAS"}, unrealizedPnL=99)

    assert item == {
        "symbol": "AAPL",
        "quantity": "1",
        "entryPrice": "1",
        "currentPrice": "1",
        "unrealizedPnL": 0.0,
        "venue": {"mic": "XNAS"},
    }


def test_unknown_fields_of_a_close_pass_through(long: Book) -> None:
    """The item of a close carries the feed's own fields."""
    assert long.item("AAPL", 0, note="stopped out")["note"] == "stopped out"


def test_an_update_carries_its_own_unknown_fields_only(book: Book) -> None:
    """What an earlier update said is not said again as if it were news."""
    book.update("AAPL", 1, entryPrice=1, note="first")

    assert "note" not in book.item("AAPL", 2)


def test_snapshot_has_the_last_unknown_fields(book: Book) -> None:
    """A snapshot shows a position with the unknown fields that were given last."""
    book.update("AAPL", 1, entryPrice=1, note="first", venue="X")
    book.update("AAPL", 2, note="second")
    book.update("AAPL", 3)

    (item,) = book.snapshot()

    assert (item.get("note"), item.get("venue")) == ("second", None)


# Quotes


def test_a_quote_moves_a_position(long: Book) -> None:
    """A quote newer than the feed's price is the current price."""
    long.quote("AAPL", "160.00")

    assert long.snapshot() == [
        {
            "symbol": "AAPL",
            "quantity": "10",
            "entryPrice": "150.00",
            "currentPrice": "160.00",
            "unrealizedPnL": 100.0,
        }
    ]


def test_the_price_of_a_later_update_is_newer_than_a_quote(long: Book) -> None:
    """A price given after a quote is the current price until the next quote."""
    long.quote("AAPL", 160)

    assert long.item("AAPL", 10, currentPrice=161)["currentPrice"] == "161"
    assert long.snapshot()[0]["currentPrice"] == "161"


def test_the_price_of_an_update_outlives_another_update(long: Book) -> None:
    """A quote that the feed has superseded does not come back with an update without a price."""
    long.quote("AAPL", 160)
    long.update("AAPL", 10, currentPrice=161)

    assert long.item("AAPL", 11)["currentPrice"] == "161"


def test_a_quote_sent_later_is_no_newer(long: Book) -> None:
    """A quote that was held back takes a later ID when sent; the feed's later word stands."""
    quote = long.quote("AAPL", 160)
    long.update("AAPL", 10, currentPrice=161)

    quote.id = 1000

    assert long.snapshot()[0]["currentPrice"] == "161"
    assert long.portfolio.revaluation(0, "now") is None


def test_a_price_older_than_a_quote_is_passed_over(long: Book) -> None:
    """A quote with a later ID than the update is newer than the update's price."""
    long.quote("AAPL", 160)

    payload = long.portfolio.update({"symbol": "AAPL", "quantity": 10, "currentPrice": 155}, 1)

    assert payload["positions"][0]["currentPrice"] == "160"


def test_an_update_keeps_the_price_of_the_quote(long: Book) -> None:
    """An update without a price is valued at the last quote."""
    long.quote("AAPL", 160)

    assert long.item("AAPL", 20)["unrealizedPnL"] == 200.0


def test_a_forgotten_quote_leaves_its_price(long: Book) -> None:
    """When an instrument is evicted its holders keep the price they knew, until the next quote."""
    long.quote("AAPL", 160)
    long.portfolio.snapshot("now")

    del long.prices.quotes["AAPL"]
    assert long.item("AAPL", 11)["currentPrice"] == "160"

    long.quote("AAPL", 170)
    assert long.snapshot()[0]["currentPrice"] == "170"


def test_revaluation_lists_what_moved(long: Book) -> None:
    """A re-valuation has the positions whose quote is later than the ID, and the whole total."""
    long.update("MSFT", 1, entryPrice=400)
    long.update("TSLA", 1, entryPrice=200)
    long.quote("MSFT", 401)
    after_id = long.quote("NONE", 1).id
    long.quote("AAPL", 160)

    assert long.portfolio.revaluation(after_id, "now") == {
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "150.00",
                "currentPrice": "160",
                "unrealizedPnL": 100.0,
            }
        ],
        "totalValue": 1600.0 + 401.0 + 200.0,
        "timestamp": "now",
    }


def test_revaluation_repeats_for_who_has_not_seen_it(long: Book) -> None:
    """A connection that is behind gets what another has had already."""
    long.quote("AAPL", 160)

    assert long.portfolio.revaluation(0, "now") == long.portfolio.revaluation(0, "now")
    assert long.portfolio.revaluation(0, "now") is not None


@pytest.mark.parametrize(
    "act",
    [
        lambda book: book.quote("MSFT", 1),
        lambda book: (book.quote("AAPL", 160), book.update("AAPL", 10, currentPrice=161)),
        lambda book: (book.quote("AAPL", 160), book.update("AAPL", 0)),
    ],
    ids=["not held", "superseded by a fact", "closed"],
)
def test_no_revaluation_where_nothing_moved(long: Book, act: Callable[[Book], object]) -> None:
    """Without a held quote later than the ID there is no re-valuation."""
    act(long)

    assert long.portfolio.revaluation(0, "now") is None


def test_revaluation_has_no_unknown_fields(book: Book) -> None:
    """A re-valuation says what moved, not what a feed once said."""
    book.update("AAPL", 1, entryPrice=1, note="first")
    book.quote("AAPL", 2)

    payload = book.portfolio.revaluation(0, "now")

    assert payload is not None
    assert "note" not in payload["positions"][0]


# Snapshots and replacement


def test_snapshot_has_flag_positions_total_and_timestamp(long: Book) -> None:
    """The snapshot is the specification's `position:update` with the flag `snapshot`."""
    assert long.portfolio.snapshot("now") == {
        "snapshot": True,
        "positions": [
            {
                "symbol": "AAPL",
                "quantity": "10",
                "entryPrice": "150.00",
                "currentPrice": "152.50",
                "unrealizedPnL": 25.0,
            }
        ],
        "totalValue": 1525.0,
        "timestamp": "now",
    }


def test_snapshot_without_positions_is_empty(book: Book) -> None:
    """Without positions the list is empty and the total 0.0."""
    assert book.portfolio.snapshot("now") == {
        "snapshot": True,
        "positions": [],
        "totalValue": 0.0,
        "timestamp": "now",
    }


def test_put_positions_replace_all_others(long: Book) -> None:
    """What is put is held, and nothing else; the feed's own fields are in the snapshot."""
    long.put(
        {"symbol": "MSFT", "quantity": "2.0", "entryPrice": 400, "currentPrice": 410, "venue": "X"}
    )

    assert long.snapshot() == [
        {
            "symbol": "MSFT",
            "quantity": "2.0",
            "entryPrice": "400",
            "currentPrice": "410",
            "unrealizedPnL": 20.0,
            "venue": "X",
        }
    ]


def test_a_put_position_takes_the_last_quote(book: Book) -> None:
    """A position that is put without a price is valued at the last quote."""
    book.quote("AAPL", 160)

    book.put({"symbol": "AAPL", "quantity": 1, "entryPrice": 150})

    assert book.snapshot()[0]["currentPrice"] == "160"


def test_a_put_position_takes_the_last_known_price(long: Book) -> None:
    """Without a quote the price that was known of the replaced position stays."""
    long.put({"symbol": "AAPL", "quantity": 1, "entryPrice": 140})

    assert long.snapshot()[0]["currentPrice"] == "152.50"


def test_a_put_position_takes_its_entry_price(book: Book) -> None:
    """Where nothing is known the entry price is the price."""
    book.put({"symbol": "AAPL", "quantity": 1, "entryPrice": 150})

    assert book.snapshot()[0]["currentPrice"] == "150"


def test_a_put_price_is_newer_than_the_quote(book: Book) -> None:
    """A price that is put after a quote stands until the next quote."""
    book.quote("AAPL", 160)

    book.put({"symbol": "AAPL", "quantity": 1, "entryPrice": 150, "currentPrice": 161})

    assert book.snapshot()[0]["currentPrice"] == "161"


def test_of_two_put_positions_in_one_symbol_the_later_counts(book: Book) -> None:
    """A list that names a symbol twice means the later entry, in its place."""
    book.put(
        {"symbol": "AAPL", "quantity": 1, "entryPrice": 150},
        {"symbol": "MSFT", "quantity": 1, "entryPrice": 400},
        {"symbol": "AAPL", "quantity": 2, "entryPrice": 151},
    )

    assert [(item["symbol"], item["quantity"]) for item in book.snapshot()] == [
        ("MSFT", "1"),
        ("AAPL", "2"),
    ]


# Limits


def test_past_the_limit_the_oldest_position_goes() -> None:
    """The position opened first goes, does not count any more, and is counted."""
    book = Book(2)
    for symbol in ("A", "B"):
        book.update(symbol, 1, entryPrice=10)
    book.update("A", 2)

    payload = book.update("C", 1, entryPrice=10)

    assert list(book.portfolio.symbols) == ["B", "C"]
    assert payload["totalValue"] == 20.0
    assert (len(book.portfolio), book.evictions) == (2, {"positions": 1})


def test_put_positions_are_bounded() -> None:
    """Of a list longer than the limit the last ones are held."""
    book = Book(2)

    book.put(*({"symbol": symbol, "quantity": 1, "entryPrice": 1} for symbol in "ABC"))

    assert list(book.portfolio.symbols) == ["B", "C"]
