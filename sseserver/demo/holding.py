"""What a demo user holds of one instrument, and how a fill changes it."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

_CENT: Final = Decimal("0.01")
_AVERAGE_DIGITS: Final = 2  # decimals that an average price may have beyond those of the quotes


class Holding(NamedTuple):
    """What one user holds of one instrument; a negative quantity is a short."""

    quantity: int
    entry_price: Decimal


FLAT: Final = Holding(0, Decimal(0))


def fill_holding(held: Holding, change: int, price: Decimal) -> tuple[Holding, Decimal | None]:
    """Return what is held after a fill, and the profit realised when it closed something.

    Args:
        held: What was held before.
        change: Quantity bought (positive) or sold (negative), not 0.
        price: Price of the fill.
    """
    quantity = held.quantity + change
    if held.quantity * change >= 0:
        cost = held.entry_price * held.quantity + price * change
        return Holding(quantity, round_average(cost / quantity, price)), None
    closed = min(abs(held.quantity), abs(change)) * (1 if held.quantity > 0 else -1)
    realized = ((price - held.entry_price) * closed).quantize(_CENT, ROUND_HALF_EVEN)
    if quantity == 0:
        return FLAT, realized
    is_flip = (quantity > 0) != (held.quantity > 0)
    return Holding(quantity, price if is_flip else held.entry_price), realized


def round_average(average: Decimal, price: Decimal) -> Decimal:
    """Return an average of prices like `price`, with some more decimals where it needs them."""
    tick = tick_of(price)
    rounded = average.quantize(tick.scaleb(-_AVERAGE_DIGITS), ROUND_HALF_EVEN)
    in_ticks = average.quantize(tick, ROUND_HALF_EVEN)
    return in_ticks if in_ticks == rounded else rounded


def tick_of(price: Decimal) -> Decimal:
    """Return the smallest step that the digits of a price show."""
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int), "prices are finite"
    return Decimal(1).scaleb(min(exponent, 0))
