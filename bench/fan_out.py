"""Claim: a thousand clients receive 2,000,000 events a second from one core, none late.

Prices go to 1000 clients, faster and faster, until one is lost or one in a hundred takes 100 ms
or longer from the moment it was due. The highest rate below that is what a server carries; it
is then measured several times over, on each server that is named.

    python -m bench.fan_out [--runs 5] [SERVER ...]
"""

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import msgspec

from bench.broadcast import CLIENTS, broadcast
from bench.load import Outcome
from bench.machine import describe
from bench.peers import Peer
from bench.servers import names_among, running

DEFAULT_SERVERS: Final = ("sseserver", "nchan", "better-sse", "send-loop")
LIMIT_MS: Final = 100.0

_FIRST_RATE: Final = 8.0
_STEP: Final = 4.0
_CLOSE_ENOUGH: Final = 1.05
_BACK_OFF: Final = 0.9
_SUSTAINED: Final = 0.98
"""Share of the messages due that must have been sent: a feed that is held back sends fewer."""


class FanOut(msgspec.Struct, frozen=True):
    """What one server carried: medians over the runs, and the spread of the first figure."""

    server: str
    version: str
    clients: int
    rate: float
    deliveries_per_second: float
    lowest_deliveries_per_second: float
    highest_deliveries_per_second: float
    p50_ms: float
    p99_ms: float
    server_share: float
    load_share: float


def is_complete(outcome: Outcome, rate: float, clients: int) -> bool:
    """Tell whether everything that was due was sent, and every client received it once."""
    return (
        not outcome.faults()
        and outcome.connected == clients
        and outcome.missing(clients) == 0
        and outcome.events_sent >= _SUSTAINED * rate * outcome.seconds
    )


def is_in_time(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether the median of the runs is below the limit."""
    return median(outcome.latency_us.p99 for outcome in outcomes) < LIMIT_MS * 1000


def highest_rate(is_carried_at: Callable[[float], bool]) -> float:
    """Return the highest rate that is carried, to 5 %; 0 when none is.

    A rate has a second chance: what else the machine did may have spoilt the first.
    """
    good, bad = 0.0, _FIRST_RATE
    while is_carried_at(bad) or is_carried_at(bad):
        good, bad = bad, bad * _STEP
    while good and bad / good > _CLOSE_ENOUGH:
        middle = (good * bad) ** 0.5
        if is_carried_at(middle) or is_carried_at(middle):
            good = middle
        else:
            bad = middle
    return good


def measure(
    peer: Peer,
    *,
    clients: int = CLIENTS,
    runs: int = 5,
    note: Callable[[str], None] = lambda _: None,
) -> FanOut | None:
    """Search for the highest rate of a server and measure it there; None when it carries none.

    Args:
        peer: The server.
        clients: Open streams.
        runs: Runs at the highest rate.
        note: Told about every run.
    """

    def attempt(rate: float, seconds: float) -> Outcome:
        outcome = broadcast(peer, rate, clients=clients, warmup=0.5, seconds=seconds)
        note(
            f"{peer.name:<14} {rate:9.1f} events/s "
            f"{outcome.deliveries_per_second:11,.0f} deliveries/s "
            f"p99 {outcome.latency_us.p99 / 1000:8.1f} ms {outcome.missing(clients):8} missing "
            f"server {outcome.server_share:4.0%} load {outcome.load_share:4.0%} "
            f"{'; '.join(outcome.faults())}"
        )
        return outcome

    def is_carried_at(rate: float) -> bool:
        outcome = attempt(rate, 1.5)
        return is_complete(outcome, rate, clients) and is_in_time([outcome])

    rate = highest_rate(is_carried_at)
    while rate >= 1:
        outcomes: list[Outcome] = []
        while len(outcomes) < runs and is_complete(outcome := attempt(rate, 3.0), rate, clients):
            outcomes.append(outcome)
        if len(outcomes) == runs and is_in_time(outcomes):
            return _summary(peer, clients, rate, outcomes)
        rate *= _BACK_OFF  # what held for a moment did not hold for long
    return None


def _summary(peer: Peer, clients: int, rate: float, outcomes: Sequence[Outcome]) -> FanOut:
    deliveries = [outcome.deliveries_per_second for outcome in outcomes]
    return FanOut(
        peer.name,
        peer.version,
        clients,
        rate,
        median(deliveries),
        min(deliveries),
        max(deliveries),
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.server_share for outcome in outcomes),
        median(outcome.load_share for outcome in outcomes),
    )


def main() -> None:
    """Measure the servers that are named and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="print every run")
    options = parser.parse_args()
    print(f"{describe()}; {options.clients} clients, median of {options.runs} runs")
    print(
        f"{'server':<14} {'events/s':>9} {'deliveries/s':>13} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'CPU':>5} {'load':>5} {'ratio':>7}"
    )
    first: FanOut | None = None
    for name in names_among(options.servers):
        with running(name) as peer:
            if peer is None:
                continue
            found = measure(
                peer,
                clients=options.clients,
                runs=options.runs,
                note=print if options.verbose else lambda _: None,
            )
        if found is None:
            print(f"{name:<14} carries nothing with a p99 below {LIMIT_MS:.0f} ms")
            continue
        first = first or found
        ratio = first.deliveries_per_second / found.deliveries_per_second
        print(
            f"{name:<14} {found.rate:9.1f} {found.deliveries_per_second:13,.0f} "
            f"{found.p50_ms:7.1f} {found.p99_ms:7.1f} {found.server_share:5.0%} "
            f"{found.load_share:5.0%} {ratio:6.1f}x"
        )


if __name__ == "__main__":
    main()
