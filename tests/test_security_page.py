"""SECURITY.md names tests: each of them is there, and each promise of a threat has one."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
_NAMED: Final = re.compile(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)")


def threats() -> list[str]:
    """Return the rows of the table of threats."""
    table = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## Threats")[2]
    return [row for row in table.splitlines() if row.startswith("| ")][1:]


def test_every_threat_names_a_test() -> None:
    """A defence that nothing looks after is none."""
    assert [] == [row for row in threats() if _NAMED.search(row.rpartition(" | ")[2]) is None]
    assert len(threats()) > 20


def test_every_test_that_is_named_is_there() -> None:
    """Under that name, in that file."""
    named = [match for row in threats() for match in _NAMED.findall(row)]

    assert [] == [
        (name, path)
        for name, path in named
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
