"""Tests of `sseserver.wire.checksum`."""

from zlib import crc32

import pytest

from sseserver.wire.checksum import shift_crc

LENGTHS = [0, 1, 2, 3, 255, 256, 1000, 65_536, 1_000_003]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_crc_of_a_whole_follows_from_those_of_its_parts(length: int) -> None:
    """Shifted past the second part, the first part's CRC combines with the second's."""
    first, second = b'{"symbol":"AAPL"}', bytes(range(256)) * (length // 256 + 1)
    second = second[:length]

    assert crc32(first + second) == shift_crc(crc32(first), length) ^ crc32(second)


def test_nothing_stays_nothing() -> None:
    """The CRC of no bytes is 0, and contributes nothing however much follows."""
    assert 0 == shift_crc(0, 12_345)


@pytest.mark.parametrize("length", LENGTHS)
def test_shifts_add_up(length: int) -> None:
    """Two shifts are one over the sum of their lengths."""
    crc = crc32(b"order:fill")

    assert shift_crc(crc, length + 77) == shift_crc(shift_crc(crc, length), 77)


@pytest.mark.parametrize("length", [(1 << 32) - 1, (1 << 64) - 1])
def test_lengths_far_past_memory_are_right(length: int) -> None:
    """The polynomial of CRC-32 is primitive: each 2**32 - 1 bytes bring a CRC back to itself."""
    crc = crc32(b"order:fill")

    assert crc == shift_crc(crc, length)
