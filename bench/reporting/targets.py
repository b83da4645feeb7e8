"""What is asked of the figures, and whether they reach it.

Each function judges the figures of one scenario. What is compared with a peer is compared with
what the peer did in the same run, on the same machine.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from operator import ge, le, lt
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from bench import ingest_rate, private_facts, specification_load
from bench.compression import LARGEST_COST, SMALLEST_GAIN, Cost, Saving
from bench.fan_out import FanOut
from bench.ingest_rate import IngestRate
from bench.last_values import LastValues
from bench.latency import FixedLoad
from bench.lone_event import LoneEvent
from bench.memory import Memory
from bench.private_facts import PrivateFacts
from bench.reporting.names import of_server
from bench.slow_consumers import LARGEST_RATIO, SlowConsumers
from bench.specification_load import SpecificationLoad
from bench.storm import StormOutcome

TITLES: Final = {
    "T1": "Prices to 1000 clients, as fast as a p99 below 100 ms allows",
    "T2": "50 prices a second to 1000 clients: not above nginx with nchan",
    "T3": "The specified load: 1000 clients, 100 symbols, 5000 quotes a second",
    "T4": "100 orders a second to each of 1000 users, all different",
    "T5": "Quotes of 500 symbols for 1000 clients with 20 symbols each",
    "T6": "gzip and zstd",
    "T7": "Memory of an idle connection, of 10,000",
    "T8": "5000 clients connect at once, with replay and snapshot",
    "T9": "20 of 200 clients stop reading",
    "T10": "A lone event",
}
"""The targets, in the order of the report."""

WHY_MISSED: Final[dict[str, str]] = {
    "T4": (
        "An order costs some 15 µs of the core, and 100,000 a second leave 10. No part of it "
        "stands out: with everything in the caches decoding takes 0.7, payload and encoding 0.9, "
        "state 1.1, event, ID and replay buffer 2.7 and its share of a write 2; the rest is many "
        "small steps of Python, and the caches (the same code takes 10 µs with 10 users and their "
        "buffers, 14 with 1000)."
    ),
    "T7": (
        "A private stream has an audience and a user of its own, which nobody shares: the "
        "connection itself takes 1.0 KiB, the audience 0.6, and the dictionaries that hold one "
        "entry each (CPython takes 232 bytes for the first) 1.3. Where streams are shared, "
        "as prices are, a connection stays far below."
    ),
    "T8": (
        "An opening takes some 310 to 360 µs of the core, and 6,000 a second leave 167. On a "
        "transport that does nothing, head to snapshot takes 185 µs of Python, of which 45 are "
        "h11's, 25 routing's and its checks', 12 the log line's and the rest the opening's in "
        "small steps; accepting, the event loop and the kernel take the others. Peers send "
        "neither replay nor snapshot."
    ),
}
"""By target, what keeps it from being met; shown while it is missed."""

_DELIVERIES: Final = 2_000_000
_DELIVERY_RATIOS: Final = {"nchan": 20, "better-sse": 20, "send-loop": 10}
_REFERENCE: Final = "nchan"
_OPENED_PER_SECOND: Final = 6_000
_CONNECTED_P99_MS: Final = 200
_GROWN_MIB_EACH: Final = 1.0
"""Of a client that stopped reading: four times `limits.max_backlog_bytes`, as memory that is
freed is not all given back."""
_LONE_EVENT_US: Final = 1_000


_RELATIONS: Final = {"≥": ge, "≤": le, "<": lt}


class Verdict(StrEnum):
    """Whether a target is reached."""

    MET = "met"
    MISSED = "**missed**"
    UNKNOWN = "not measured"


class Check(NamedTuple):
    """One figure beside its target.

    Attributes:
        claim: What is asked.
        target: The limit.
        figure: What was measured.
        beside: What peers did.
        verdict: Whether the figure reaches the target.
    """

    claim: str
    target: str
    figure: str
    verdict: Verdict
    beside: str = ""


class _OfServer(Protocol):
    @property
    def server(self) -> str: ...


_S = TypeVar("_S", bound=_OfServer)


def overall(checks: Iterable[Check]) -> Verdict:
    """Return the verdict on a target: missed by one figure, it is missed."""
    verdicts = {check.verdict for check in checks} or {Verdict.UNKNOWN}
    for verdict in (Verdict.MISSED, Verdict.UNKNOWN):
        if verdict in verdicts:
            return verdict
    return Verdict.MET


def fan_out(found: Sequence[FanOut]) -> list[Check]:
    """Judge the highest rates of a broadcast."""
    ours = _of(found, "sseserver")
    mine = None if ours is None else ours.deliveries_per_second
    checks = [_check("deliveries/s", mine, "≥", _DELIVERIES, "{:,.0f}")]
    for name, factor in _DELIVERY_RATIOS.items():
        peer = _of(found, name)
        theirs = None if peer is None else peer.deliveries_per_second
        beside = "" if theirs is None else f"{name} {theirs:,.0f}/s"
        checks.append(
            _check(f"times {of_server(name)}", _ratio(mine, theirs), "≥", factor, "{:.1f}", beside)
        )
    return checks


def latency(found: Sequence[FixedLoad]) -> list[Check]:
    """Judge the way of one event under a fixed load."""
    ours, peer = _of(found, "sseserver"), _of(found, _REFERENCE)
    if ours is None or peer is None:
        return [Check(f"p50, p99, CPU beside {_REFERENCE}", "", "", Verdict.UNKNOWN)]
    beside = f"{_REFERENCE} {peer.version}"
    return [
        _check("p50", ours.p50_ms, "≤", peer.p50_ms, "{:.2f} ms", beside),
        _check("p99", ours.p99_ms, "≤", peer.p99_ms, "{:.2f} ms", beside),
        _check("CPU", ours.server_share, "≤", peer.server_share, "{:.1%}", beside),
        *_losses([ours]),
    ]


def specified_load(found: Sequence[SpecificationLoad]) -> list[Check]:
    """Judge the load of the specification."""
    checks: list[Check] = []
    for one in found:
        whose = f"{one.symbols_each} symbols each"
        checks += [
            _check(f"p99, {whose}", one.p99_ms, "<", specification_load.LIMIT_MS, "{:.1f} ms"),
            _check(
                f"CPU, {whose}", one.server_share, "<", specification_load.LIMIT_SHARE, "{:.0%}"
            ),
        ]
    return [*checks, *_losses(found)]


def private(found: Sequence[PrivateFacts]) -> list[Check]:
    """Judge private events: the first figure is at the rate of the claim, the second higher."""
    highest = max((one.rate if one.is_carried else 0.0 for one in found), default=None)
    at_target = found[0] if found else None
    return [
        _check("orders/s sustained", highest, "≥", private_facts.TARGET, "{:,.0f}"),
        _check(
            f"p99 at {private_facts.TARGET:,.0f}",
            None if at_target is None else at_target.p99_ms,
            "<",
            private_facts.LIMIT_MS,
            "{:.1f} ms",
        ),
        *_losses(found[:1]),
    ]


def ingest(found: Sequence[IngestRate]) -> list[Check]:
    """Judge the ingest rate: the first figure is at the rate of the claim, the second higher."""
    highest = max((one.rate if one.is_carried else 0.0 for one in found), default=None)
    at_target = found[0] if found else None
    return [
        _check("quotes/s accepted", highest, "≥", ingest_rate.TARGET, "{:,.0f}"),
        _check(
            f"p99 at {ingest_rate.TARGET:,.0f}",
            None if at_target is None else at_target.p99_ms,
            "<",
            ingest_rate.LIMIT_MS,
            "{:.1f} ms",
        ),
        *_losses(found[:1]),
    ]


def last_values(found: Sequence[LastValues]) -> list[Check]:
    """Judge what clients have in the end, when quotes came faster than they could be taken."""
    missing = sum(one.missing for one in found) if found else None
    return [_check("last values missing after a flood", missing, "≤", 0, "{:.0f}")]


def compression_cost(found: Sequence[Cost]) -> list[Check]:
    """Judge the processor time of each coding beside that of plain events."""
    compressed = [one for one in found if one.coding != "identity"]
    return [
        *(
            _check(
                f"CPU, times that of plain, {one.coding}", one.ratio, "≤", LARGEST_COST, "{:.2f}"
            )
            for one in compressed
        ),
        *_losses(found),
    ]


def compression_savings(found: Sequence[Saving]) -> list[Check]:
    """Judge the bytes that each coding saves, where there is a target for it."""
    return [
        *(
            _check(
                f"bytes saved, {one.coding}, {one.payload}", one.saved, "≥", one.target, "{:.0%}"
            )
            for one in found
            if one.target is not None
        ),
        *_losses(found),
    ]


def compression_throughput(found: Sequence[FanOut]) -> list[Check]:
    """Judge compressed broadcasts beside a server with a compressor for each connection."""
    ours = [one for one in found if one.server.startswith("sseserver")]
    peers = [one for one in found if one not in ours]
    return [
        _check(
            f"times {of_server(peer.server)}, {one.server.removeprefix('sseserver ')}",
            _ratio(one.deliveries_per_second, peer.deliveries_per_second),
            "≥",
            SMALLEST_GAIN,
            "{:.1f}",
            f"{peer.server} {peer.deliveries_per_second:,.0f}/s",
        )
        for peer in peers
        for one in ours
    ] or [Check("times a compressor for each connection", "", "", Verdict.UNKNOWN)]


def memory(found: Sequence[Memory]) -> list[Check]:
    """Judge what a connection costs."""
    beside = ", ".join(
        f"{one.server} {one.kib_each:.1f}" for one in found if one.server != "sseserver"
    )
    return [
        _check(f"{one.kind}", one.kib_each, "≤", one.target_kib, "{:.1f} KiB", beside)
        for one in found
        if one.target_kib is not None
    ]


def storm(found: Sequence[StormOutcome]) -> list[Check]:
    """Judge how fast many are let in, and what the others notice."""
    ours = _of(found, "sseserver")
    return [
        _check(
            "opened/s",
            None if ours is None else ours.opened_per_second,
            "≥",
            _OPENED_PER_SECOND,
            "{:,.0f}",
            _beside(found, lambda one: f"{one.opened_per_second:,.0f}/s"),
        ),
        _check(
            "p99 of those already connected",
            None if ours is None else ours.connected_p99_ms,
            "<",
            _CONNECTED_P99_MS,
            "{:.0f} ms",
            _beside(found, lambda one: f"{one.connected_p99_ms:.0f} ms"),
        ),
        *_losses([] if ours is None else [ours]),
    ]


def slow_consumers(found: Sequence[SlowConsumers]) -> list[Check]:
    """Judge what those who read notice of those who do not."""
    ours = _of(found, "sseserver")
    return [
        _check(
            "p99 of the others, times that without them",
            None if ours is None else ours.ratio,
            "≤",
            LARGEST_RATIO,
            "{:.2f}",
            _beside(found, lambda one: f"{one.ratio:.2f}"),
        ),
        _check(
            "memory grown by",
            None if ours is None else ours.grown_mib,
            "≤",
            _GROWN_MIB_EACH * (20 if ours is None else ours.stalled),
            "{:.0f} MiB",
            _beside(found, lambda one: f"{one.grown_mib:.0f} MiB"),
        ),
        *_losses([] if ours is None else [ours]),
    ]


def lone_event(found: Sequence[LoneEvent]) -> list[Check]:
    """Judge the way of an event when nothing else goes on."""
    ours = [one for one in found if one.server == "sseserver"]
    return [
        *(
            _check(
                f"median, {one.clients} {'client' if one.clients == 1 else 'clients'}",
                one.p50_us,
                "<",
                _LONE_EVENT_US,
                "{:,.0f} µs",
                ", ".join(
                    f"{other.server} {other.p50_us:,.0f}"
                    for other in found
                    if other.clients == one.clients and other is not one
                ),
            )
            for one in ours
        ),
        *_losses(ours),
    ]


def _losses(found: Sequence[Any]) -> list[Check]:
    """Return a check that fails when something was lost that must not be, at any speed."""
    lost = sum(getattr(one, "missing", 0) + getattr(one, "not_accepted", 0) for one in found)
    faults = [fault for one in found for fault in one.faults]
    if not lost and not faults:
        return []
    words = [f"{lost} lost"] if lost else []
    return [Check("nothing lost or out of order", "0", "; ".join(words + faults), Verdict.MISSED)]


def _check(
    claim: str, value: float | None, relation: str, limit: float, form: str, beside: str = ""
) -> Check:
    target = f"{relation} {_without_zeros(form.format(limit))}"
    if value is None:
        return Check(claim, target, "", Verdict.UNKNOWN, beside)
    is_met = _RELATIONS[relation](value, limit)
    return Check(
        claim, target, form.format(value), Verdict.MET if is_met else Verdict.MISSED, beside
    )


def _without_zeros(number: str) -> str:
    """Return a round number as it is said: 20, not 20.0."""
    return re.sub(r"\.0+(?!\d)", "", number)


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _of(found: Iterable[_S], server: str) -> _S | None:
    return next((one for one in found if one.server == server), None)


def _beside(found: Iterable[_S], figure: Callable[[_S], str]) -> str:
    return ", ".join(f"{one.server} {figure(one)}" for one in found if one.server != "sseserver")
