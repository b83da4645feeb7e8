"""Claim: 100,000 different orders a second reach 1000 users, each within 100 ms, none lost.

Each user has a session and one stream of orders, and gets 100 of them a second: nothing is
shared, each event is validated, stored, kept for replay and encoded for one connection. First
the rate of the claim, then faster and faster: a rate is carried while every order that was due
is sent, reaches exactly one client, with IDs that rise, and 99 of a hundred take less than
100 ms from when they were due.

    python -m bench.private_facts [--runs 5]
"""

import argparse
import json
import socket
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench.load import MOMENT, Load, Outcome, run
from bench.machine import describe
from bench.neighbours import OthersTime
from bench.search import are_carried, highest_runs, noted, runs_at
from bench.sseserver import HOST, MeasuredServer, measured_server, stream_request

USERS: Final = 1000
TARGET: Final = 100_000.0
LIMIT_MS: Final = 100.0

_ORDERS: Final = "/api/stream/orders"
_ORDERS_PER_USER: Final = 10
_MARK: Final = '"reason":"'
_STATUSES: Final = ("accepted", "partially_filled")

_SUSTAINED: Final = 0.98


class Attempt(NamedTuple):
    """One run at one rate, with what the server itself counted."""

    rate: float
    outcome: Outcome
    published: int
    others_share: float

    @property
    def is_carried(self) -> bool:
        """Whether every order that was due reached one client, in order and in time."""
        outcome = self.outcome
        return (
            not outcome.faults()
            and outcome.connected == USERS
            and outcome.missing(1) == 0
            and self.published == outcome.events_sent_total
            and outcome.events_sent >= _SUSTAINED * self.rate * outcome.seconds
            and outcome.latency_us.p99 < LIMIT_MS * 1000
        )


class PrivateFacts(msgspec.Struct, frozen=True):
    """What the server did at one rate: medians over the runs."""

    users: int
    rate: float
    deliveries_per_second: float
    p50_ms: float
    p99_ms: float
    server_share: float
    load_share: float
    missing: int
    is_carried: bool
    faults: list[str]


def put_sessions(server: MeasuredServer) -> None:
    """Let every user in."""
    lines = [
        json.dumps({"op": "session.put", "ref": 1, "sessionId": session(number), "userId": user})
        for number, user in enumerate(map(user_id, range(USERS)))
    ]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as feed:
        feed.connect(server.ingest_path)
        feed.sendall("".join(f"{line}\n" for line in lines).encode("ascii"))
        answers = feed.makefile("rb")
        assert all(json.loads(answers.readline())["ok"] for _ in lines), "a session was refused"


def user_id(number: int) -> str:
    """Return the ID of a user."""
    return f"user-{number:04}"


def session(number: int) -> str:
    """Return the session ID of a user."""
    return f"session-of-user-{number:04}"


def order_line(user: str, order: int) -> bytes:
    """Render a change of an order for the ingest port."""
    status = _STATUSES[order % len(_STATUSES)]
    return (
        f'{{"type":"order:update","userId":"{user}","data":{{"orderId":"{user}-{order}",'
        f'"symbol":"S{order:03}","side":"buy","qty":100,"status":"{status}",'
        f'"filledQty":{order * 10},"filledAvgPrice":{100 + order}.25,"limitPrice":{101 + order}.5,'
        f'{_MARK}{MOMENT}"}}}}\n'
    ).encode("ascii")


def load(server: MeasuredServer, rate: float, *, warmup: float = 1.0, seconds: float = 3.0) -> Load:
    """Return the load of all users: their streams, and so many orders a second, in turn.

    The sessions must have been put.
    """
    return Load(
        HOST,
        server.port,
        [stream_request(_ORDERS, session=session(number)) for number in range(USERS)],
        feed=f"unix:{server.ingest_path}",
        messages=[
            order_line(user_id(number), order)
            for order in range(_ORDERS_PER_USER)
            for number in range(USERS)
        ],
        mark=_MARK,
        rate=rate,
        warmup=warmup,
        seconds=seconds,
        drain=2.0,
        fan_out=1,
        checks_ids=True,
    )


