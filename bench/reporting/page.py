"""Results as Markdown: the page of the report, and the sections of the README that show figures."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from bench.latency import FixedLoad
from bench.reporting.names import of_connection, of_server
from bench.reporting.results import Part, Results
from bench.reporting.scenarios import FAN_OUT, LATENCY, MEMORY, SCENARIOS, Scenario
from bench.reporting.steps import is_overloaded
from bench.reporting.targets import TITLES, WHY_MISSED, Check, Verdict, overall

_HEADINGS: Final = {
    "conflated_share": "conflated",
    "deliveries_per_second": "deliveries/s",
    "events_per_client_per_second": "events/s to each",
    "grown_mib_without": "without, MiB",
    "is_carried": "carried",
    "load_share": "CPU of the load client",
    "others_share": "others on its core",
    "p50_ms_without": "p50 without, ms",
    "p99_ms_without": "p99 without, ms",
    "p999_ms": "p99.9, ms",
    "rate": "rate, /s",
    "server_share": "CPU",
    "target_kib": "target, KiB",
}
_UNITS: Final = {
    "_per_second": "/s",
    "_ms": ", ms",
    "_us": ", µs",
    "_mib": ", MiB",
    "kib_each": "KiB each",
}
_FORMATS: Final = {
    "_per_second": ",.0f",
    "_share": ".1%",
    "_ms": ",.2f",
    "_ms_without": ",.2f",
    "_us": ",.0f",
    "_mib": ".1f",
    "_mib_without": ".1f",
    "kib_each": ".1f",
    "rate": ",.0f",
    "ratio": ".2f",
    "saved": ".0%",
    "target": ".0%",
    "target_kib": "g",
}
"""By the end of a field's name, its unit and how its value is written."""


CONDITIONS: Final = (
    "What the figures are of: where every price is to be delivered, "
    "`batching.threshold_per_second` is raised; at its default the server conflates above 1000 "
    "prices a second, as it is made to. Where it conflates, latency is that of what is sent: the "
    "newest of each symbol. The C loop leaves the load client no time, so it may do more. Express "
    "compresses with gzip, beside both codings. In a storm the peers send neither replay nor "
    "snapshot. Memory is what is resident of the process, without the kernel's buffers; for "
    "private gzip streams `compression.max_contexts` allows one each, or none. What others on the "
    "machine took of the server's core stands beside each figure in the report."
)
"""What a reader would otherwise take for granted."""

_WIDTH: Final = 120
_LOAD_LIMIT: Final = 0.95

_is_number: Final = re.compile(r"(1/)?[\d,.]+ ?(%|ms|µs)?|overloaded").fullmatch


def report(results: Results) -> str:
    """Return the page: targets first, then every scenario with all its figures."""
    lines = [*_introduction(results), *_targets(results), *_scenarios(results)]
    return "\n".join([*lines, ""])


def speed(results: Results) -> str:
    """Return what the README says about speed: servers side by side, then the targets."""
    introduction = (
        f"Measured {_dates(results)} on {_machines(results)}: the server has one core, the load "
        "client the other. `sseserver` does all that it always does: it validates, redacts, "
        "numbers and counts each event, keeps private ones for replay and the last of each price. "
        f"`make bench` measures anew, in about {_minutes(results)} minutes (it needs a C compiler, "
        "and for the peers nginx with nchan and Node.js); "
        "[the report](bench/report/README.md) has every figure."
    )
    explanation = (
        "Deliveries: as many as are possible with every event delivered, 99 of 100 within 100 ms "
        f"of when they were due ({_runs(results, FAN_OUT.name)}). Latency and CPU: at 50 events a "
        f"second to each client ({_runs(results, LATENCY.name)})."
    )
    lines = [
        _paragraph(introduction),
        "",
        *_table(["1000 clients", "deliveries/s", "", "p50", "p99", "CPU"], _servers(results)),
        "",
        _paragraph(explanation),
        "",
        "![Deliveries a second of each server](bench/report/deliveries.png)",
        "",
        *_table(["what is asked", "measured (asked)", ""], _summaries(results)),
        "",
        _paragraph(CONDITIONS),
    ]
    return "\n".join(lines)


