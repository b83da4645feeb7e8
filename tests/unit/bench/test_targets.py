"""What is asked of the figures, judged on made-up ones."""

from typing import Any

import pytest

from bench.last_values import LastValues
from bench.reporting import targets
from bench.reporting.page import judged
from bench.reporting.targets import TITLES, Check, Verdict, overall
from tests.unit.bench.made_up_results import (
    fan_out,
    figures,
    fixed_load,
    ingest_rate,
    memory,
    private_facts,
    results,
    slow_consumers,
    specification_load,
    storm,
)

MET, MISSED, UNKNOWN = Verdict.MET, Verdict.MISSED, Verdict.UNKNOWN
FAN_OUT = figures()["fan_out"]


def verdicts(**changed: list[Any]) -> dict[str, Verdict]:
    """Return the verdict on each target, where some scenarios had other figures."""
    return {target: overall(checks) for target, checks in judged(results(**changed)).items()}


def test_every_target_can_be_met() -> None:
    """Good figures of every scenario meet every target."""
    assert dict.fromkeys(TITLES, MET) == verdicts()


def test_without_figures_nothing_is_met() -> None:
    """What was not measured is said to be so, and not that it is met."""
    checks = judged({})

    assert dict.fromkeys(TITLES, UNKNOWN) == {
        target: overall(some) for target, some in checks.items()
    }


@pytest.mark.parametrize(
    ("target", "scenario", "found"),
    [
        pytest.param("T1", "fan_out", [fan_out("sseserver", 1.9e6), *FAN_OUT[1:]], id="too few"),
        pytest.param("T1", "fan_out", [*FAN_OUT[:3], fan_out("send-loop", 4e5)], id="C is near"),
        pytest.param(
            "T2", "latency", [fixed_load("sseserver", 4.1), fixed_load("nchan", 4.0)], id="slower"
        ),
        pytest.param(
            "T2",
            "latency",
            [fixed_load("sseserver", 2.0, missing=1), fixed_load("nchan", 4.0)],
            id="one delivery lost",
        ),
        pytest.param("T3", "specification_load", [specification_load(12, p99_ms=110.0)], id="late"),
        pytest.param("T4", "private_facts", [private_facts(9e4)], id="too few orders"),
        pytest.param("T5", "ingest_rate", [ingest_rate(2e5, is_carried=False)] * 2, id="not taken"),
        pytest.param("T5", "last_values", [LastValues(4e5, "", 3)], id="an old price stays"),
        pytest.param(
            "T6",
            "compression_throughput",
            [fan_out("sseserver gzip", 9e4), fan_out("express-gzip", 2e4)],
            id="a compressor each is near",
        ),
        pytest.param("T7", "memory", [memory("sseserver", "plain", 4.1, 4.0)], id="too large"),
        pytest.param("T8", "storm", [storm("sseserver", 5_999.0)], id="let in too slowly"),
        pytest.param("T9", "slow_consumers", [slow_consumers("sseserver", 2.5)], id="others wait"),
    ],
)
def test_one_bad_figure_misses_its_target(target: str, scenario: str, found: list[Any]) -> None:
    """A target is missed by the figure that is asked for, and no other target by it."""
    found_missed = {
        it for it, verdict in verdicts(**{scenario: found}).items() if verdict is MISSED
    }

    assert {target} == found_missed


def test_a_peer_that_is_not_here_leaves_the_ratio_open() -> None:
    """Without the peer there is no ratio, and the target is not called met."""
    found = targets.fan_out([fan_out("sseserver", 3e6), fan_out("nchan", 7.5e4)])

    assert [
        Check("deliveries/s", "≥ 2,000,000", "3,000,000", MET),
        Check("times nginx with nchan (C)", "≥ 20", "40.0", MET, "nchan 75,000/s"),
        Check("times better-sse (Node.js)", "≥ 20", "", UNKNOWN),
        Check("times C, a send() per event", "≥ 10", "", UNKNOWN),
    ] == found
    assert UNKNOWN is overall(found)


def test_the_rate_that_counts_is_the_highest_that_was_carried() -> None:
    """A search that found more than the claim shows it; the latency is that at the claim."""
    found = targets.ingest([ingest_rate(2e5), ingest_rate(2.6e5)])

    assert [
        Check("quotes/s accepted", "≥ 200,000", "260,000", MET),
        Check("p99 at 200,000", "< 120 ms", "105.0 ms", MET),
    ] == found


def test_what_was_lost_is_named() -> None:
    """Lost deliveries and faults stand in the report beside what is asked."""
    found = targets.latency([fixed_load("sseserver", 2.0, missing=7), fixed_load("nchan", 4.0)])

    assert Check("nothing lost or out of order", "0", "7 lost", MISSED) == found[-1]