def attempt(rate: float, *, seconds: float = 1.5) -> Attempt:
    """Run a new server at a rate."""
    with measured_server() as server:
        put_sessions(server)
        others = OthersTime(server.processes)
        outcome = run(load(server, rate, seconds=seconds), server.processes)
        others_share = others.share()
        published = server.counters()['sseserver_published_events_total{type="order:update"}']
        return Attempt(rate, outcome, round(published), others_share)


def measure(
    rate: float = TARGET, *, runs: int = 5, note: Callable[[Attempt], None] = lambda _: None
) -> PrivateFacts:
    """Measure the server at a rate.

    Args:
        rate: Orders a second, to all users together.
        runs: How often.
        note: Told about every run.
    """
    return _summary(rate, runs_at(rate, noted(attempt, note), runs))


def measure_highest(
    *, runs: int = 5, note: Callable[[Attempt], None] = lambda _: None
) -> PrivateFacts | None:
    """Search for the highest rate that is carried and measure it; None when there is none.

    Args:
        runs: Runs at the highest rate.
        note: Told about every run.
    """
    found = highest_runs(noted(attempt, note), runs)
    return None if found is None else _summary(*found)


def _summary(rate: float, attempts: Sequence[Attempt]) -> PrivateFacts:
    outcomes = [done.outcome for done in attempts]
    return PrivateFacts(
        USERS,
        rate,
        median(outcome.deliveries_per_second for outcome in outcomes),
        median(outcome.latency_us.p50 for outcome in outcomes) / 1000,
        median(outcome.latency_us.p99 for outcome in outcomes) / 1000,
        median(outcome.server_share for outcome in outcomes),
        median(outcome.load_share for outcome in outcomes),
        sum(outcome.missing(1) for outcome in outcomes),
        are_carried(attempts),
        [fault for outcome in outcomes for fault in outcome.faults()],
    )


def _print_attempt(done: Attempt) -> None:
    outcome = done.outcome
    print(
        f"{done.rate:11,.0f} orders/s: {outcome.events_sent / outcome.seconds:11,.0f} sent, "
        f"{outcome.missing(1)} missing, p99 {outcome.latency_us.p99 / 1000:6.1f} ms, "
        f"lag {outcome.feed_lag_ms_max:6.1f} ms, server {outcome.server_share:4.0%} "
        f"load {outcome.load_share:4.0%} others {done.others_share:4.0%} "
        f"{'carried' if done.is_carried else 'not carried'} {'; '.join(outcome.faults())}"
    )


def _print(title: str, found: PrivateFacts) -> None:
    print(
        f"{title:<12} {found.rate:9,.0f} {found.deliveries_per_second:12,.0f} "
        f"{found.p50_ms:7.1f} {found.p99_ms:7.1f} {found.server_share:5.0%} "
        f"{found.load_share:5.0%} {found.missing:8}  "
        f"{'carried' if found.is_carried else 'not carried'} {'; '.join(found.faults)}"
    )


def main() -> None:
    """Measure the server and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--verbose", action="store_true", help="print every run")
    options = parser.parse_args()
    note = _print_attempt if options.verbose else lambda _: None
    print(f"{describe()}; {USERS} users, median of {options.runs} runs")
    print(
        f"{'':<12} {'orders/s':>9} {'delivered/s':>12} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'CPU':>5} {'load':>5} {'missing':>8}"
    )
    _print("claim", measure(runs=options.runs, note=note))
    highest = measure_highest(runs=options.runs, note=note)
    if highest is None:
        print(f"no rate is carried with a p99 below {LIMIT_MS:.0f} ms")
    else:
        _print("highest rate", highest)


if __name__ == "__main__":
    main()
