"""Exact decimal numbers: from a feed's numbers to the strings and cents on the wire.

Money is never computed in binary floating point (contract section 3). A JSON float is taken
for the shortest decimal that reads back as the same float, which is what the feed wrote, and
every sum and product here is exact: the context holds more digits than any input can give
rise to.

Why `PRECISION` is enough: numbers are checked before they come here (at most 1e15, strings of
at most 40 characters), so 16 digits before the point, and after it 39 in a string or 324 in
the smallest float. A product has at most 32 + 648 digits, and a sum of as many products as
memory holds adds a dozen. Decimals cost by the digits they have, not by the context's limit.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple

PRECISION: Final = 700
"""Significant digits of every computation; see the module's text."""

_EXACT: Final = Context(prec=PRECISION, rounding=ROUND_HALF_EVEN)
_CENT: Final = Decimal("0.01")

# Operators of Decimal would use the thread's context of 28 digits, unary minus included.
add: Final = _EXACT.add
subtract: Final = _EXACT.subtract
multiply: Final = _EXACT.multiply


class Amount(NamedTuple):
    """A quantity or a price: its exact value, and its text on the wire."""

    value: Decimal
    text: str


def to_decimal(raw: float | str) -> Decimal:
    """Return a feed's number exactly; never a negative zero.

    Args:
        raw: An integer, a finite float or a plain decimal string, checked for form and size
            by `ingest.messages`.
    """
    if isinstance(raw, float):
        # A JSON `10.0` is 10: the digits of a float are not the feed's own.
        value = Decimal(int(raw)) if raw.is_integer() else Decimal(repr(raw))
    else:
        value = Decimal(raw)
    return value or value.copy_abs()


def to_text(value: Decimal) -> str:
    """Return a plain decimal string with every digit of `value`, never in exponent form."""
    return format(value, "f")


def to_amount(raw: float | str) -> Amount:
    """Return a feed's number with its text: `"150.00"` stays that, `10.0` becomes `10`."""
    value = to_decimal(raw)
    return Amount(value, to_text(value))


def to_cents(value: Decimal) -> float:
    """Return an amount of money as a JSON number, rounded to cents, half to even.

    Source: contract section 3 (`unrealizedPnL`, `realizedPnL`, `totalValue`).
    """
    # Adding 0.0 turns -0.0 into 0.0.
    return float(_EXACT.quantize(value, _CENT)) + 0.0


ZERO: Final = to_amount(0)
