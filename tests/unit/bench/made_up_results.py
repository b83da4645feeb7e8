"""Results that nobody measured: round figures that meet every target."""

from typing import Any

from bench.compression import Cost, Saving
from bench.fan_out import FanOut
from bench.gc_pauses import Pauses
from bench.ingest_rate import IngestRate
from bench.last_values import LastValues
from bench.latency import FixedLoad
from bench.lone_event import LoneEvent
from bench.memory import Memory
from bench.private_facts import PrivateFacts
from bench.reporting.results import Part, Results, plain
from bench.slow_consumers import SlowConsumers
from bench.specification_load import SpecificationLoad
from bench.storm import StormOutcome


def fan_out(server: str, deliveries: float) -> FanOut:
    """Return what a server carried."""
    return FanOut(
        server=server,
        version="1.0",
        clients=1000,
        rate=deliveries / 1000,
        deliveries_per_second=deliveries,
        lowest_deliveries_per_second=0.9 * deliveries,
        highest_deliveries_per_second=1.1 * deliveries,
        p50_ms=20.0,
        p99_ms=90.0,
        server_share=0.99,
        load_share=0.5,
    )


def fixed_load(server: str, p50_ms: float, *, rate: float = 50.0, missing: int = 0) -> FixedLoad:
    """Return latency under a load."""
    return FixedLoad(
        server=server,
        version="1.0",
        clients=1000,
        rate=rate,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        server_share=p50_ms / 10,
        missing=missing,
        faults=[],
    )


def ingest_rate(rate: float, *, is_carried: bool = True) -> IngestRate:
    """Return what was taken at a rate."""
    return IngestRate(
        clients=1000,
        symbols=500,
        rate=rate,
        taken_per_second=rate,
        conflated_share=0.97,
        events_per_client_per_second=200.0,
        p50_ms=50.0,
        p99_ms=105.0,
        server_share=0.7,
        load_share=0.2,
        not_accepted=0,
        is_carried=is_carried,
        faults=[],
    )


def private_facts(rate: float, *, is_carried: bool = True) -> PrivateFacts:
    """Return what was delivered at a rate."""
    return PrivateFacts(
        users=1000,
        rate=rate,
        deliveries_per_second=rate,
        p50_ms=5.0,
        p99_ms=40.0,
        server_share=0.9,
        load_share=0.2,
        missing=0,
        is_carried=is_carried,
        faults=[],
    )


def memory(server: str, kind: str, kib_each: float, target_kib: float | None) -> Memory:
    """Return what a connection costs."""
    return Memory(server, "1.0", kind, 10_000, kib_each, target_kib)


def specification_load(symbols_each: int, *, p99_ms: float = 104.0) -> SpecificationLoad:
    """Return what the load of the specification needed."""
    return SpecificationLoad(
        clients=1000,
        symbols_each=symbols_each,
        quotes_per_second=5000.0,
        events_per_client_per_second=10.0 * symbols_each,
        p50_ms=52.0,
        p99_ms=p99_ms,
        server_share=0.25,
        load_share=0.1,
        faults=[],
    )


def storm(server: str, opened_per_second: float) -> StormOutcome:
    """Return how a storm was served."""
    return StormOutcome(
        server=server,
        version="1.0",
        clients=5000,
        opened=5000,
        opened_per_second=opened_per_second,
        opening_p50_ms=300.0,
        opening_p99_ms=700.0,
        connected=200,
        connected_p50_ms=1.0,
        connected_p99_ms=60.0,
        connected_max_ms=100.0,
        missing=0,
        others_share=0.0,
        faults=[],
    )


def slow_consumers(server: str, p99_ms: float) -> SlowConsumers:
    """Return what those who read noticed of those who did not."""
    return SlowConsumers(
        server=server,
        version="1.0",
        clients=200,
        stalled=20,
        p50_ms=1.0,
        p99_ms=p99_ms,
        p50_ms_without=1.0,
        p99_ms_without=2.0,
        grown_mib=12.0,
        grown_mib_without=0.5,
        missing=0,
        others_share=0.0,
        faults=[],
    )


def figures() -> dict[str, list[Any]]:
    """Return the figures of every scenario, by its name."""
    return {
        "fan_out": [
            fan_out("sseserver", 3_000_000.0),
            fan_out("nchan", 75_000.0),
            fan_out("better-sse", 100_000.0),
            fan_out("send-loop", 150_000.0),
        ],
        "latency": [fixed_load("sseserver", 2.0), fixed_load("nchan", 4.0)],
        "latency_over_load": [
            fixed_load("sseserver", 2.0),
            fixed_load("sseserver", 8.0, rate=1000.0),
            fixed_load("nchan", 4.0),
            fixed_load("nchan", 800.0, rate=100.0),
        ],
        "specification_load": [specification_load(12), specification_load(100)],
        "private_facts": [private_facts(100_000.0), private_facts(120_000.0)],
        "ingest_rate": [ingest_rate(200_000.0), ingest_rate(260_000.0)],
        "last_values": [LastValues(400_000.0, "", 0)],
        "compression_cost": [
            Cost(coding, 1000, 50.0, 0.2 * ratio, ratio, 1.0, 2.0, 0, 0.0, [])
            for coding, ratio in (("identity", 1.0), ("gzip", 1.1), ("zstd", 1.2))
        ],
        "compression_savings": [
            Saving("prices", "identity", 1000.0, 1010.0, 0.0, None, []),
            Saving("prices", "gzip", 1000.0, 250.0, 0.75, 0.7, []),
        ],
        "compression_throughput": [
            fan_out("sseserver gzip", 1_000_000.0),
            fan_out("sseserver zstd", 1_200_000.0),
            fan_out("express-gzip", 20_000.0),
        ],
        "memory": [
            memory("sseserver", "plain", 2.5, 4.0),
            memory("sseserver", "private gzip", 36.0, 40.0),
            memory("nchan", "identity", 3.0, None),
        ],
        "storm": [storm("sseserver", 7_000.0), storm("nchan", 21_000.0)],
        "slow_consumers": [slow_consumers("sseserver", 2.1), slow_consumers("nchan", 4.0)],
        "gc_pauses": [Pauses(0, 1.0, 2.0, 3.0, 4.0, 0.0, [])],
        "lone_event": [
            LoneEvent("sseserver", "1.0", 1, 180.0, 300.0, 0, []),
            LoneEvent("sseserver", "1.0", 100, 600.0, 900.0, 0, []),
        ],
    }


def part(found: list[Any], *, problems: tuple[str, ...] = ()) -> Part:
    """Return the part of a scenario with these figures."""
    return Part(
        "2026-01-02 14:30",
        "a machine with 2 cores",
        "median of 5",
        60.0,
        list(map(plain, found)),
        list(problems),
    )


def results(**changed: list[Any]) -> Results:
    """Return the results of every scenario, some with other figures."""
    return {name: part(found) for name, found in (figures() | changed).items()}
