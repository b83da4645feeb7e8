"""Pictures of made-up figures."""

from collections.abc import Sequence

import pytest

from bench.fan_out import FanOut
from bench.latency import FixedLoad
from bench.reporting import plots
from bench.reporting.scenarios import SCENARIOS, Scenario
from tests.unit.bench.made_up_results import fan_out, fixed_load, results

DRAWN = [scenario for scenario in SCENARIOS if scenario.plot is not None]


@pytest.mark.parametrize("scenario", DRAWN, ids=lambda scenario: scenario.name)
def test_a_picture_is_a_png_that_depends_on_its_figures_only(scenario: Scenario[FanOut]) -> None:
    """Drawn twice it is the same bytes, so that a report changes only when a figure does."""
    figures = scenario.figures(results()[scenario.name])
    assert scenario.plot is not None

    first, second = scenario.plot.png(figures), scenario.plot.png(figures)

    assert b"\x89PNG\r\n\x1a\n" == first[:8]
    assert first == second


def test_bars_are_the_servers_and_their_figures() -> None:
    """Each server has a bar as long as its figure, the fastest first."""
    found = [fan_out("nchan", 75_000.0), fan_out("sseserver", 3_000_000.0)]

    axes = plots.deliveries(found).axes[0]

    assert ["sseserver", "nginx with nchan (C)"] == [
        label.get_text() for label in axes.get_yticklabels()
    ]
    assert [3_000_000.0, 75_000.0] == [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]  # a bar is a rectangle
    assert ["3,000,000", "75,000"] == [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([fixed_load("sseserver", 2.0)], ["20%"]),
        ([fixed_load("granian", 10.0, missing=5)], ["100%, overloaded"]),
    ],
)
def test_who_cannot_carry_the_load_is_marked(
    found: Sequence[FixedLoad], expected: list[str]
) -> None:
    """A server that loses events or delivers them after a second is overloaded."""
    axes = plots.processor_time(found).axes[0]

    assert expected == [text.get_text() for text in axes.texts]


def test_each_server_has_a_line_for_median_and_tail() -> None:
    """Over the deliveries that are due, a line for the p99 and one for the median."""
    found = [fixed_load("nchan", 4.0, rate=10.0), fixed_load("nchan", 5.0)]

    lines = plots.latency_over_load(found).axes[0].get_lines()

    assert [[8.0, 10.0], [4.0, 5.0]] == [list(line.get_ydata()) for line in lines[:2]]  # type: ignore[arg-type]  # a sequence of numbers
    assert [10_000.0, 50_000.0] == list(lines[0].get_xdata())  # type: ignore[arg-type]  # as above
