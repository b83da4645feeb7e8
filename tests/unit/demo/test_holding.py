"""Tests for `sseserver.demo.holding`."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sseserver.demo.holding import FLAT, Holding, fill_holding, round_average, tick_of

D = Decimal


@pytest.mark.parametrize(
    ("held", "change", "price", "after", "realized"),
    [
        (FLAT, 10, "100.00", Holding(10, D("100.0000")), None),
        (FLAT, -10, "100.00", Holding(-10, D("100.0000")), None),
        (Holding(10, D("100")), 5, "101.00", Holding(15, D("100.3333")), None),
        (Holding(-10, D("100")), -30, "104.00", Holding(-40, D("103.0000")), None),
        (Holding(10, D("100")), -4, "101.50", Holding(6, D("100")), D("6.00")),
        (Holding(-10, D("100")), 4, "101.50", Holding(-6, D("100")), D("-6.00")),
        (Holding(10, D("100")), -10, "99.99", FLAT, D("-0.10")),
        (Holding(10, D("100")), -15, "102.00", Holding(-5, D("102.00")), D("20.00")),
        (Holding(-10, D("100")), 15, "102.00", Holding(5, D("102.00")), D("-20.00")),
        (Holding(1, D("0.0050")), -1, "0.01", FLAT, D("0.00")),  # half to even
    ],
)
def test_a_fill_opens_adds_closes_or_flips(
    held: Holding, change: int, price: str, after: Holding, realized: Decimal | None
) -> None:
    """Adding averages, closing realises the closed part, a flip starts at the fill's price."""
    assert (after, realized) == fill_holding(held, change, D(price))


FILLS = st.lists(
    st.tuples(
        st.integers(-500, 500).filter(bool),
        st.decimals("0.01", "900.00", places=2, allow_nan=False, allow_infinity=False),
    ),
    min_size=1,
    max_size=40,
)


@given(FILLS)
def test_a_holding_is_the_sum_of_its_fills(fills: list[tuple[int, Decimal]]) -> None:
    """Quantities add up, and what was realised and is unrealised is what was earned."""
    holding, realized, cash = FLAT, D(0), D(0)
    for change, price in fills:
        holding, profit = fill_holding(holding, change, price)
        realized += profit or 0
        cash -= change * price

    assert sum(change for change, _ in fills) == holding.quantity
    # Entry prices are rounded to a hundredth of a tick, profits to a cent, once a fill each.
    error = (cash + holding.quantity * holding.entry_price) - realized
    assert abs(error) <= len(fills) * (D("0.00005") * 20_000 + D("0.005"))


@pytest.mark.parametrize(
    ("average", "price", "text"),
    [
        ("244", "243.9", "244.0"),  # the digits of the quotes, where they are enough
        ("100.333333", "1.00", "100.3333"),
        ("1.392295", "1.39224", "1.3922950"),
        ("7.5", "100", "7.50"),
    ],
)
def test_an_average_has_the_decimals_it_needs(average: str, price: str, text: str) -> None:
    """Those of its prices where they are enough, else two more."""
    assert text == str(round_average(D(average), D(price)))


@pytest.mark.parametrize(("price", "tick"), [("1.39224", "0.00001"), ("100", "1"), ("1E+3", "1")])
def test_the_tick_is_what_the_digits_show(price: str, tick: str) -> None:
    """The last decimal, and never more than 1."""
    assert D(tick) == tick_of(D(price))
