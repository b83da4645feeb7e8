"""The table of all scenarios: how each is measured, judged and shown.

A new scenario is one entry of `SCENARIOS`, and a function in `steps` that says how it is measured.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from bench.compression import Cost, Saving
from bench.fan_out import FanOut
from bench.gc_pauses import Pauses
from bench.ingest_rate import IngestRate
from bench.last_values import LastValues
from bench.latency import FixedLoad
from bench.lone_event import LoneEvent
from bench.memory import Memory
from bench.private_facts import PrivateFacts
from bench.reporting import plots, steps, targets
from bench.reporting.plots import Plot
from bench.reporting.results import Part
from bench.reporting.steps import Plan, Step
from bench.reporting.targets import Check
from bench.slow_consumers import SlowConsumers
from bench.specification_load import SpecificationLoad
from bench.storm import StormOutcome

F = TypeVar("F")


class Scenario(NamedTuple, Generic[F]):
    """One scenario.

    Attributes:
        name: As on the command line.
        target: The row of `targets.TITLES` that it is about; empty for one without a target.
        title: What it is called in the report.
        figure: What is measured.
        columns: Fields of the figure that the report shows.
        steps: How it is measured.
        judge: What is asked of it.
        plot: How it is drawn.
    """

    name: str
    target: str
    title: str
    figure: type[F]
    columns: str
    steps: Callable[[Plan], Iterator[Step[F]]]
    judge: Callable[[Sequence[F]], list[Check]] = lambda _: []
    plot: Plot[F] | None = None

    def figures(self, part: Part | None) -> list[F]:
        """Return what was measured; nothing where that was by an older bench.

        Args:
            part: Of this scenario.
        """
        try:
            figures = [] if part is None else part.figures
            return [msgspec.convert(figure, self.figure) for figure in figures]
        except msgspec.ValidationError:
            return []


FAN_OUT: Final = Scenario(
    "fan_out",
    "T1",
    "Broadcast: the highest rate that is carried",
    FanOut,
    "server version clients rate deliveries_per_second lowest_deliveries_per_second "
    "highest_deliveries_per_second p50_ms p99_ms server_share load_share",
    steps.of_fan_out,
    targets.fan_out,
    Plot("deliveries.png", "Deliveries a second of each server", plots.deliveries),
)
LATENCY: Final = Scenario(
    "latency",
    "T2",
    "Broadcast: 50 events a second",
    FixedLoad,
    "server version clients rate p50_ms p99_ms server_share missing faults",
    steps.of_latency,
    targets.latency,
    Plot("cpu.png", "Processor time of each server at one load", plots.processor_time),
)
MEMORY: Final = Scenario(
    "memory",
    "T7",
    "Memory of idle connections",
    Memory,
    "server version kind connections kib_each target_kib",
    steps.of_memory,
    targets.memory,
    Plot("memory.png", "Memory of idle connections", plots.memory),
)

SCENARIOS: Final[tuple[Scenario[Any], ...]] = (
    FAN_OUT,
    LATENCY,
    Scenario(
        "latency_over_load",
        "",
        "Broadcast: latency over load, one run each",
        FixedLoad,
        "server clients rate p50_ms p99_ms server_share missing faults",
        steps.of_latency_over_load,
        plot=Plot("latency.png", "Latency of each server over load", plots.latency_over_load),
    ),
    Scenario(
        "specification_load",
        "T3",
        "The specified load",
        SpecificationLoad,
        "clients symbols_each quotes_per_second events_per_client_per_second p50_ms p99_ms "
        "server_share load_share faults",
        steps.of_specification_load,
        targets.specified_load,
    ),
    Scenario(
        "private_facts",
        "T4",
        "Private facts: the rate of the claim, and the highest that is carried",
        PrivateFacts,
        "users rate deliveries_per_second p50_ms p99_ms server_share load_share missing "
        "is_carried faults",
        steps.of_private_facts,
        targets.private,
    ),
    Scenario(
        "ingest_rate",
        "T5",
        "Quotes taken in: the rate of the claim, and the highest that is carried",
        IngestRate,
        "clients symbols rate taken_per_second conflated_share events_per_client_per_second "
        "p50_ms p99_ms server_share load_share not_accepted is_carried faults",
        steps.of_ingest_rate,
        targets.ingest,
    ),
    Scenario(
        "last_values",
        "T5",
        "Quotes as fast as they are taken: what clients have in the end",
        LastValues,
        "quotes_per_second missing refusal",
        steps.of_last_values,
        targets.last_values,
    ),
    Scenario(
        "compression_cost",
        "T6",
        "Compression: what it costs",
        Cost,
        "coding clients rate server_share ratio p50_ms p99_ms missing others_share faults",
        steps.of_compression_cost,
        targets.compression_cost,
    ),
    Scenario(
        "compression_savings",
        "T6",
        "Compression: what it saves, for each client",
        Saving,
        "payload coding plain_bytes_per_second wire_bytes_per_second saved target faults",
        steps.of_compression_savings,
        targets.compression_savings,
    ),
    Scenario(
        "compression_throughput",
        "T6",
        "Compression: the highest rate that is carried",
        FanOut,
        "server version clients rate deliveries_per_second p50_ms p99_ms server_share load_share",
        steps.of_compression_throughput,
        targets.compression_throughput,
    ),
    MEMORY,
    Scenario(
        "storm",
        "T8",
        "A storm of connections",
        StormOutcome,
        "server version clients opened opened_per_second opening_p50_ms opening_p99_ms "
        "connected_p50_ms connected_p99_ms connected_max_ms missing others_share faults",
        steps.of_storm,
        targets.storm,
    ),
    Scenario(
        "slow_consumers",
        "T9",
        "Clients that stop reading",
        SlowConsumers,
        "server version clients stalled p50_ms p99_ms p50_ms_without p99_ms_without grown_mib "
        "grown_mib_without missing others_share faults",
        steps.of_slow_consumers,
        targets.slow_consumers,
    ),
    Scenario(
        "gc_pauses",
        "",
        "Pauses of the garbage collector beside idle connections",
        Pauses,
        "idle_connections p50_ms p99_ms p999_ms max_ms others_share faults",
        steps.of_gc_pauses,
    ),
    Scenario(
        "lone_event",
        "T10",
        "A lone event",
        LoneEvent,
        "server clients p50_us p99_us missing faults",
        steps.of_lone_event,
        targets.lone_event,
    ),
)
"""In the order in which they run and are reported."""
