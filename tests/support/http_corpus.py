r"""The corpus of hostile and of odd but legal HTTP in `tests/corpus/http`, one file a subject.

A file is a list of outcomes. Each says what must be seen and why, and below it by name the bytes
that must lead to it:

    status      of the final answers, in order; `"50 x 200"` stands for fifty of them
    then        the connection afterwards, one of `Then`; `open` where it is not given
    has, lacks  bytes that are, or are not, among all that comes back
    methods     `H` for each request that is a HEAD, by position
    continues   whether 100 is sent: `never`, `always`, or `unless whole`
    drip_seconds  time between two bytes; without it they come as the test likes

In bytes, the ends of the file's lines count for nothing. `\r`, `\n`, `\t`, `\0`, `\xNN` and `\\`
are what they are in Python. `\{NAME}` is a part from `parts.toml`, `\{a*N}` repeats a text or a
part, in which `\#` counts up, and `\{wait N}` lets N seconds pass. What is not ASCII is sent as
UTF-8.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

FOLDER: Final = Path(__file__).parent.parent / "corpus" / "http"

SETTINGS: Final[Mapping[str, Any]] = {
    "cors.allow_origins": ["*", "https://app.example"],
    "limits.connections_per_user": 500,
}
"""The server of the corpus, beside the tests' defaults."""

SESSIONS: Final = {"s-1": ("user-1", "user"), "s-ü": ("user-1", "user"), "s-a": ("root", "admin")}
STRATEGIES: Final = {"st-1": "user-1", "st/2": "user-1"}

PROBE: Final = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Correlation-ID: probe\r\n"
    b"Connection: close\r\n\r\n"
)
"""Sent behind a case: answered where the connection is open, and nowhere else."""

Piece: TypeAlias = bytes | float
"""Bytes to send, or seconds to wait."""

_ESCAPE: Final = re.compile(
    r"\\(?:(?P<sign>[rnt0\\])|x(?P<byte>[0-9a-f]{2})|\{(?P<braces>[^}]+)\})"
)
_SIGNS: Final = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


class Then(StrEnum):
    """What a connection is, when all its bytes have been taken."""

    OPEN = "open"
    """Ready for another request."""
    WAITS = "waits"
    """A request has begun and may still be completed."""
    STREAM = "stream"
    """A stream has taken it over."""
    ENDS = "ends"
    """Our side is closed, and nothing more is answered."""


class Case(NamedTuple):
    """Bytes, and what they must lead to."""

    name: str
    pieces: Sequence[Piece]
    status: Sequence[int]
    then: Then
    has: Sequence[bytes]
    lacks: Sequence[bytes]
    methods: str
    continues: str
    drip_seconds: float

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))

    @property
    def takes_time(self) -> bool:
        """Whether time must pass in it."""
        return bool(self.drip_seconds) or any(isinstance(piece, float) for piece in self.pieces)

    def continues_expected(self, *, is_whole: bool) -> bool:
        """Whether a 100 is sent."""
        return self.continues == "always" or (self.continues == "unless whole" and not is_whole)


@cache
def load_corpus() -> Mapping[str, Case]:
    """Return all cases by name."""
    parts: dict[str, bytes] = {}
    for name, text in _toml("parts").items():
        parts[name] = _joined(_decoded(text, parts))
    cases: dict[str, Case] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        if path.stem == "parts":
            continue
        for outcome in _toml(path.stem)["outcome"]:
            for case in _cases(outcome, parts):
                name = f"{path.stem}: {case.name}"
                assert name not in cases, name
                cases[name] = case._replace(name=name)
    return cases


def _toml(stem: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{stem}.toml").read_text(encoding="utf-8"))


def _cases(outcome: dict[str, Any], parts: Mapping[str, bytes]) -> list[Case]:
    sent = outcome.pop("sent")
    assert outcome.pop("why"), "an outcome says why"

    def fragments(key: str) -> Sequence[bytes]:
        return [_joined(_decoded(text, parts)) for text in outcome.pop(key, ())]

    shared = {
        "status": _statuses(outcome.pop("status")),
        "then": Then(outcome.pop("then", "open")),
        "has": fragments("has"),
        "lacks": fragments("lacks"),
        "methods": outcome.pop("methods", ""),
        "continues": outcome.pop("continues", "never"),
        "drip_seconds": outcome.pop("drip_seconds", 0.0),
    }
    assert not outcome, f"unknown keys: {outcome}"
    assert shared["continues"] in {"never", "always", "unless whole"}
    return [Case(name, _decoded(text, parts), **shared) for name, text in sent.items()]


def _statuses(entries: Sequence[int | str]) -> list[int]:
    found: list[int] = []
    for entry in entries:
        if isinstance(entry, int):
            found.append(entry)
        else:
            times, status = entry.split(" x ")
            found.extend([int(status)] * int(times))
    return found


def _decoded(text: str, parts: Mapping[str, bytes]) -> list[Piece]:
    text = text.replace("\n", "")
    pieces: list[Piece] = []
    bytes_so_far = b""
    position = 0
    for match in _ESCAPE.finditer(text):
        bytes_so_far += _plain(text[position : match.start()])
        position = match.end()
        braces = match["braces"]
        if braces is not None and braces.startswith("wait "):
            pieces += [bytes_so_far] if bytes_so_far else []
            pieces.append(float(braces.removeprefix("wait ")))
            bytes_so_far = b""
        else:
            bytes_so_far += _escaped(match, parts)
    bytes_so_far += _plain(text[position:])
    return [*pieces, bytes_so_far] if bytes_so_far else pieces


def _escaped(match: re.Match[str], parts: Mapping[str, bytes]) -> bytes:
    if match["sign"] is not None:
        return _SIGNS[match["sign"]]
    if match["byte"] is not None:
        return bytes.fromhex(match["byte"])
    text, star, times = match["braces"].rpartition("*")
    if not star:
        return parts[times]
    if text in parts:
        return parts[text] * int(times)
    return b"".join(
        _joined(_decoded(text.replace("\\#", str(number)), parts)) for number in range(int(times))
    )


def _plain(text: str) -> bytes:
    assert "\\" not in text, f"no such escape: {text}"
    return text.encode("utf-8")


def _joined(pieces: Sequence[Piece]) -> bytes:
    assert all(isinstance(piece, bytes) for piece in pieces), "time passes in `sent` alone"
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))
