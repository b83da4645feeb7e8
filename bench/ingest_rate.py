"""Claim: 200,000 quotes a second are accepted, validated and conflated, and none is late.

Quotes of 500 symbols come while 1000 clients each watch 20 of them (50 different lists). A rate
is carried while the feed is not held back by more than a moment, the server accepted as many
lines as were sent, and of a hundred quotes that are delivered, 99 arrive within the window and
20 ms of when they were due. First the rate of the claim, then the search for the highest.

Then quotes are fed as fast as the server takes them: in the end each client must have the last
value of each of its symbols.

    python -m bench.ingest_rate [--runs 5]
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench.last_values import LastValues, feed_and_look
from bench.load import MOMENT, Load, Outcome, run
from bench.machine import LOAD_CORE, describe, pin
from bench.neighbours import OthersTime
from bench.quotes import MARK, names, quote_line, quote_lines, watch_lists, watching
from bench.search import are_carried, highest_runs, noted, runs_at
from bench.sseserver import HOST, MeasuredServer, measured_server

CLIENTS: Final = 1000
SYMBOLS: Final = 500
WATCHED: Final = 20
LISTS: Final = 50

TARGET: Final = 200_000.0
LIMIT_MS: Final = 120.0
"""The window and 20 ms; also what the feed may be held back by at any moment."""

_SUSTAINED: Final = 0.98
_LAST_QUOTES: Final = 256_000
_LAST_PRICE: Final = 9_999.5
_APPLY_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.05


class Attempt(NamedTuple):
    """One run at one rate, with what the server itself counted."""

    rate: float
    outcome: Outcome
    accepted: int
    conflated: int
    others_share: float

    @property
    def is_carried(self) -> bool:
        """Whether the feed was not held back, nothing was late and no line was lost."""
        outcome = self.outcome
        return (
            not outcome.faults()
            and outcome.connected == CLIENTS
            and self.accepted == outcome.events_sent_total
            and outcome.events_sent >= _SUSTAINED * self.rate * outcome.seconds
            and outcome.feed_lag_ms_max < LIMIT_MS
            and outcome.latency_us.p99 < LIMIT_MS * 1000
        )


class IngestRate(msgspec.Struct, frozen=True):
    """What the server did at one rate: medians over the runs."""

    clients: int
    symbols: int
    rate: float
    taken_per_second: float
    conflated_share: float
    events_per_client_per_second: float
    p50_ms: float
    p99_ms: float
    server_share: float
    load_share: float
    not_accepted: int
    is_carried: bool
    faults: list[str]


def load(server: MeasuredServer, rate: float, *, warmup: float = 1.5, seconds: float = 3.0) -> Load:
    """Return the load of all clients and a feed of so many quotes a second."""
    return Load(
        HOST,
        server.port,
        watching(watch_lists(SYMBOLS, LISTS, WATCHED), CLIENTS),
        feed=f"unix:{server.ingest_path}",
        messages=quote_lines(SYMBOLS),
        mark=MARK,
        rate=rate,
        warmup=warmup,
        seconds=seconds,
        drain=0.5,
        checks_ids=True,
    )


def attempt(rate: float, *, warmup: float = 1.0, seconds: float = 1.5) -> Attempt:
    """Run a new server at a rate."""
    with measured_server() as server:
        others = OthersTime(server.processes)
        outcome = run(load(server, rate, warmup=warmup, seconds=seconds), server.processes)
        others_share = others.share()
        counters = _settled_counters(server, outcome.events_sent_total)
        return Attempt(
            rate,
            outcome,
            round(counters["sseserver_accepted_lines_total"]),
            round(counters["sseserver_conflated_updates_total"]),
            others_share,
        )


def measure(
    rate: float = TARGET, *, runs: int = 5, note: Callable[[Attempt], None] = lambda _: None
) -> IngestRate:
    """Measure the server at a rate.

    Args:
        rate: Quotes a second.
        runs: How often.
        note: Told about every run.
    """
    return _summary(rate, runs_at(rate, noted(attempt, note), runs))


def measure_highest(
    *, runs: int = 5, note: Callable[[Attempt], None] = lambda _: None
) -> IngestRate | None:
    """Search for the highest rate that is carried and measure it; None when there is none.

    Args:
        runs: Runs at the highest rate.
        note: Told about every run.
    """
    found = highest_runs(noted(attempt, note), runs)
    return None if found is None else _summary(*found)


def last_values() -> LastValues:
    """Feed quotes as fast as they are taken, and look at what each client has in the end."""
    lists = watch_lists(SYMBOLS, LISTS, WATCHED)
    lines = quote_lines(SYMBOLS)
    lines *= _LAST_QUOTES // len(lines)
    lines += [quote_line(symbol, _LAST_PRICE) for symbol in names(SYMBOLS)]
    unstamped = [line.replace(MOMENT.encode(), b"25") for line in lines]
    with measured_server() as server:
        return feed_and_look(server, unstamped, watching(lists, CLIENTS), lists)


def _settled_counters(server: MeasuredServer, lines: int) -> dict[str, float]:
    """Return the server's counters once it has applied so many lines, or has had the time."""
    deadline = time.monotonic() + _APPLY_SECONDS
    while True:
        counters = server.counters()
        if counters["sseserver_accepted_lines_total"] >= lines or time.monotonic() > deadline:
            return counters
        time.sleep(_LOOK_SECONDS)


