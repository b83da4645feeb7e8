"""How each scenario is measured: in steps, each of which gives some figures within minutes.

A step that fails, or whose server is not here, takes no other with it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar

from bench import (
    compression,
    fan_out,
    gc_pauses,
    ingest_rate,
    latency,
    lone_event,
    memory,
    private_facts,
    slow_consumers,
    specification_load,
    storm,
)
from bench.compression import CODINGS, Cost, Saving
from bench.fan_out import FanOut
from bench.gc_pauses import Pauses
from bench.ingest_rate import IngestRate
from bench.last_values import LastValues
from bench.latency import FixedLoad
from bench.lone_event import LoneEvent
from bench.machine import SERVER_CORE
from bench.memory import KINDS, Memory
from bench.payloads import payloads
from bench.peers import Peer
from bench.private_facts import PrivateFacts
from bench.servers import SERVERS
from bench.slow_consumers import SlowConsumers
from bench.specification_load import WATCHED, SpecificationLoad
from bench.storm import StormOutcome
from bench.traders import Day, market_day

REFERENCES: Final = ("nchan", "better-sse", "send-loop")
"""The peers that targets name."""
OTHERS: Final = ("sse-starlette", "aiohttp-sse", "granian")
"""Peers that are measured to know where they stand: once, and not in a quick report."""

_RATES: Final = (10, 25, 50, 75, 100, 150, 250, 500, 1000, 2000, 3000)
"""Events a second to each client, for latency over load."""
_OVERLOADED_MS: Final = 1000.0

_SEARCH_SECONDS: Final = 50.0
"""What the search for the highest rate takes, about; with fewer clients less."""

F = TypeVar("F")
_P = ParamSpec("_P")
Note: TypeAlias = Callable[[str], None]
Work: TypeAlias = Callable[[], Sequence[F | None]]
"""Gives figures; None for a server that carries nothing."""


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        runs: How often each figure of sseserver, and of the peers that targets name.
        is_quick: Whether to leave out what no target needs.
        note: Told about single runs where a scenario does so.
    """

    runs: int
    is_quick: bool
    note: Note = lambda _: None

    @property
    def few_runs(self) -> int:
        """How often what takes long and hardly varies, and peers that only give a scale."""
        return min(3, self.runs)

    def runs_of(self, server: str) -> int:
        """Return how often a server is measured in a scenario about speed."""
        return 1 if server in OTHERS else self.runs

    @property
    def servers(self) -> tuple[str, ...]:
        """Who is compared."""
        return ("sseserver", *REFERENCES, *(() if self.is_quick else OTHERS))


class Step(NamedTuple, Generic[F]):
    """A part of a scenario.

    Attributes:
        server: Who is measured.
        what: The step among those of the same server.
        runs: How often each figure is measured.
        seconds: How long it takes, about.
        work: Does it.
    """

    server: str
    what: str
    runs: int
    seconds: float
    work: Work[F]

    @property
    def name(self) -> str:
        """What the step is called within its scenario."""
        return f"{self.server} {self.what}".strip()


def is_overloaded(one: FixedLoad) -> bool:
    """Tell whether a load was too much for a server."""
    return one.missing > 0 or one.p99_ms > _OVERLOADED_MS


def of_fan_out(plan: Plan) -> Iterator[Step[FanOut]]:
    """Measure every server."""
    for name in plan.servers:
        runs = plan.runs_of(name)
        measure = partial(fan_out.measure, runs=runs, note=plan.note)
        yield Step(name, "", runs, _SEARCH_SECONDS + 5 * runs, _at_peer(name, measure))


def of_latency(plan: Plan) -> Iterator[Step[FixedLoad]]:
    """Measure every server."""
    for name in plan.servers:
        runs = plan.runs_of(name)
        measure = partial(latency.measure, runs=runs, seconds=3.0)
        yield Step(name, "", runs, 1 + 5 * runs, _at_peer(name, measure))


def of_latency_over_load(plan: Plan) -> Iterator[Step[FixedLoad]]:
    """Measure sseserver and the peers that targets name."""
    rates = _RATES[:: 2 if plan.is_quick else 1]
    for name in ("sseserver", *REFERENCES):
        most = len(rates) if name == "sseserver" else len(rates) // 2  # where peers end
        yield Step(name, "", 1, 4 * most, partial(_rising, name, rates))


def _rising(name: str, rates: Sequence[float]) -> list[FixedLoad]:
    """Measure a server under one load after the other, up to the first that is too much."""
    found: list[FixedLoad] = []
    with SERVERS[name](SERVER_CORE) as peer:
        for rate in rates:
            found.append(latency.measure(peer, rate=rate, runs=1, seconds=2.0))
            if is_overloaded(found[-1]):
                break
    return found


def of_specification_load(plan: Plan) -> Iterator[Step[SpecificationLoad]]:
    """Measure clients with few symbols and with all."""
    for watched in WATCHED:
        work = _call(specification_load.measure, watched, runs=plan.runs, seconds=3.0)
        yield Step("sseserver", f"{watched} symbols each", plan.runs, 6 * plan.runs, work)


def of_private_facts(plan: Plan) -> Iterator[Step[PrivateFacts]]:
    """Measure at the rate of the claim, then at the highest."""
    at_claim = _call(private_facts.measure, runs=plan.runs)
    yield Step("sseserver", "rate of the claim", plan.runs, 7 * plan.runs, at_claim)
    highest = _call(private_facts.measure_highest, runs=plan.few_runs)
    yield Step("sseserver", "highest rate", plan.few_runs, 40 + 8 * plan.few_runs, highest)


