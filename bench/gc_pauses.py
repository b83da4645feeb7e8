"""Claim: 10,000 open connections do not lengthen the worst pause of the garbage collector.

The collector stops everything while it looks at what is alive, and connections are much to look
at. From outside a pause shows as an event that is late: one goes to its client every 5 ms, and
the slowest tell of the longest pauses. So that the collector has reason to run, users who are
not there have new orders meanwhile, which are kept for them; with and without idle connections
of other users, the collector is as busy.

    python -m bench.gc_pauses [--runs 5] [--connections 10000]
"""

import argparse
from statistics import median
from typing import Final

import msgspec

from bench.load import COUNTER, STAMP, Load, run
from bench.machine import describe
from bench.quiet import QuietRun, quiet_run
from bench.sseserver import HOST, measured_server
from bench.traders import order, orders_request, session, tell

CONNECTIONS: Final = 10_000
PROBES_PER_SECOND: Final = 200

_KEPT_PER_PROBE: Final = 24
"""Orders that are kept for each event that is timed."""

_PROBE: Final = "probe"
_ABSENT_USERS: Final = 40 * _KEPT_PER_PROBE
"""So many that none has to give up an order: what is freed again starts no collection."""

_NEW_ORDER_ID: Final = "@@##########"
"""Overwritten by the load client, with another number in each message."""

_WARMUP_SECONDS: Final = 1.0
_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 0.5


class Pauses(msgspec.Struct, frozen=True):
    """How late an event comes, in milliseconds: medians over the runs.

    Attributes:
        others_share: Of the server's core, in the most disturbed run.
    """

    idle_connections: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    others_share: float
    faults: list[str]


def measure(idle_connections: int, *, runs: int = 5) -> Pauses:
    """Measure how late events come beside idle connections, each run on a server of its own.

    Args:
        idle_connections: Streams of users to whom nothing happens.
        runs: How often.
    """
    done = [_run(idle_connections) for _ in range(runs)]
    outcomes = [one.outcome for one in done]
    return Pauses(
        idle_connections,
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p999 for outcome in outcomes) / 1000,
        median(outcome.latency_us.max for outcome in outcomes) / 1000,
        max(one.others_share for one in done),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _run(idle_connections: int) -> QuietRun:
    users = [f"idle-{number}" for number in range(idle_connections)]
    with measured_server() as server:
        tell(server.ingest_path, [session(user) for user in (_PROBE, *users)])
        load = Load(
            HOST,
            server.port,
            [orders_request(user) for user in (_PROBE, *users)],
            feed=f"unix:{server.ingest_path}",
            messages=_messages(),
            rate=PROBES_PER_SECOND * (1 + _KEPT_PER_PROBE),
            warmup=_WARMUP_SECONDS,
            seconds=_SECONDS,
            drain=_DRAIN_SECONDS,
            counter_step=1 + _KEPT_PER_PROBE,
        )
        return quiet_run(lambda: run(load, server.processes), server.processes)


def _messages() -> list[bytes]:
    """Return one event for the probe after each `_KEPT_PER_PROBE` that are kept for others."""
    messages: list[bytes] = []
    for number in range(_ABSENT_USERS):
        if number % _KEPT_PER_PROBE == 0:
            messages.append(order(_PROBE, number, f"{STAMP},{COUNTER}"))
        messages.append(_new_order(f"absent-{number}"))
    return messages


def _new_order(user: str) -> bytes:
    return (
        f'{{"ref":1,"type":"order:update","userId":"{user}","data":{{'
        f'"orderId":"{_NEW_ORDER_ID}","symbol":"S01","side":"buy","qty":100,"status":"new"}}}}\n'
    ).encode()


def main() -> None:
    """Measure without and with idle connections and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{describe()}; an event every {1000 / PROBES_PER_SECOND:g} ms, "
        f"{PROBES_PER_SECOND * _KEPT_PER_PROBE} orders/s kept, median of {options.runs} runs"
    )
    print(f"{'idle':>6} {'p50 ms':>7} {'p99 ms':>7} {'p99.9 ms':>8} {'max ms':>7} {'disturbed':>9}")
    for connections in (0, options.connections):
        found = measure(connections, runs=options.runs)
        print(
            f"{connections:6} {found.p50_ms:7.2f} {found.p99_ms:7.2f} {found.p999_ms:8.2f} "
            f"{found.max_ms:7.1f} {found.others_share:9.0%} {'; '.join(found.faults)}"
        )


if __name__ == "__main__":
    main()
