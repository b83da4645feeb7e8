"""Tests of `sseserver.clock`."""

import pytest

from sseserver.clock import Clock, iso_timestamp
from tests.support.fake_clock import FakeClock


@pytest.mark.parametrize(
    ("wall_ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (7, "1970-01-01T00:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_767_349_800_000, "2026-01-02T10:30:00.000Z"),
        (1_767_349_800_070, "2026-01-02T10:30:00.070Z"),
        (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_timestamp_has_milliseconds_and_is_utc(wall_ms: int, expected: str) -> None:
    """Three digits of milliseconds, never rounded up into the next second, and a Z."""
    assert expected == iso_timestamp(wall_ms)


def test_every_millisecond_of_a_second_keeps_its_second() -> None:
    """No millisecond of a second is rounded into another one by way of a float."""
    start_ms = 1_767_349_800_000
    expected = [f"2026-01-02T10:30:00.{ms:03}Z" for ms in range(1000)]

    assert expected == [iso_timestamp(start_ms + ms) for ms in range(1000)]


def test_a_clock_that_a_test_moves_is_a_clock() -> None:
    """The clock of the tests satisfies the protocol, with a time of its own for each."""
    clock: Clock = FakeClock(wall_ms=5, monotonic=2.0)

    assert (5, 2.0) == (clock.wall_ms(), clock.monotonic())