def _summary(rate: float, attempts: Sequence[Attempt]) -> IngestRate:
    outcomes = [done.outcome for done in attempts]
    return IngestRate(
        CLIENTS,
        SYMBOLS,
        rate,
        median(outcome.events_sent / outcome.seconds for outcome in outcomes),
        median(done.conflated / done.accepted for done in attempts),
        median(outcome.deliveries_per_second / CLIENTS for outcome in outcomes),
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.server_share for outcome in outcomes),
        median(outcome.load_share for outcome in outcomes),
        sum(done.outcome.events_sent_total - done.accepted for done in attempts),
        are_carried(attempts),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _print_attempt(done: Attempt) -> None:
    outcome = done.outcome
    print(
        f"{done.rate:11,.0f} quotes/s: {outcome.events_sent / outcome.seconds:11,.0f} taken, "
        f"{outcome.events_sent_total - done.accepted} not accepted, "
        f"p99 {outcome.latency_us.p99 / 1000:6.1f} ms, lag {outcome.feed_lag_ms_max:6.1f} ms, "
        f"server {outcome.server_share:4.0%} load {outcome.load_share:4.0%} "
        f"others {done.others_share:4.0%} "
        f"{'carried' if done.is_carried else 'not carried'} {'; '.join(outcome.faults())}"
    )


def _print(title: str, found: IngestRate) -> None:
    print(
        f"{title:<12} {found.rate:9,.0f} {found.taken_per_second:9,.0f} "
        f"{found.conflated_share:9.1%} {found.events_per_client_per_second:14.1f} "
        f"{found.p50_ms:7.1f} {found.p99_ms:7.1f} {found.server_share:5.0%} "
        f"{found.load_share:5.0%} {found.not_accepted:5}  "
        f"{'carried' if found.is_carried else 'not carried'} {'; '.join(found.faults)}"
    )


def main() -> None:
    """Measure the server and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="print every run")
    options = parser.parse_args()
    note = _print_attempt if options.verbose else lambda _: None
    pin(LOAD_CORE)
    print(
        f"{describe()}; {CLIENTS} clients with {WATCHED} of {SYMBOLS} symbols each, "
        f"median of {options.runs} runs"
    )
    print(
        f"{'':<12} {'quotes/s':>9} {'taken/s':>9} {'conflated':>9} {'events/s each':>14} "
        f"{'p50 ms':>7} {'p99 ms':>7} {'CPU':>5} {'load':>5} {'lost':>5}"
    )
    _print("claim", measure(runs=options.runs, note=note))
    highest = measure_highest(runs=options.runs, note=note)
    if highest is None:
        print(f"no rate is carried with a p99 below {LIMIT_MS:.0f} ms")
    else:
        _print("highest rate", highest)
    last = last_values()
    print(
        f"fed as fast as it takes them: {last.quotes_per_second:,.0f} quotes/s, "
        f"{last.missing} last values missing {last.refusal}"
    )


if __name__ == "__main__":
    main()
