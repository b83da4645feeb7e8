"""What the server shows of itself: `/api/stream/metrics` and `/metrics` for Prometheus.

Everything is read from plain attributes at the moment somebody asks.
"""

import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from sseserver.clock import Clock, iso_timestamp
from sseserver.delivery.cork import Cork
from sseserver.events import JsonObject
from sseserver.hub.hub import Hub
from sseserver.metrics import LATENCY_BOUNDS_SECONDS
from sseserver.net.connections import Connections

PROMETHEUS_CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def resident_bytes() -> int:
    """Return the memory of this process that is resident, in bytes (proc(5))."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


class MetricsPage:
    """Renders the counters of the parts it is given."""

    def __init__(
        self,
        hub: Hub,
        connections: Connections,
        cork: Cork,
        clock: Clock,
        state_sizes: Mapping[str, Callable[[], int]],
    ) -> None:
        self._hub = hub
        self._connections = connections
        self._cork = cork
        self._clock = clock
        self._state_sizes = state_sizes
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def json(self, *, names_users: bool) -> JsonObject:
        """Return the specification's metrics, with memory, buffers and latency.

        Args:
            names_users: Whether `clientsPerUser` may name anybody.
        """
        hub = self._hub
        latency = hub.counters.delivery_latency
        connected = hub.users.connected()
        clients = [
            {"userId": user.user_id, "clientCount": len(user.connections)} for user in connected
        ]
        return {
            "timestamp": iso_timestamp(self._clock.wall_ms()),
            "totalClients": len(hub.streams.clients),
            "totalUsers": len(connected),
            "clientsPerUser": clients if names_users else [],
            "clientsPerStream": self._streams_by_name(),
            "memory": {"residentBytes": resident_bytes()},
            "buffers": {
                "users": len(hub.users),
                "events": hub.users.buffered_events,
                "bytes": hub.users.buffered_bytes,
                "evictedEvents": hub.users.evicted_events,
                "droppedBuffers": hub.users.dropped_buffers,
            },
            "state": {name: read() for name, read in self._state_sizes.items()},
            "delivery": {
                "publishedEvents": sum(hub.counters.published_events.values()),
                "deliveredEvents": hub.counters.delivered_events,
                "writes": hub.counters.writes,
                "conflatedUpdates": hub.prices.conflated,
                "slowConsumers": hub.counters.slow_consumers,
                "isCorked": self._cork.is_corked,
                "corkLoad": round(self._cork.load, 3),
            },
            "latency": {
                "observations": latency.count,
                "p50Seconds": latency.quantile(0.5),
                "p99Seconds": latency.quantile(0.99),
            },
            "audiences": len(hub.audiences),
            "gzipContexts": hub.audiences.contexts.in_use,
        }

    def prometheus(self) -> bytes:
        """Return the text exposition of everything `collect` yields."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families; called by the registry."""
        yield from self._gauges()
        yield from self._counters()
        latency = self._hub.counters.delivery_latency
        buckets = []
        seen = 0
        for bound, count in zip((*LATENCY_BOUNDS_SECONDS, "+Inf"), latency.counts, strict=True):
            seen += count
            buckets.append((str(bound), seen))
        histogram = HistogramMetricFamily(
            "sseserver_delivery_latency_seconds",
            "From an ingest line being read to its bytes being handed to the socket.",
        )
        histogram.add_metric([], buckets, latency.total_seconds)
        yield histogram

    def _gauges(self) -> Iterator[Metric]:
        hub = self._hub
        streams = GaugeMetricFamily("sseserver_streams", "Open streams by name.", labels=["stream"])
        for name, count in self._streams_by_name().items():
            streams.add_metric([name], count)
        yield streams
        state = GaugeMetricFamily(
            "sseserver_state_entries", "Entries of the state by kind.", labels=["kind"]
        )
        for kind, read in self._state_sizes.items():
            state.add_metric([kind], read())
        yield state
        for name, text, value in (
            ("connected_users", "Users with open streams.", len(hub.users.connected())),
            ("http_connections", "Connections without a stream.", len(self._connections.http)),
            ("audiences", "Groups of streams that share their bytes.", len(hub.audiences)),
            ("gzip_contexts", "Running gzip contexts.", hub.audiences.contexts.in_use),
            ("buffered_users", "Users with a replay buffer.", len(hub.users)),
            ("buffered_events", "Events in replay buffers.", hub.users.buffered_events),
            ("buffered_bytes", "Memory of replay buffers.", hub.users.buffered_bytes),
            ("resident_bytes", "Resident memory of the process.", resident_bytes()),
            ("corked", "1 while writes wait for the cork's tick.", int(self._cork.is_corked)),
            ("cork_load", "Share of time that one write per event would need.", self._cork.load),
        ):
            yield GaugeMetricFamily(f"sseserver_{name}", text, value=value)

    def _counters(self) -> Iterator[Metric]:
        hub = self._hub
        counters = hub.counters
        for name, text, label, counts in (
            ("published_events", "Events accepted, by type.", "type", counters.published_events),
            ("streams_opened", "Streams opened, by name.", "stream", counters.streams_opened),
            ("streams_closed", "Streams ended, by reason.", "reason", counters.streams_closed),
        ):
            family = CounterMetricFamily(f"sseserver_{name}", text, labels=[label])
            for value, count in counts.items():
                family.add_metric([value], count)
            yield family
        for name, text, total in (
            ("accepted_lines", "Ingest lines accepted.", counters.accepted_lines),
            ("refused_lines", "Ingest lines answered with an error.", counters.refused_lines),
            ("connections_opened", "Client connections accepted.", counters.connections_opened),
            ("requests", "HTTP requests answered.", counters.requests),
            ("refused_streams", "Streams refused for now.", counters.refused_streams),
            ("delivered_events", "Events x connections written.", counters.delivered_events),
            ("writes", "Writes to sockets by flushes.", counters.writes),
            ("replayed_events", "Events replayed at openings.", counters.replayed_events),
            ("conflated_updates", "Price updates replaced by newer.", hub.prices.conflated),
            ("evicted_events", "Events pushed out of buffers.", hub.users.evicted_events),
            ("evicted_connections", "Closed by the user limit.", counters.evicted_connections),
            ("slow_consumers", "Closed for their backlog.", counters.slow_consumers),
            ("failed_deliveries", "Ended while owed events.", counters.failed_deliveries),
        ):
            yield CounterMetricFamily(f"sseserver_{name}", text, value=total)

    def _streams_by_name(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for subscription in self._hub.streams.clients.values():
            name = subscription.request.stream.partition("/")[0]
            counts[name] = counts.get(name, 0) + 1
        return counts
