"""Claim: at 50 events a second to 1000 clients, latency and CPU are not above nginx with nchan's.

A fixed load that every server carries with ease, and at which none joins events: what is
compared is the way of one event.

    python -m bench.latency [--runs 5] [SERVER ...]
"""

import argparse
from statistics import median
from typing import Final

import msgspec

from bench.broadcast import CLIENTS, broadcast
from bench.machine import describe
from bench.peers import Peer
from bench.servers import names_among, running

DEFAULT_SERVERS: Final = ("sseserver", "nchan")
RATE: Final = 50.0


class FixedLoad(msgspec.Struct, frozen=True):
    """Latency and processor time of one server under a fixed load: medians over the runs."""

    server: str
    version: str
    clients: int
    rate: float
    p50_ms: float
    p99_ms: float
    server_share: float
    missing: int
    faults: list[str]


def measure(
    peer: Peer,
    *,
    rate: float = RATE,
    clients: int = CLIENTS,
    runs: int = 5,
    seconds: float = 5.0,
) -> FixedLoad:
    """Measure a server under a fixed load.

    Args:
        peer: The server.
        rate: Events a second.
        clients: Open streams.
        runs: How often.
        seconds: Length of each run.
    """
    outcomes = [broadcast(peer, rate, clients=clients, seconds=seconds) for _ in range(runs)]
    return FixedLoad(
        peer.name,
        peer.version,
        clients,
        rate,
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.server_share for outcome in outcomes),
        sum(outcome.missing(clients) for outcome in outcomes),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def main() -> None:
    """Measure the servers that are named and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{describe()}; {options.rate:g} events/s to {options.clients} clients, "
        f"median of {options.runs} runs"
    )
    print(f"{'server':<14} {'p50 ms':>7} {'p99 ms':>7} {'CPU':>5} {'missing':>8}")
    for name in names_among(options.servers):
        with running(name) as peer:
            if peer is None:
                continue
            found = measure(peer, rate=options.rate, clients=options.clients, runs=options.runs)
        print(
            f"{name:<14} {found.p50_ms:7.2f} {found.p99_ms:7.2f} {found.server_share:5.0%} "
            f"{found.missing:8} {'; '.join(found.faults)}"
        )


if __name__ == "__main__":
    main()
