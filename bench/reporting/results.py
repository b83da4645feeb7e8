"""What was measured, as a file: one part for each scenario, which a later run may replace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec


class Part(msgspec.Struct, frozen=True):
    """What one scenario gave.

    Attributes:
        when: Date and time at which it ended, in UTC.
        machine: Where it ran.
        runs: How often each figure was measured, in words.
        seconds: How long all of it took.
        figures: As the scenario's own type, in the words of JSON.
        problems: Servers that were left out and steps that failed, with the reason.
    """

    when: str
    machine: str
    runs: str
    seconds: float
    figures: list[Any]
    problems: list[str]


Results: TypeAlias = dict[str, Part]
"""Parts by the name of their scenario."""


def plain(figure: object) -> Any:
    """Return a figure in the words of JSON."""
    return msgspec.json.decode(msgspec.json.encode(figure))


def read(path: Path) -> Results:
    """Return the results in a file; none when there is no such file."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=Results)


def write(path: Path, results: Mapping[str, Part]) -> None:
    """Write results, a figure on a line so that a change of one is a change of one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
