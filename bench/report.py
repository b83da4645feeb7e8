"""Measures every claim beside the peers and writes the report that the README quotes.

Scenarios run one after the other, each in steps; what fails, and who is not here, is said in the
report. Results are kept in `bench/report/results.json`, from which page, pictures and the figures
in the README are made.

    python -m bench.report [--quick] [--scenario NAME …]
    python -m bench.report --from bench/report/results.json
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.machine import LOAD_CORE, SERVER_CORE, allow_descriptors, describe, pin
from bench.peers import PeerFailedError, PeerMissingError
from bench.reporting import page, results
from bench.reporting.results import Part, Results
from bench.reporting.scenarios import SCENARIOS, Scenario
from bench.reporting.steps import Plan, Step
from bench.reporting.targets import TITLES, overall
from bench.servers import SERVERS

README: Final = Path(__file__).parent.parent / "README.md"
REPORT: Final = Path(__file__).parent / "report"
QUICK_REPORT: Final = Path(__file__).parent / "build" / "report"
"""A quick look is not what the README claims."""

RUNS: Final = 5
QUICK_RUNS: Final = 1

_REDRAWS_PER_SECOND: Final = 1.0
"""One takes the load client's core 0.6 ms."""
_PROBLEM_CHARACTERS: Final = 300

F = TypeVar("F")


class Display(NamedTuple):
    """What is shown while scenarios run.

    Attributes:
        begin: Told the name of a step that begins.
        end: Told for how many seconds the step was planned.
    """

    begin: Callable[[str], None]
    end: Callable[[float], None]


def measure(
    scenario: Scenario[F],
    steps: Sequence[Step[F]],
    display: Display,
    why_missing: Callable[[str], str],
) -> Part:
    """Do the steps of a scenario; what fails becomes a problem that the report names.

    Args:
        scenario: Which one.
        steps: Of it.
        display: Shows which step it is.
        why_missing: Says why a server is not here; nothing when it is.
    """
    began = time.monotonic()
    figures: list[F] = []
    problems: list[str] = []
    for step in steps:
        display.begin(f"{scenario.name}: {step.name}")
        if reason := why_missing(step.server):
            problems.append(f"{step.name} left out: {reason}")
        else:
            done, problem = _attempt(step)
            figures += done
            problems += [f"{step.name} {problem}"] if problem else []
        display.end(step.seconds)
    return Part(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        describe(),
        runs_in_words(steps),
        time.monotonic() - began,
        list(map(results.plain, figures)),
        list(dict.fromkeys(problems)),
    )


def runs_in_words(steps: Iterable[Step[Any]]) -> str:
    """Return how often steps were measured; who differs is named."""
    names: dict[str, list[str]] = {}
    for step in steps:
        how_often = "one run" if step.runs == 1 else f"median of {step.runs}"
        names.setdefault(how_often, []).append(step.name)
    if len(names) <= 1:
        return "".join(names)
    return "; ".join(f"{how_often}: {', '.join(some)}" for how_often, some in names.items())


def _attempt(step: Step[F]) -> tuple[list[F], str]:
    """Return the figures of a step, and its problem."""
    try:
        figures = step.work()
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, the others go on
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return [], f"failed: {words[-_PROBLEM_CHARACTERS:]}"
    carried = [figure for figure in figures if figure is not None]
    return carried, "" if len(carried) == len(figures) else "carries nothing in time"


def render(found: Results, folder: Path) -> None:
    """Write page and pictures into a folder, and into the README if they are the report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page.report(found), encoding="utf-8")
    for scenario in SCENARIOS:
        figures = scenario.figures(found.get(scenario.name))
        if scenario.plot is not None and figures:
            (folder / scenario.plot.file).write_bytes(scenario.plot.png(figures))
    if folder.resolve() == REPORT.resolve():
        README.write_text(in_readme(README.read_text(encoding="utf-8"), found), encoding="utf-8")


def in_readme(text: str, found: Results) -> str:
    """Return the text of the README with the figures that were measured."""
    text = page.with_section(text, "speed", page.speed(found))
    return page.with_section(text, "memory", page.memory(found))


@cache
def why_missing(server: str) -> str:
    """Return why a server cannot be measured here; nothing when it can.

    Whatever it needs is installed now, so that no measurement waits for it.
    """
    try:
        with SERVERS[server](SERVER_CORE):
            return ""
    except (PeerMissingError, PeerFailedError, OSError, SystemExit) as error:
        return str(error)


@contextmanager
def _display(console: Console, seconds: float) -> Iterator[Display]:
    """Show a bar for so many seconds of work; where there is no terminal, a line for each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %,"),
        TimeElapsedColumn(),
        TextColumn("gone, {task.fields[left]} min left"),
    )
    with Progress(
        *columns,
        console=console,
        refresh_per_second=_REDRAWS_PER_SECOND,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=seconds, left="")

        def begin(name: str) -> None:
            left = progress.tasks[bar].remaining or 0.0
            progress.update(bar, description=name, left=f"{left / 60:.0f}")
            if not console.is_terminal:
                console.print(name)

        yield Display(begin, lambda done: progress.advance(bar, done))


def _run(chosen: Sequence[Scenario[Any]], plan: Plan, path: Path, console: Console) -> None:
    """Measure scenarios; each is written when it is done, beside those that are there."""
    allow_descriptors()
    pin(LOAD_CORE)
    found = results.read(path)
    steps = [list(scenario.steps(plan)) for scenario in chosen]
    seconds = sum(step.seconds for some in steps for step in some)
    console.print(f"{describe()}; median of {plan.runs}, about {seconds / 60:.0f} minutes")
    with _display(console, seconds) as display:
        for scenario, some in zip(chosen, steps, strict=True):
            part = measure(scenario, some, display, why_missing)
            found[scenario.name] = part
            results.write(
                path, {one.name: found[one.name] for one in SCENARIOS if one.name in found}
            )
            console.print(f"{scenario.name}: {part.seconds:.0f} s", *part.problems, sep="\n  ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.report", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="each figure once, fewer peers, a page of its own in bench/build/report",
    )
    parser.add_argument("--runs", type=int, help=f"how often each figure is measured ({RUNS})")
    parser.add_argument(
        "--scenario",
        nargs="+",
        metavar="NAME",
        choices=[scenario.name for scenario in SCENARIOS],
        help="only these; what is known of others stays",
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="measure nothing: only render"
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the report goes")
    parser.add_argument("--verbose", action="store_true", help="print single runs")
    return parser


def main() -> None:
    """Measure, render, and say which targets are met."""
    options = _parser().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    if options.source is not None:
        render(results.read(options.source), options.output or options.source.parent)
        return
    folder: Path = options.output or (QUICK_REPORT if options.quick else REPORT)
    names = options.scenario or [scenario.name for scenario in SCENARIOS]
    plan = Plan(
        options.runs or (QUICK_RUNS if options.quick else RUNS),
        options.quick,
        console.print if options.verbose else lambda _: None,
    )
    path = folder / "results.json"
    try:
        _run([one for one in SCENARIOS if one.name in names], plan, path, console)
    finally:
        found = results.read(path)
        render(found, folder)
    for target, checks in page.judged(found).items():
        console.print(f"{target:<3} {overall(checks).strip('*'):<12} {TITLES[target]}")
    console.print(f"the report is in {folder / 'README.md'}")


if __name__ == "__main__":
    main()
