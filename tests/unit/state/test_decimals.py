"""Exact numbers: `sseserver.state.decimals`."""

from decimal import Decimal, localcontext

import pytest

from sseserver.state.decimals import (
    PRECISION,
    ZERO,
    Amount,
    add,
    multiply,
    subtract,
    to_amount,
    to_cents,
    to_decimal,
    to_text,
)

SMALLEST_FLOAT = 5e-324


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("150.00", "150.00"),
        ("10", "10"),
        ("-5", "-5"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("0.00", "0.00"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("0.0000000000000000000000000000000000001", "0.0000000000000000000000000000000000001"),
        (10, "10"),
        (10**15, "1000000000000000"),
        (0, "0"),
        (10.0, "10"),
        (-0.0, "0"),
        (152.5, "152.5"),
        (0.1, "0.1"),
        (1e15, "1000000000000000"),
        (-1e15, "-1000000000000000"),
        (1e-7, "0.0000001"),
        (-1.5e-10, "-0.00000000015"),
    ],
)
def test_text_keeps_the_digits_of_the_feed(raw: float | str, text: str) -> None:
    """A number becomes a plain decimal string: the feed's digits, no exponent, no negative zero."""
    assert to_amount(raw).text == text


def test_the_smallest_float_is_written_out() -> None:
    """Even the smallest float there is has a plain text, which reads back as the same float."""
    text = to_amount(SMALLEST_FLOAT).text

    assert "e" not in text.lower()
    assert float(text) == SMALLEST_FLOAT


def test_a_float_is_its_shortest_decimal() -> None:
    """A float means the decimal that the feed wrote, not the binary fraction nearest to it."""
    assert to_decimal(0.1) == Decimal("0.1")


def test_an_amount_has_value_and_text() -> None:
    """An amount carries the exact value beside its text."""
    assert to_amount("1.50") == Amount(Decimal("1.50"), "1.50")


def test_zero_has_no_sign() -> None:
    """Negative zero is zero, so that quantities can be compared by their sign."""
    assert not to_decimal(-0.0).is_signed()


def test_zero_is_the_amount_of_nothing() -> None:
    """The constant is what a 0 of the feed becomes."""
    assert to_amount(0) == ZERO


def test_text_of_a_product_has_no_exponent() -> None:
    """A value whose natural form has an exponent is written out."""
    assert to_text(Decimal("1E+3")) == "1000"


@pytest.mark.parametrize(
    ("value", "cents"),
    [
        ("0.005", 0.0),
        ("0.015", 0.02),
        ("0.025", 0.02),
        ("0.0250000000000000000000000000000001", 0.03),
        ("-0.005", 0.0),
        ("-0.015", -0.02),
        ("1525", 1525.0),
        ("1e31", 1e31),
    ],
)
def test_cents_are_rounded_half_to_even(value: str, cents: float) -> None:
    """Money is rounded once, from its exact value, half to even."""
    assert to_cents(Decimal(value)) == cents


def test_cents_are_never_negative_zero() -> None:
    """A loss that rounds to nothing is 0.0, not -0.0."""
    assert str(to_cents(Decimal("-0.001"))) == "0.0"


def test_sums_and_products_are_exact() -> None:
    """The largest and the smallest numbers a feed can give are multiplied and summed exactly."""
    small = to_decimal(SMALLEST_FLOAT)
    large = to_decimal("999999999999999.9999999999999999999999")

    total = add(multiply(small, small), multiply(large, large))

    assert subtract(total, multiply(large, large)) == multiply(small, small)
    assert len(total.as_tuple().digits) < PRECISION


def test_the_context_of_the_thread_does_not_matter() -> None:
    """Whoever changed the thread's precision does not change our sums."""
    with localcontext() as context:
        context.prec = 3
        total = add(Decimal("12345.678"), Decimal("0.001"))
        cents = to_cents(Decimal("12345.678"))

    assert total == Decimal("12345.679")
    assert cents == 12345.68
