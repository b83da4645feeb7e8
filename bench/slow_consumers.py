"""Claim: who stops reading costs the others no latency, and the server bounded memory.

Of 200 clients that get prices and facts 20 stop reading: ten followers of prices and ten of
orders, one of every group. Soon their sockets take no more. What the other 180 measure is
compared with what they measure when the 20 are not there; runs with and without take turns.

    python -m bench.slow_consumers [--runs 5] [SERVER ...]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench.load import Outcome, run
from bench.machine import describe
from bench.quiet import quiet_run
from bench.servers import names_among
from bench.traders import CLIENTS, GROUP, Day, market_day

DEFAULT_SERVERS: Final = ("sseserver", "nchan", "better-sse")
STALLED: Final = CLIENTS // GROUP
LARGEST_RATIO: Final = 1.2

_DELIVERIES_PER_SECOND: Final = 40_000
"""As one write each, a quarter of what a core can send: no server needs to join events."""

_WARMUP_SECONDS: Final = 4.0
_SECONDS: Final = 6.0
"""Sockets are full after about 5 s, and what is owed past its limit a second later."""


class SlowConsumers(msgspec.Struct, frozen=True):
    """What the others noticed: medians over the runs, memory as the largest of all runs.

    Attributes:
        others_share: Of the server's core, in the most disturbed run.
    """

    server: str
    version: str
    clients: int
    stalled: int
    p50_ms: float
    p99_ms: float
    p50_ms_without: float
    p99_ms_without: float
    grown_mib: float
    grown_mib_without: float
    missing: int
    others_share: float
    faults: list[str]

    @property
    def ratio(self) -> float:
        """How much longer the others wait, at the 99th percentile, than without them."""
        return self.p99_ms / self.p99_ms_without


class _Run(NamedTuple):
    """One run, how far resident memory grew in it at most, and how others disturbed it."""

    outcome: Outcome
    grown_mib: float
    others_share: float

    @property
    def p50_ms(self) -> float:
        return self.outcome.latency_us.p50 / 1000

    @property
    def p99_ms(self) -> float:
        return self.outcome.latency_us.p99 / 1000


def measure(day: Day, *, runs: int = 5) -> SlowConsumers:
    """Measure a server with and without clients that stop reading.

    Args:
        day: The server and its clients.
        runs: How often, of each.
    """
    _run(day, 0)  # what is made once is made
    without: list[_Run] = []
    with_them: list[_Run] = []
    for _ in range(runs):
        without.append(_run(day, 0))
        with_them.append(_run(day, STALLED))
    outcomes = [one.outcome for one in (*without, *with_them)]
    readers = _readers_of_each(day)
    return SlowConsumers(
        day.server,
        day.version,
        len(day.load.requests),
        STALLED,
        median(one.p50_ms for one in with_them),
        median(one.p99_ms for one in with_them),
        median(one.p50_ms for one in without),
        median(one.p99_ms for one in without),
        max(one.grown_mib for one in with_them),
        max(one.grown_mib for one in without),
        sum(outcome.missing(readers) for outcome in outcomes),
        max(one.others_share for one in (*without, *with_them)),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _run(day: Day, stalled: int) -> _Run:
    """Let clients read that are the last 180 of all, with or without the others."""
    requests = day.load.requests
    load = day.load._replace(
        requests=requests if stalled else requests[STALLED:],
        stall=stalled,
        fan_out=_readers_of_each(day),
        warmup=_WARMUP_SECONDS,
        seconds=_SECONDS,
    )
    grown_mib: list[float] = []

    def attempt() -> Outcome:
        before = day.processes.resident_kib()
        _forget_peaks(day.processes.pids)
        outcome = run(load, day.processes)
        grown_mib.append((_peak_kib(day.processes.pids) - before) / 1024)
        return outcome

    outcome, others_share = quiet_run(attempt, day.processes)
    return _Run(outcome, max(grown_mib), others_share)


def _readers_of_each(day: Day) -> int:
    return day.receivers - day.receivers // GROUP


def _forget_peaks(pids: Sequence[int]) -> None:
    """Let the kernel count the largest resident memory anew (proc(5), clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _peak_kib(pids: Sequence[int]) -> int:
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmHWM:")
    )


def main() -> None:
    """Measure the servers that are named and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{describe()}; {STALLED} of {CLIENTS} clients stop reading, median of "
        f"{options.runs} runs; RSS is by how much it grew at most"
    )
    print(
        f"{'server':<14} {'p50 ms':>7} {'without':>7} {'p99 ms':>7} {'without':>7} {'ratio':>6} "
        f"{'RSS MiB':>8} {'without':>7} {'missing':>8} {'disturbed':>9}"
    )
    for name in names_among(options.servers):
        with market_day(name, _DELIVERIES_PER_SECOND) as day:
            if day is None:
                continue
            found = measure(day, runs=options.runs)
        print(
            f"{name:<14} {found.p50_ms:7.2f} {found.p50_ms_without:7.2f} {found.p99_ms:7.2f} "
            f"{found.p99_ms_without:7.2f} {found.ratio:5.2f}x {found.grown_mib:8.1f} "
            f"{found.grown_mib_without:7.1f} {found.missing:8} "
            f"{found.others_share:9.0%} {'; '.join(found.faults)}"
        )


if __name__ == "__main__":
    main()
