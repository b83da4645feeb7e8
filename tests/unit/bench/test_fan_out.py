"""The search for the highest rate that is carried."""

import pytest

from bench.fan_out import highest_rate


@pytest.mark.parametrize("limit", [8.0, 9.5, 173.0, 4096.0])
def test_the_highest_rate_is_found_to_five_percent(limit: float) -> None:
    """The rate found is carried, and one 5 % above it is not."""
    found = highest_rate(lambda rate: rate <= limit)

    assert limit / 1.05 <= found <= limit


def test_a_server_that_carries_nothing() -> None:
    """Where even the first rate is too high there is no rate."""
    assert 0.0 == highest_rate(lambda _: False)


def test_a_rate_has_a_second_chance() -> None:
    """A rate that fails once and holds once is carried."""
    seen: set[float] = set()

    def is_carried_at(rate: float) -> bool:
        has_failed_before = rate in seen
        seen.add(rate)
        return has_failed_before and rate <= 100

    assert 100 / 1.05 <= highest_rate(is_carried_at) <= 100
