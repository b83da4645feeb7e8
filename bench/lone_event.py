"""Claim: a lone event reaches its client within a millisecond of being fed.

Nothing else goes on, so nothing is gained by waiting: the event must leave at once. Measured
with one client, and with a hundred of which the last has to wait for the others' writes.

    python -m bench.lone_event [--runs 5] [SERVER ...]
"""

import argparse
from statistics import median
from typing import Final

import msgspec

from bench.broadcast import broadcast
from bench.machine import describe
from bench.peers import Peer
from bench.servers import names_among, running

DEFAULT_SERVERS: Final = ("sseserver",)
CLIENTS: Final = (1, 100)
RATE: Final = 10.0


class LoneEvent(msgspec.Struct, frozen=True):
    """How long a lone event takes, in microseconds: medians over the runs."""

    server: str
    version: str
    clients: int
    p50_us: float
    p99_us: float
    missing: int
    faults: list[str]


def measure(peer: Peer, clients: int, *, runs: int = 5, seconds: float = 5.0) -> LoneEvent:
    """Measure a server that has next to nothing to do.

    Args:
        peer: The server.
        clients: Open streams.
        runs: How often.
        seconds: Length of each run.
    """
    outcomes = [broadcast(peer, RATE, clients=clients, seconds=seconds) for _ in range(runs)]
    return LoneEvent(
        peer.name,
        peer.version,
        clients,
        median(outcome.latency_sent_us.p50 for outcome in outcomes),
        median(outcome.latency_sent_us.p99 for outcome in outcomes),
        sum(outcome.missing(clients) for outcome in outcomes),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def main() -> None:
    """Measure the servers that are named and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{describe()}; {RATE:g} events/s, median of {options.runs} runs")
    print(f"{'server':<14} {'clients':>7} {'p50 us':>8} {'p99 us':>8} {'missing':>8}")
    for name in names_among(options.servers):
        with running(name) as peer:
            if peer is None:
                continue
            for clients in CLIENTS:
                found = measure(peer, clients, runs=options.runs)
                print(
                    f"{name:<14} {clients:7} {found.p50_us:8.0f} {found.p99_us:8.0f} "
                    f"{found.missing:8} {'; '.join(found.faults)}"
                )


if __name__ == "__main__":
    main()
