"""Counters that the hot path can afford: plain attributes, read when somebody asks.

Rendering for people and for Prometheus is `net.metrics_page`.
"""

from bisect import bisect_left
from typing import Final

LATENCY_BOUNDS_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip
"""Upper bounds of the latency histogram's buckets; the last bucket is open."""


class Histogram:
    """Counts of durations by bucket.

    Attributes:
        counts: One count for each bound of `LATENCY_BOUNDS_SECONDS` and one above the last.
        total_seconds: Sum of all durations.
    """

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    @property
    def count(self) -> int:
        """How many durations were observed."""
        return sum(self.counts)

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a duration, `times` over."""
        self.counts[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += times
        self.total_seconds += seconds * times

    def quantile(self, share: float) -> float | None:
        """Return the bound under which `share` (0 to 1) of the durations lie, or None if empty."""
        count = self.count
        if not count:
            return None
        wanted = count * share
        seen = 0
        for bound, in_bucket in zip(LATENCY_BOUNDS_SECONDS, self.counts, strict=False):
            seen += in_bucket
            if seen >= wanted:
                return bound
        return LATENCY_BOUNDS_SECONDS[-1]


class Counters:
    """What has happened since the start."""

    __slots__ = (
        "accepted_lines",
        "connections_opened",
        "delivered_events",
        "delivery_latency",
        "evicted_connections",
        "failed_deliveries",
        "published_events",
        "refused_lines",
        "refused_streams",
        "replayed_events",
        "requests",
        "slow_consumers",
        "streams_closed",
        "streams_opened",
        "writes",
        "written_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accepted_lines = 0
        self.connections_opened = 0
        self.delivered_events = 0
        self.delivery_latency = Histogram()
        self.evicted_connections = 0
        self.failed_deliveries = 0
        self.published_events: dict[str, int] = {}
        self.refused_lines = 0
        self.refused_streams = 0
        self.replayed_events = 0
        self.requests = 0
        self.slow_consumers = 0
        self.streams_closed: dict[str, int] = {}
        self.streams_opened: dict[str, int] = {}
        self.written_bytes = 0
        self.writes = 0
