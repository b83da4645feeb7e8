"""Claim: 5000 clients that connect at once are all served within a second.

While 200 clients get prices and facts, as many as a restart or a lost uplink sends back at once
connect: users who name the last event ID they have, and are open when they have been sent what
followed it and the snapshot of their orders. Peers are asked for neither; there a client is open
with the first bytes of its stream.

    python -m bench.storm [--runs 5] [SERVER ...]
"""

import argparse
from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

from bench.load import Load, Storm, run
from bench.machine import describe
from bench.quiet import quiet_run
from bench.servers import names_among
from bench.traders import CLIENTS, Day, market_day, order, orders_request, session, tell

DEFAULT_SERVERS: Final = ("sseserver", "nchan", "better-sse")
STORM_CLIENTS: Final = 5000

_DELIVERIES_PER_SECOND: Final = 10_000
"""At a peer all clients, those of the storm too, get the same events: there they are fewer."""

_FIRST_BYTES: Final = {"nchan": ": hi", "better-sse": "retry:"}
"""What peers send when a stream opens; of others the first event is awaited."""

_FACTS: Final = 10
_FACTS_MISSED: Final = 5
"""Each user has orders and ten events in the replay buffer; the client knows the first five."""

_SECONDS: Final = 3.0
"""The storm comes in the middle: what the others are sent during it is much of what counts."""

_DRAIN_SECONDS: Final = 20.0


class StormOutcome(msgspec.Struct, frozen=True):
    """How fast a storm was served and what those already connected noticed: medians of runs.

    Attributes:
        others_share: Of the server's core, in the most disturbed run.
    """

    server: str
    version: str
    clients: int
    opened: int
    opened_per_second: float
    opening_p50_ms: float
    opening_p99_ms: float
    connected: int
    connected_p50_ms: float
    connected_p99_ms: float
    connected_max_ms: float
    missing: int
    others_share: float
    faults: list[str]


def measure(day: Day, *, clients: int = STORM_CLIENTS, runs: int = 5) -> StormOutcome:
    """Measure a storm of clients.

    Args:
        day: The server and the clients it has already.
        clients: Those who connect at once.
        runs: How often.
    """
    load = _with_storm(day, clients)._replace(
        fan_out=day.receivers, seconds=_SECONDS, drain=_DRAIN_SECONDS
    )
    done = [quiet_run(lambda: run(load, day.processes), day.processes) for _ in range(runs)]
    outcomes = [one.outcome for one in done]
    storms = [outcome.storm for outcome in outcomes if outcome.storm is not None]
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    return StormOutcome(
        day.server,
        day.version,
        clients,
        min(storm.opened for storm in storms),
        median(storm.opened_per_second for storm in storms),
        median(storm.opening_us.p50 for storm in storms) / 1000,
        median(storm.opening_us.p99 for storm in storms) / 1000,
        len(load.requests),
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.latency_us.max for outcome in outcomes) / 1000,
        sum(outcome.missing(day.receivers) for outcome in outcomes),
        max(one.others_share for one in done),
        faults + _storm_faults(storms),
    )


def _with_storm(day: Day, clients: int) -> Load:
    """Return the load of a day with what the clients of the storm ask for and wait for."""
    if day.ingest_path is None:
        return day.load._replace(
            storm=[day.load.requests[0]] * clients,
            until=_FIRST_BYTES.get(day.server, "price:update"),
            rate=_DELIVERIES_PER_SECOND / (len(day.load.requests) + clients),
        )
    users = [f"returning-{number}" for number in range(clients)]
    tell(day.ingest_path, list(map(session, users)))
    answers = [tell(day.ingest_path, [order(user, n) for user in users]) for n in range(_FACTS)]
    known = answers[_FACTS - _FACTS_MISSED - 1]
    storm = [orders_request(user, fact.id) for user, fact in zip(users, known, strict=True)]
    return day.load._replace(storm=storm, until='"snapshot":true')


def _storm_faults(storms: Sequence[Storm]) -> list[str]:
    return [f"{storm.failed} not served ({storm.failure})" for storm in storms if storm.failed]


def main() -> None:
    """Measure the servers that are named and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--clients", type=int, default=STORM_CLIENTS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{describe()}; {options.clients} clients connect at once beside {CLIENTS}, "
        f"median of {options.runs} runs"
    )
    print(
        f"{'server':<14} {'opened':>6} {'opened/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'ratio':>6} "
        f"{'the 200 p50 ms':>14} {'p99 ms':>7} {'max ms':>7} {'missing':>8} {'disturbed':>9}"
    )
    first: StormOutcome | None = None
    for name in names_among(options.servers):
        with market_day(name, _DELIVERIES_PER_SECOND) as day:
            if day is None:
                continue
            found = measure(day, clients=options.clients, runs=options.runs)
        first = first or found
        ratio = first.opened_per_second / found.opened_per_second
        print(
            f"{name:<14} {found.opened:6} {found.opened_per_second:8,.0f} "
            f"{found.opening_p50_ms:7.0f} {found.opening_p99_ms:7.0f} {ratio:5.1f}x "
            f"{found.connected_p50_ms:14.2f} {found.connected_p99_ms:7.1f} "
            f"{found.connected_max_ms:7.0f} {found.missing:8} {found.others_share:9.0%} "
            f"{'; '.join(found.faults)}"
        )


if __name__ == "__main__":
    main()
