"""The run of scenarios and what becomes of their results, with steps that measure nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench import report
from bench.latency import FixedLoad
from bench.reporting import page, results
from bench.reporting.results import Part
from bench.reporting.scenarios import LATENCY, SCENARIOS
from bench.reporting.steps import Plan, Step
from tests.unit.bench import made_up_results
from tests.unit.bench.made_up_results import fixed_load

FIGURE = fixed_load("sseserver", 2.0)


def fails() -> list[FixedLoad]:
    """Fail as a server does that does not start."""
    raise SystemExit("the address\nis taken")


def measured(*steps: Step[FixedLoad], missing: dict[str, str] | None = None) -> Part:
    """Return the part of a scenario of these steps."""
    return report.measure(
        LATENCY,
        steps,
        report.Display(lambda _: None, lambda _: None),
        lambda server: (missing or {}).get(server, ""),
    )


def step(
    server: str,
    work: Callable[[], Sequence[FixedLoad | None]] = lambda: [FIGURE],
    *,
    runs: int = 3,
) -> Step[FixedLoad]:
    """Return a step that does not take long."""
    return Step(server, "", runs, 1.0, work)


def test_figures_are_kept_in_the_words_of_json() -> None:
    """What a step gives can be read back from the results as it was."""
    part = measured(step("sseserver"), step("nchan", lambda: [FIGURE, FIGURE]))

    assert [FIGURE] * 3 == LATENCY.figures(part)
    assert ("median of 3", []) == (part.runs, part.problems)


def test_a_step_that_fails_is_said_and_takes_no_other_with_it() -> None:
    """Steps before and after a failure count, and the report says what failed."""
    part = measured(step("sseserver"), step("nchan", fails), step("express"))

    assert [FIGURE, FIGURE] == LATENCY.figures(part)
    assert ["nchan failed: SystemExit: the address is taken"] == part.problems


def test_a_server_that_is_not_here_is_left_out() -> None:
    """Its steps are not tried, and the report says why."""
    part = measured(step("nchan", fails), step("sseserver"), missing={"nchan": "no nginx"})

    assert [FIGURE] == LATENCY.figures(part)
    assert ["nchan left out: no nginx"] == part.problems


def test_a_server_that_carries_nothing_has_no_figure() -> None:
    """A search that finds no rate is no failure, but is said."""
    part = measured(step("granian", lambda: [None]))

    assert ([], ["granian carries nothing in time"]) == (part.figures, part.problems)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([1, 1], "one run"),
        ([5, 5], "median of 5"),
        ([5, 1], "median of 5: server 0; one run: server 1"),
    ],
)
def test_how_often_steps_were_measured(runs: list[int], expected: str) -> None:
    """Where all were measured alike the number is enough; otherwise each is named."""
    steps = [step(f"server {number}", runs=count) for number, count in enumerate(runs)]

    assert expected == report.runs_in_words(steps)


def test_results_are_what_was_written(tmp_path: Path) -> None:
    """A file of results gives the results back; without one there are none."""
    path = tmp_path / "new" / "results.json"
    found = made_up_results.results()

    before = results.read(path)
    results.write(path, found)

    assert ({}, found) == (before, results.read(path))


def test_a_report_is_a_page_with_its_pictures(tmp_path: Path) -> None:
    """Rendering needs results only, and writes everything that the page shows."""
    report.render(made_up_results.results(), tmp_path)

    assert ["README.md", "cpu.png", "deliveries.png", "latency.png", "memory.png"] == sorted(
        path.name for path in tmp_path.iterdir()
    )


def test_a_report_of_nothing(tmp_path: Path) -> None:
    """Before anything was measured there is a page without pictures."""
    report.render({}, tmp_path)

    assert ["README.md"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("plan", "minutes"),
    [(Plan(report.RUNS, is_quick=False), 31), (Plan(report.QUICK_RUNS, is_quick=True), 15)],
    ids=["full", "quick"],
)
def test_a_run_is_planned_within_its_time(plan: Plan, minutes: int) -> None:
    """All steps together are planned for about half an hour, in a quick run half of it."""
    seconds = sum(step.seconds for scenario in SCENARIOS for step in scenario.steps(plan))

    assert seconds <= 60 * minutes


def test_the_readme_quotes_the_report() -> None:
    """README and report say what the results say: `python -m bench.report --from` renders them."""
    found = results.read(report.REPORT / "results.json")
    readme = report.README.read_text(encoding="utf-8")

    assert report.in_readme(readme, found) == readme
    assert page.report(found) == (report.REPORT / "README.md").read_text(encoding="utf-8")
