"""CRC-32 of a stream that was put together from parts (gzip trailers).

A member of a gzip audience receives its own opening and, from the moment it joins, bytes that
are compressed once for everybody. Its trailer needs the CRC of the whole, which nobody has
computed: CRCs combine algebraically. Moving a CRC past n bytes is a multiplication by
x^(8n) modulo the CRC's polynomial, here by squaring, in about 30 steps for any length.

The bit order is reflected, as in RFC 1952: the highest bit stands for x^0.
"""

from typing import Final

_POLYNOMIAL: Final = 0xEDB88320
_ONE: Final = 1 << 31


def _multiply(left: int, right: int) -> int:
    product = 0
    while left:
        if left & _ONE:
            product ^= right
        left = (left << 1) & 0xFFFFFFFF
        right = (right >> 1) ^ (_POLYNOMIAL if right & 1 else 0)
    return product


def _powers() -> tuple[int, ...]:
    power = _ONE >> 8
    powers = []
    for _ in range(64):
        powers.append(power)
        power = _multiply(power, power)
    return tuple(powers)


_BYTE_POWERS: Final = _powers()
"""x^(8 * 2**k) for k from 0 to 63."""


def shift_crc(crc: int, length: int) -> int:
    """Return the contribution of `crc` to the CRC of data that goes on for `length` bytes.

    `crc32(a + b) == shift_crc(crc32(a), len(b)) ^ crc32(b)`.
    """
    for power in _BYTE_POWERS:
        if not length:
            break
        if length & 1:
            crc = _multiply(power, crc)
        length >>= 1
    return crc
