"""Claim: compression costs a third more processor time at most, and saves 60 to 70 % of bytes.

For what many receive is compressed once. Three figures:

* cost: 50 prices a second to 1000 clients, as bench.latency sends them, plain and compressed;
* savings: bytes on the wire against the same events plain, of price windows and of the single
  events of private streams, where there is nothing to share;
* throughput: the highest rate of bench.fan_out, beside a server with a compressor for each
  connection.

    python -m bench.compression [--runs 5] [PEER ...]
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Final

import msgspec

from bench import fan_out
from bench.broadcast import CLIENTS, broadcast
from bench.fan_out import FanOut
from bench.latency import RATE
from bench.load import Load, Outcome, run
from bench.machine import describe
from bench.measured import Processes
from bench.payloads import Payload, payloads
from bench.peers import Peer
from bench.peers.peer import Coding
from bench.quiet import QuietRun, quiet_run
from bench.servers import names_among, running
from bench.sseserver import HOST, measured_server, sseserver, stream_request
from bench.traders import tell

Note = Callable[[str], None]

CODINGS: Final[tuple[Coding, ...]] = ("identity", "gzip", "zstd")
DEFAULT_PEERS: Final = ("express-gzip",)
LARGEST_COST: Final = 1.3
SMALLEST_GAIN: Final = 5.0

COMPRESSED_CLIENTS: Final = 200
"""For throughput: at 1000, a compressor for each needs 70 ms an event, and no rate is carried."""

_WARMUP_SECONDS: Final = 2.0
"""For a second, newcomers to a shared gzip stream are compressed for apart."""


class Cost(msgspec.Struct, frozen=True):
    """What one coding costs under a fixed load: medians over the runs.

    Attributes:
        ratio: Processor time against that of plain events.
        others_share: Of the server's core, in the most disturbed run.
    """

    coding: str
    clients: int
    rate: float
    server_share: float
    ratio: float
    p50_ms: float
    p99_ms: float
    missing: int
    others_share: float
    faults: list[str]


class Saving(msgspec.Struct, frozen=True):
    """What one coding saves: medians over the runs.

    Attributes:
        plain_bytes_per_second: Events of one client.
        wire_bytes_per_second: The same on the wire, with the framing of HTTP.
        saved: Share of what plain events need on the wire.
        target: What is to be saved at least.
    """

    payload: str
    coding: str
    plain_bytes_per_second: float
    wire_bytes_per_second: float
    saved: float
    target: float | None
    faults: list[str]


def measure_costs(*, clients: int = CLIENTS, runs: int = 5, seconds: float = 5.0) -> list[Cost]:
    """Measure the processor time of each coding, plain first; runs take turns.

    Args:
        clients: Open streams.
        runs: How often, of each.
        seconds: Length of each run.
    """
    done: dict[Coding, list[QuietRun]] = {coding: [] for coding in CODINGS}
    with sseserver() as server:
        for coding in CODINGS * runs:
            attempt = partial(
                broadcast,
                asking_for(coding, server),
                RATE,
                clients=clients,
                warmup=_WARMUP_SECONDS,
                seconds=seconds,
            )
            done[coding].append(quiet_run(attempt, Processes(server.pids)))
    plain_share = _median_share(done["identity"])
    return [_cost(coding, done[coding], clients, plain_share) for coding in CODINGS]


def measure_savings(payload: Payload, *, runs: int = 5, seconds: float = 3.0) -> list[Saving]:
    """Measure the bytes of each coding, plain first; runs take turns.

    Args:
        payload: Which events.
        runs: How often, of each.
        seconds: Length of each run.
    """
    outcomes: dict[Coding, list[Outcome]] = {coding: [] for coding in CODINGS}
    with measured_server(payload.settings) as server:
        tell(server.ingest_path, payload.sessions)
        for coding in CODINGS * runs:
            load = Load(
                HOST,
                server.port,
                payload.requests(coding),
                coding=coding,
                feed=f"unix:{server.ingest_path}",
                messages=payload.messages,
                rate=payload.rate,
                warmup=_WARMUP_SECONDS,
                seconds=seconds,
                drain=0.5,
                checks_ids=True,
            )
            outcomes[coding].append(run(load))
    plain_ratio = _wire_ratio(outcomes["identity"])
    return [_saving(payload, coding, outcomes[coding], plain_ratio) for coding in CODINGS]


def measure_throughput(
    coding: Coding, *, runs: int = 5, note: Note = lambda _: None
) -> FanOut | None:
    """Search for the highest rate at which sseserver carries one coding, and measure it.

    Args:
        coding: Which coding.
        runs: Runs at the highest rate.
        note: Told about every run.
    """
    with sseserver() as server:
        return _carried(asking_for(coding, server), runs, note)


def asking_for(coding: Coding, server: Peer) -> Peer:
    """Return sseserver with clients that accept one coding."""
    return server._replace(
        name=f"sseserver {coding}",
        request=stream_request(coding=coding),
        coding=coding,
    )


def _carried(peer: Peer, runs: int, note: Note) -> FanOut | None:
    return fan_out.measure(peer, clients=COMPRESSED_CLIENTS, runs=runs, note=note)


def _cost(coding: str, done: Sequence[QuietRun], clients: int, plain_share: float) -> Cost:
    outcomes = [one.outcome for one in done]
    share = _median_share(done)
    return Cost(
        coding,
        clients,
        RATE,
        share,
        share / plain_share,
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        sum(outcome.missing(clients) for outcome in outcomes),
        max(one.others_share for one in done),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _saving(
    payload: Payload, coding: Coding, outcomes: Sequence[Outcome], plain_ratio: float
) -> Saving:
    return Saving(
        payload.name,
        coding,
        median(outcome.bytes_decoded / outcome.clients / outcome.seconds for outcome in outcomes),
        median(outcome.bytes_received / outcome.clients / outcome.seconds for outcome in outcomes),
        1 - _wire_ratio(outcomes) / plain_ratio,
        payload.targets.get(coding),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _median_share(done: Sequence[QuietRun]) -> float:
    return median(one.outcome.server_share for one in done)


def _wire_ratio(outcomes: Sequence[Outcome]) -> float:
    """Return bytes on the wire for each byte of events."""
    return median(outcome.bytes_received / outcome.bytes_decoded for outcome in outcomes)


def _print_costs(costs: Sequence[Cost]) -> None:
    print(f"\ncost of {RATE:g} events/s to {CLIENTS} clients")
    print(
        f"{'coding':<14} {'CPU':>6} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} {'missing':>8} "
        f"{'disturbed':>9}"
    )
    for cost in costs:
        print(
            f"{cost.coding:<14} {cost.server_share:6.1%} {cost.ratio:5.2f}x {cost.p50_ms:7.2f} "
            f"{cost.p99_ms:7.2f} {cost.missing:8} {cost.others_share:9.0%} "
            f"{'; '.join(cost.faults)}"
        )


def _print_savings(savings: Sequence[Saving]) -> None:
    print("\nsavings, for each client")
    print(
        f"{'events':<32} {'coding':<8} {'plain B/s':>9} {'wire B/s':>9} {'saved':>6} {'target':>6}"
    )
    for saving in savings:
        target = "" if saving.target is None else f"{saving.target:.0%}"
        print(
            f"{saving.payload:<32} {saving.coding:<8} {saving.plain_bytes_per_second:9,.0f} "
            f"{saving.wire_bytes_per_second:9,.0f} {saving.saved:6.1%} {target:>6} "
            f"{'; '.join(saving.faults)}"
        )


def _print_throughputs(found: Iterator[FanOut], runs: int) -> None:
    print(f"\nhighest rate to {COMPRESSED_CLIENTS} clients, each run {runs} times")
    print(
        f"{'server':<18} {'events/s':>9} {'deliveries/s':>13} {'CPU':>5} {'load':>5} {'ratio':>7}"
    )
    first: FanOut | None = None
    for one in found:
        first = first or one
        ratio = first.deliveries_per_second / one.deliveries_per_second
        print(
            f"{one.server:<18} {one.rate:9.1f} {one.deliveries_per_second:13,.0f} "
            f"{one.server_share:5.0%} {one.load_share:5.0%} {ratio:6.1f}x"
        )


def _throughputs(peers: Sequence[str], runs: int, note: Note) -> Iterator[FanOut]:
    for coding in CODINGS[1:]:
        found = measure_throughput(coding, runs=runs, note=note)
        if found is not None:
            yield found
    for name in peers:
        with running(name) as peer:
            found = None if peer is None else _carried(peer, runs, note)
        if found is not None:
            yield found


def main() -> None:
    """Measure cost, savings and throughput, and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", nargs="*", metavar="PEER", default=DEFAULT_PEERS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="print every run of the search")
    options = parser.parse_args()
    peers, runs = names_among(options.peers), options.runs
    print(f"{describe()}; median of {runs} runs")
    _print_costs(measure_costs(runs=runs))
    _print_savings([one for some in payloads() for one in measure_savings(some, runs=runs)])
    note: Note = print if options.verbose else lambda _: None
    _print_throughputs(_throughputs(peers, runs, note), runs)


if __name__ == "__main__":
    main()
