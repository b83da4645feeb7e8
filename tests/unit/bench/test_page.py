"""The page of the report and the sections of the README, from made-up results."""

import msgspec
import pytest

from bench.reporting import page
from bench.reporting.page import cell, heading, with_section
from bench.reporting.results import Results
from bench.reporting.scenarios import SCENARIOS
from tests.unit.bench.made_up_results import fan_out, fixed_load, memory, part, results

SERVERS = [fan_out("nchan", 75_000.0), fan_out("sseserver", 3_000_000.0)]


def lines_after(text: str, line: str, count: int) -> list[str]:
    """Return so many lines of a text that follow one of its lines."""
    lines = text.splitlines()
    start = lines.index(line) + 1
    return lines[start : start + count]


def test_every_scenario_has_made_up_results() -> None:
    """What is tested here is every scenario that there is."""
    assert [scenario.name for scenario in SCENARIOS] == list(results())


def test_a_scenario_is_a_table_of_its_figures() -> None:
    """A row a figure, a column a field, numbers flush right; a column of nothing is left out."""
    text = page.report({"latency": part([fixed_load("sseserver", 2.0), fixed_load("nchan", 4.0)])})

    assert [
        "",
        "| server | version | clients | rate, /s | p50, ms | p99, ms | CPU | missing |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
        "| sseserver | 1.0 | 1,000 | 50 | 2.00 | 4.00 | 20.0% | 0 |",
        "| nchan | 1.0 | 1,000 | 50 | 4.00 | 8.00 | 40.0% | 0 |",
        "",
        "![Processor time of each server at one load](cpu.png)",
        "",
        "`latency`, 2026-01-02 14:30 UTC, median of 5, 60 s.",
    ] == lines_after(text, "## Broadcast: 50 events a second", 9)


def test_a_scenario_that_was_not_measured_says_how_to() -> None:
    """Without figures the page names the command that makes them."""
    text = page.report({})

    assert ["", "Not measured: `python -m bench.report --scenario lone_event`."] == lines_after(
        text, "## A lone event", 2
    )


def test_figures_of_an_older_bench_are_not_shown() -> None:
    """What lacks a field of today is not mistaken for a figure."""
    old = part([])
    old.figures.append({"server": "sseserver", "seconds": 3})

    text = page.report({"lone_event": old})

    assert [
        "",
        "Measured by an older bench: `python -m bench.report --scenario lone_event`.",
    ] == lines_after(text, "## A lone event", 2)


def test_problems_are_said() -> None:
    """Who was left out and what failed stands below the figures."""
    problems = ("nchan left out: not installed", "express failed: OSError: no")

    text = page.report({"lone_event": part([], problems=problems)})

    assert [
        "",
        "`lone_event`, 2026-01-02 14:30 UTC, median of 5, 60 s.",
        *(f"- {problem}" for problem in problems),
    ] == lines_after(text, "## A lone event", 4)


def test_a_load_client_at_its_limit_is_said() -> None:
    """Where the load client had no time left, the server may carry more than the figure."""
    found = [
        msgspec.structs.replace(one, load_share=share)
        for one, share in zip(SERVERS, (0.5, 0.99), strict=True)
    ]

    text = page.report({"fan_out": part(found)})

    assert ["- the load client had no time left: at least that much at sseserver"] == lines_after(
        text, "`fan_out`, 2026-01-02 14:30 UTC, median of 5, 60 s.", 1
    )


def test_servers_side_by_side() -> None:
    """The README shows the fastest first, how far others are from sseserver, and the fixed load."""
    found = {
        "fan_out": part(SERVERS),
        "latency": part([fixed_load("sseserver", 2.0), fixed_load("nchan", 4.0, missing=9)]),
    }

    assert [
        "|---|--:|--:|--:|--:|--:|",
        "| sseserver | 3,000,000 | | 2.00 ms | 4.00 ms | 20% |",
        "| nginx with nchan (C) | 75,000 | 1/40 | overloaded | | 40% |",
        "",
    ] == lines_after(page.speed(found), "| 1000 clients | deliveries/s | | p50 | p99 | CPU |", 4)


@pytest.mark.parametrize("found", [{}, results()], ids=["nothing", "everything"])
def test_the_readme_can_always_be_written(found: Results) -> None:
    """Each target has its line, measured or not."""
    text = page.speed(found)

    rows = lines_after(text, "| what is asked | measured (asked) | |", 99)
    assert 10 == sum(row.startswith("| ") for row in rows)


def test_memory_of_our_connections() -> None:
    """The README has a row for each kind of connection, and the machine."""
    found = [memory("sseserver", "plain", 2.51, 4.0), memory("nchan", "identity", 3.0, None)]

    assert (
        "Memory, measured by `make bench` (a machine with 2 cores; 10,000 connections):\n"
        "\n"
        "| idle connection | KiB each |\n"
        "|---|--:|\n"
        "| prices, plain | 2.5 |"
    ) == page.memory({"memory": part(found)})


def test_a_section_is_replaced() -> None:
    """What stands between the marks of a section is replaced, whatever is around it."""
    text = "a\n<!-- x: written by make bench -->\nold\n<!-- end of x -->\nb\n"

    assert ("a\n<!-- x: written by make bench -->\nnew\n<!-- end of x -->\nb\n") == with_section(
        text, "x", "new"
    )


@pytest.mark.parametrize("text", ["", "<!-- x: written by make bench -->\n"])
def test_a_section_that_is_not_there(text: str) -> None:
    """A README without the marks is not written over."""
    with pytest.raises(ValueError, match="no section"):
        with_section(text, "x", "new")


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("deliveries_per_second", "deliveries/s"),
        ("opening_p99_ms", "opening p99, ms"),
        ("p50_us", "p50, µs"),
        ("kib_each", "KiB each"),
        ("server_share", "CPU"),
        ("symbols_each", "symbols each"),
    ],
)
def test_a_heading_is_the_name_of_a_field(field: str, expected: str) -> None:
    """Words and unit come from the field's name, unless it has a shorter one."""
    assert expected == heading(field)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("version", "1.30 on nginx", "1.30 on nginx"),
        ("is_carried", True, "yes"),
        ("missing", 12_000, "12,000"),
        ("target", None, ""),
        ("target_kib", 4.0, "4"),
        ("target", 0.7, "70%"),
        ("server_share", 0.123, "12.3%"),
        ("p99_ms", 1234.5, "1,234.50"),
        ("faults", ["a", "b"], "a; b"),
        ("faults", [], ""),
        ("something", 1.6, "2"),
    ],
)
def test_a_value_is_written_as_its_field_asks(field: str, value: object, expected: str) -> None:
    """The end of a field's name says how its value is written."""
    assert expected == cell(field, value)
