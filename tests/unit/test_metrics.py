"""Tests of `sseserver.metrics`."""

import pytest

from sseserver.metrics import LATENCY_BOUNDS_SECONDS, Counters, Histogram


def histogram_of(*seconds: float) -> Histogram:
    """Return a histogram of these durations."""
    histogram = Histogram()
    for duration in seconds:
        histogram.observe(duration)
    return histogram


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (0.0005, 0),  # a bound belongs to the bucket below it, as Prometheus' `le` says
        (0.00051, 1),
        (0.05, 6),
        (2.5, 11),
        (2.6, 12),
        (5.0, 12),
        (5.1, 13),
        (3600.0, 13),
    ],
)
def test_a_duration_is_counted_in_its_bucket(seconds: float, bucket: int) -> None:
    """A duration is counted once, in the first bucket whose bound is not below it."""
    expected = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    expected[bucket] = 1

    assert expected == histogram_of(seconds).counts


def test_a_duration_may_count_for_many() -> None:
    """One flush that delivered three events counts three durations."""
    histogram = Histogram()
    histogram.observe(0.25, times=3)

    assert (3, 0.75) == (histogram.count, histogram.total_seconds)


def test_durations_are_summed() -> None:
    """Count and sum run over all buckets, the open one too."""
    histogram = histogram_of(0.5, 0.25, 8.0)

    assert (3, 8.75) == (histogram.count, histogram.total_seconds)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.01, 0.001), (0.5, 0.001), (0.51, 0.05), (0.75, 0.05), (0.76, 1.0), (1.0, 1.0)],
)
def test_a_quantile_is_the_bound_that_covers_the_share(share: float, expected: float) -> None:
    """The answer is the lowest bound under which that share of the durations lie."""
    histogram = histogram_of(0.001, 0.0009, 0.04, 0.6)

    assert expected == histogram.quantile(share)


def test_an_empty_histogram_has_no_quantile() -> None:
    """Without durations there is nothing to say."""
    assert Histogram().quantile(0.5) is None


def test_the_lowest_quantile_is_the_first_bound() -> None:
    """Only an empty histogram has no quantiles."""
    assert LATENCY_BOUNDS_SECONDS[0] == histogram_of(60.0).quantile(0.0)


def test_a_quantile_past_the_last_bound_is_the_last_bound() -> None:
    """Nothing higher is known of what lies in the open bucket."""
    assert 5.0 == histogram_of(60.0).quantile(0.99)


@pytest.mark.parametrize("bounds", [LATENCY_BOUNDS_SECONDS])
def test_the_bounds_increase(bounds: tuple[float, ...]) -> None:
    """Bounds strictly increase: the search for a bucket relies on it."""
    assert tuple(sorted(set(bounds))) == bounds


def test_counters_start_at_nothing() -> None:
    """Every counter is there from the start and has counted nothing."""
    counters = Counters()
    values = {name: getattr(counters, name) for name in Counters.__slots__}
    latency = values.pop("delivery_latency")

    assert (0, [0] * 12 + [{}] * 3) == (
        latency.count,
        sorted(values.values(), key=lambda value: isinstance(value, dict)),
    )