def of_ingest_rate(plan: Plan) -> Iterator[Step[IngestRate]]:
    """Measure at the rate of the claim, then at the highest."""
    at_claim = _call(ingest_rate.measure, runs=plan.runs)
    yield Step("sseserver", "rate of the claim", plan.runs, 7 * plan.runs, at_claim)
    highest = _call(ingest_rate.measure_highest, runs=plan.few_runs)
    yield Step("sseserver", "highest rate", plan.few_runs, 70 + 8 * plan.few_runs, highest)


def of_last_values(_plan: Plan) -> Iterator[Step[LastValues]]:
    """Look once: it is right or wrong."""
    yield Step("sseserver", "", 1, 4, _call(ingest_rate.last_values))


def of_compression_cost(plan: Plan) -> Iterator[Step[Cost]]:
    """Measure all codings in one step, as runs take turns."""
    work = partial(compression.measure_costs, runs=plan.runs, seconds=4.0)
    yield Step("sseserver", "", plan.runs, 21 * plan.runs, work)


def of_compression_savings(plan: Plan) -> Iterator[Step[Saving]]:
    """Measure each kind of events, once: what is compressed is the same each time."""
    for payload in payloads():
        work = partial(compression.measure_savings, payload, runs=1, seconds=2.0)
        yield Step("sseserver", payload.name, 1, 14, work)


def of_compression_throughput(plan: Plan) -> Iterator[Step[FanOut]]:
    """Measure both codings, then the peer with a compressor for each connection."""
    for coding in CODINGS[1:]:
        work = _call(compression.measure_throughput, coding, runs=plan.few_runs, note=plan.note)
        yield Step("sseserver", coding, plan.few_runs, 35 + 5 * plan.few_runs, work)
    measure = partial(
        fan_out.measure,
        clients=compression.COMPRESSED_CLIENTS,
        runs=plan.few_runs,
        note=plan.note,
    )
    for name in compression.DEFAULT_PEERS:
        yield Step(name, "", plan.few_runs, 35 + 5 * plan.few_runs, _at_peer(name, measure))


def of_memory(plan: Plan) -> Iterator[Step[Memory]]:
    """Measure every kind of connection, then peers; it hardly varies."""
    for kind in KINDS:
        work = _call(memory.measure_kind, kind, runs=plan.few_runs)
        yield Step("sseserver", kind.name, plan.few_runs, 7 * plan.few_runs, work)
    for name in memory.DEFAULT_SERVERS[1:]:
        work = _call(memory.measure_peer, name, runs=plan.few_runs)
        yield Step(name, "", plan.few_runs, 6 * plan.few_runs, work)


def of_storm(plan: Plan) -> Iterator[Step[StormOutcome]]:
    """Measure every server that it is about, peers less often."""
    for name in storm.DEFAULT_SERVERS:
        runs = plan.runs if name == "sseserver" else plan.few_runs
        work = partial(
            _at_market,
            name,
            storm._DELIVERIES_PER_SECOND,
            partial(storm.measure, runs=runs),
        )
        yield Step(name, "", runs, 7 * runs, work)


def of_slow_consumers(plan: Plan) -> Iterator[Step[SlowConsumers]]:
    """Measure every server that it is about, peers once."""
    for name in slow_consumers.DEFAULT_SERVERS:
        runs = plan.runs if name == "sseserver" else 1
        work = partial(
            _at_market,
            name,
            slow_consumers._DELIVERIES_PER_SECOND,
            partial(slow_consumers.measure, runs=runs),
        )
        yield Step(name, "", runs, 10 * (1 + 2 * runs), work)


def of_gc_pauses(plan: Plan) -> Iterator[Step[Pauses]]:
    """Measure without and with idle connections."""
    for connections in (0, gc_pauses.CONNECTIONS):
        work = _call(gc_pauses.measure, connections, runs=plan.few_runs)
        yield Step("sseserver", f"{connections} idle", plan.few_runs, 14 * plan.few_runs, work)


def of_lone_event(plan: Plan) -> Iterator[Step[LoneEvent]]:
    """Measure one client and many."""
    for name in lone_event.DEFAULT_SERVERS:
        for clients in lone_event.CLIENTS:
            measure = partial(lone_event.measure, clients=clients, runs=plan.runs)
            yield Step(
                name, f"{clients} clients", plan.runs, 7 * plan.runs, _at_peer(name, measure)
            )


def _call(measure: Callable[_P, F | None], *args: _P.args, **options: _P.kwargs) -> Work[F]:
    """Return the work of measuring one figure."""
    return lambda: [measure(*args, **options)]


def _at_peer(name: str, measure: Callable[[Peer], F | None]) -> Work[F]:
    """Return the work of measuring one figure of a server that runs meanwhile."""

    def work() -> list[F | None]:
        with SERVERS[name](SERVER_CORE) as peer:
            return [measure(peer)]

    return work


def _at_market(name: str, deliveries_per_second: float, measure: Callable[[Day], F]) -> list[F]:
    """Measure one figure of a server with its traders; none when it is not here."""
    with market_day(name, deliveries_per_second) as day:
        return [] if day is None else [measure(day)]
