"""Claim: the load of the specification leaves more than half a core free, and no price is late.

A thousand clients, 5000 quotes a second of 100 symbols, all settings at their defaults: the feed
is above the threshold, so prices leave in windows of 100 ms. Measured with clients that watch
12 symbols each, which is 120 events a second to each of them (the specification asks for 100),
and with clients that watch all 100 symbols, which is 1000.

What is delivered is the newest quote of its symbol, counted from when it was due.

    python -m bench.specification_load [--runs 5]
"""

import argparse
from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

from bench.load import Load, Outcome, run
from bench.machine import describe
from bench.quotes import MARK, quote_lines, watch_lists, watching
from bench.sseserver import HOST, MeasuredServer, measured_server, stream_request

CLIENTS: Final = 1000
SYMBOLS: Final = 100
RATE: Final = 5000.0
WATCHED: Final = (12, SYMBOLS)

LIMIT_MS: Final = 110.0
"""The window and 10 ms."""
LIMIT_SHARE: Final = 0.4

_LISTS: Final = 50


class SpecificationLoad(msgspec.Struct, frozen=True):
    """What the server needed and its clients saw: medians over the runs."""

    clients: int
    symbols_each: int
    quotes_per_second: float
    events_per_client_per_second: float
    p50_ms: float
    p99_ms: float
    server_share: float
    load_share: float
    faults: list[str]

    @property
    def is_met(self) -> bool:
        """Whether the claim holds."""
        return self.p99_ms < LIMIT_MS and self.server_share < LIMIT_SHARE and not self.faults


def load(
    server: MeasuredServer,
    watched: int,
    *,
    rate: float = RATE,
    warmup: float = 1.5,
    seconds: float = 5.0,
) -> Load:
    """Return the load of clients that watch so many symbols each.

    The sliding second of the threshold must have passed before what is measured.
    """
    requests = [stream_request()] * CLIENTS
    if watched < SYMBOLS:
        requests = watching(watch_lists(SYMBOLS, _LISTS, watched), CLIENTS)
    return Load(
        HOST,
        server.port,
        requests,
        feed=f"unix:{server.ingest_path}",
        messages=quote_lines(SYMBOLS),
        mark=MARK,
        rate=rate,
        warmup=warmup,
        seconds=seconds,
        drain=0.5,
        checks_ids=True,
    )


def measure(watched: int, *, runs: int = 5, seconds: float = 5.0) -> SpecificationLoad:
    """Measure the server, a new one for each run.

    Args:
        watched: Symbols that each client watches.
        runs: How often.
        seconds: Length of each run.
    """
    outcomes = []
    for _ in range(runs):
        with measured_server() as server:
            outcomes.append(run(load(server, watched, seconds=seconds), server.processes))
    return _summary(watched, outcomes)


def _summary(watched: int, outcomes: Sequence[Outcome]) -> SpecificationLoad:
    return SpecificationLoad(
        CLIENTS,
        watched,
        median(outcome.events_sent / outcome.seconds for outcome in outcomes),
        median(outcome.deliveries_per_second / CLIENTS for outcome in outcomes),
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.server_share for outcome in outcomes),
        median(outcome.load_share for outcome in outcomes),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def main() -> None:
    """Measure the server and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{describe()}; {CLIENTS} clients, {RATE:,.0f} quotes/s, median of {options.runs} runs")
    print(
        f"{'symbols each':>12} {'quotes/s':>9} {'events/s each':>14} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'CPU':>5} {'load':>5}  claim"
    )
    for watched in WATCHED:
        found = measure(watched, runs=options.runs, seconds=options.seconds)
        print(
            f"{watched:12} {found.quotes_per_second:9,.0f} "
            f"{found.events_per_client_per_second:14.1f} {found.p50_ms:7.1f} {found.p99_ms:7.1f} "
            f"{found.server_share:5.0%} {found.load_share:5.0%}  "
            f"{'met' if found.is_met else 'missed'} {'; '.join(found.faults)}"
        )


if __name__ == "__main__":
    main()