def memory(results: Results) -> str:
    """Return what the README says about memory."""
    part = results.get(MEMORY.name)
    ours = [one for one in MEMORY.figures(part) if one.server == "sseserver"]
    if part is None or not ours:
        return "Memory was not measured."
    lines = [
        f"Memory, measured by `make bench` ({part.machine}; {ours[0].connections:,} connections):",
        "",
        *_table(
            ["idle connection", "KiB each"],
            [[of_connection(one.kind), f"{one.kib_each:.1f}"] for one in ours],
        ),
    ]
    return "\n".join(lines)


def with_section(text: str, name: str, content: str) -> str:
    """Return a text with the content between two marks replaced.

    Args:
        text: Of the README.
        name: Of the section, which stands in its marks.
        content: What is to stand there now.

    Raises:
        ValueError: The text has no such section.
    """
    begin, end = f"<!-- {name}: written by make bench -->", f"<!-- end of {name} -->"
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise ValueError(f"there is no section {begin} … {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def judged(results: Results) -> dict[str, list[Check]]:
    """Return the figures that are asked for, by target."""
    checks: dict[str, list[Check]] = {target: [] for target in TITLES}
    for one in SCENARIOS:
        if one.target:
            checks[one.target] += one.judge(one.figures(results.get(one.name)))
    return checks


def _introduction(results: Results) -> Iterator[str]:
    yield "# Speed"
    yield ""
    yield _paragraph(
        "Written by `make bench` from [results.json](results.json). Each server runs on one core, "
        "the load client, which is written in C, on another. "
        "`.venv/bin/python -m bench.report --scenario NAME` measures one alone, and writes it here."
    )
    yield ""
    yield _paragraph(CONDITIONS)
    yield ""
    yield f"- machine: {_machines(results)}"
    yield f"- measured: {_dates(results)}, in {_minutes(results)} minutes"
    yield ""


def _targets(results: Results) -> Iterator[str]:
    yield "## What is asked"
    yield ""
    lines: list[list[str]] = []
    for target, checks in judged(results).items():
        lines.append([f"**{target}**", f"**{TITLES[target]}**", "", "", "", overall(checks)])
        lines += [
            ["", check.claim, check.target, check.figure, check.beside, check.verdict]
            for check in checks
        ]
    yield from _table(["", "what", "asked", "measured", "beside", ""], lines)
    for target, checks in judged(results).items():
        if overall(checks) is Verdict.MISSED and target in WHY_MISSED:
            yield ""
            yield _paragraph(f"**{target}**: {WHY_MISSED[target]}")


def _scenarios(results: Results) -> Iterator[str]:
    for one in SCENARIOS:
        part = results.get(one.name)
        yield ""
        yield f"## {one.title}"
        yield ""
        if part is None:
            yield f"Not measured: `python -m bench.report --scenario {one.name}`."
            continue
        figures = one.figures(part)
        if part.figures and not figures:
            yield f"Measured by an older bench: `python -m bench.report --scenario {one.name}`."
            continue
        yield from _figures(one, figures)
        if figures and one.plot is not None:
            yield f"![{one.plot.description}]({one.plot.file})"
            yield ""
        yield f"`{one.name}`, {part.when} UTC, {part.runs}, {part.seconds:.0f} s."
        yield from (f"- {problem}" for problem in (*part.problems, *_at_limit(figures)))


def _figures(one: Scenario[Any], figures: Sequence[Any]) -> Iterator[str]:
    """Yield a table of all figures, without the columns that are empty in each."""
    if not figures:
        return
    fields = one.columns.split()
    cells = {field: [cell(field, getattr(figure, field)) for figure in figures] for field in fields}
    shown = {field: column for field, column in cells.items() if any(column)}
    rows = [list(row) for row in zip(*shown.values(), strict=True)]
    yield from _table(list(map(heading, shown)), rows)
    yield ""


def _at_limit(figures: Sequence[Any]) -> Iterator[str]:
    """Yield a remark where the load client, and not the server, may be what was measured."""
    names = [
        getattr(figure, "server", "sseserver")
        for figure in figures
        if getattr(figure, "load_share", 0.0) > _LOAD_LIMIT
    ]
    if names:
        yield f"the load client had no time left: at least that much at {', '.join(names)}"


def heading(field: str) -> str:
    """Return the heading of a column: the name of its field in words, with its unit."""
    if field in _HEADINGS:
        return _HEADINGS[field]
    for ending, unit in _UNITS.items():
        if field.endswith(ending):
            return field.removesuffix(ending).replace("_", " ") + unit
    return field.replace("_", " ")


def cell(field: str, value: object) -> str:
    """Return a value as it is shown in the column of its field."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return "; ".join(map(str, value))
        case int():
            return f"{value:,}"
        case float():
            endings = (ending for ending in _FORMATS if field.endswith(ending))
            return format(value, _FORMATS[max(endings, key=len, default="rate")])
        case _:
            return str(value)


def _servers(results: Results) -> Iterator[list[str]]:
    """Yield a row for each server, the fastest first."""
    carried = FAN_OUT.figures(results.get(FAN_OUT.name))
    loaded = LATENCY.figures(results.get(LATENCY.name))
    at_fixed_load = {one.server: one for one in loaded}
    best = next((one for one in carried if one.server == "sseserver"), None)
    for one in sorted(carried, key=lambda one: -one.deliveries_per_second):
        ratio = best and best.deliveries_per_second / one.deliveries_per_second
        fixed = at_fixed_load.get(one.server)
        yield [
            of_server(one.server),
            f"{one.deliveries_per_second:,.0f}",
            "" if ratio is None or one is best else f"1/{ratio:,.0f}",
            *(["", "", ""] if fixed is None else _fixed(fixed)),
        ]


def _fixed(one: FixedLoad) -> list[str]:
    if is_overloaded(one):
        return ["overloaded", "", f"{one.server_share:.0%}"]
    return [f"{one.p50_ms:.2f} ms", f"{one.p99_ms:.2f} ms", f"{one.server_share:.0%}"]


def _summaries(results: Results) -> Iterator[list[str]]:
    for target, checks in judged(results).items():
        figures = "; ".join(
            f"{check.claim}: {check.figure} ({_asked(check)})" for check in checks if check.figure
        )
        yield [TITLES[target], figures, overall(checks)]


def _asked(check: Check) -> str:
    """Return the target, and where it is missed what the peers do."""
    is_missed = check.verdict is Verdict.MISSED and check.beside
    return f"{check.target}; {check.beside}" if is_missed else check.target


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; columns of numbers are flush right."""
    rows = list(rows)
    yield _line(headings)
    columns = zip(*rows, strict=True) if rows else ([] for _ in headings)
    yield "|" + "".join("--:|" if _are_numbers(column) else "---|" for column in columns)
    yield from map(_line, rows)


def _are_numbers(column: Iterable[str]) -> bool:
    cells = [text for text in column if text]
    return bool(cells) and all(map(_is_number, cells))


def _line(cells: Iterable[str]) -> str:
    escaped = (text.replace("|", r"\|") for text in cells)
    return re.sub(" +", " ", f"| {' | '.join(escaped)} |")


def _paragraph(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _dates(results: Mapping[str, Part]) -> str:
    days = sorted({part.when.partition(" ")[0] for part in results.values()})
    return " to ".join([days[0], days[-1]][: len(days)]) if days else "never"


def _machines(results: Mapping[str, Part]) -> str:
    return "; ".join(dict.fromkeys(part.machine for part in results.values())) or "no machine"


def _runs(results: Mapping[str, Part], name: str) -> str:
    part = results.get(name)
    return "not measured" if part is None else part.runs


def _minutes(results: Mapping[str, Part]) -> str:
    return f"{sum(part.seconds for part in results.values()) / 60:.0f}"
