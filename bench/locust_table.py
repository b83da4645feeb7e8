"""Rows of locust's table that are told of many requests at once.

Its event hook takes 5 us for one request (measured), half a core at 100,000 events a second.
"""

import time
from collections import Counter

from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time


class Row:
    """One row.

    Attributes:
        times: Requests since the last report, by their milliseconds.
    """

    def __init__(self, stats: RequestStats, method: str, name: str) -> None:
        self._stats, self._method, self._name = stats, method, name
        self.times: Counter[int] = Counter()

    def report(self) -> None:
        """Add the requests since the last report to the table."""
        if self.times:
            self._add(0)

    def fail(self, reason: str, count: int = 1) -> None:
        """Add requests that failed for the same reason, and so took no time."""
        if not count:
            return
        key = StatsError.create_key(self._method, self._name, reason)
        error = self._stats.errors.setdefault(key, StatsError(self._method, self._name, reason))
        error.occurred()
        error.occurrences += count - 1
        self._add(count)

    def _add(self, failures: int) -> None:
        """Extend the row as a report of a worker would, which also serves locust's charts."""
        now = time.time()
        part = StatsEntry(self._stats, self._name, self._method)
        part.num_requests = self.times.total() + failures
        part.num_none_requests = part.num_failures = failures
        part.num_reqs_per_sec[int(now)] = part.num_requests
        part.num_fail_per_sec[int(now)] = failures
        part.last_request_timestamp = now
        part.min_response_time = min(self.times, default=None)
        part.max_response_time = max(self.times, default=0)
        for ms, count in self.times.items():
            part.total_response_time += ms * count
            part.response_times[bucket_response_time(ms)] += count
        self.times.clear()
        self._stats.get(self._name, self._method).extend(part)
        self._stats.total.extend(part)
