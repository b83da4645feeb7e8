"""The corpus of hostile and odd feeds in `tests/corpus/ingest`: reading it.

A file is TOML, in two forms.

`[[case]]` is a case of its own: `name`; `send`, the line or lines; `answers`, what each line is
answered; and where it matters `receives`, what streams of user-1 must then be sent, `never`,
what must stand neither in an answer nor in a stream, and `refs`, the `ref` of each answer.

A table with a `line` is a right line and what its fields may hold: `[….refused]` and
`[….accepted]` have JSON values by the field's path, `missing` lists the fields without which
it is refused. Each value is a case.

Lines stand in single quotes, as they go over the wire. What TOML cannot hold is written as
`<ff>` (a byte, or more of them: `<ef bb bf>`), `<201*[>` repeats a text. An answer is `ok`, or
an error code and its path, or `-` for none; `ref` is 1 unless `refs` says otherwise, and nothing
in what could not be read.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent.parent / "corpus/ingest"

MAX_LINE_BYTES: Final = 8192
"""`ingest.max_line_bytes` of every case."""

PREPARATION: Final = (
    b'{"op":"session.put","sessionId":"known-session","userId":"user-1"}',
    b'{"op":"strategy.put","strategyId":"s-1","userId":"user-1"}',
    (
        b'{"op":"orders.put","userId":"user-1","orders":[{"orderId":"o-1","symbol":"AAPL",'
        b'"side":"buy","qty":10,"status":"new"}]}'
    ),
    (
        b'{"op":"positions.put","userId":"user-1","positions":[{"symbol":"AAPL","quantity":"10",'
        b'"entryPrice":"150.00","currentPrice":"150.00"}]}'
    ),
)
"""What is true before every case."""

_ESCAPE: Final = re.compile(r"<([0-9a-f]{2}(?: [0-9a-f]{2})*|[0-9]+\*[^>]+)>")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_MARK: Final = "the value of the case"
_UNREADABLE: Final = ("invalid_json", "too_large")


@dataclass(frozen=True)
class Delivery:
    """One event that a stream must be sent; `data` is the part of its payload that matters."""

    stream: str
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Lines, and what has to come of them.

    Attributes:
        name: The file's name and the case's own.
        data: The bytes of the lines, the last newline included.
        answers: What is answered, without the words of errors and the IDs of events.
        receives: What streams are sent, in order for each stream; None where that is not said.
        never: Texts that nobody is sent.
    """

    name: str
    data: bytes
    answers: tuple[dict[str, Any], ...]
    receives: tuple[Delivery, ...] | None
    never: tuple[str, ...]

    @property
    def is_refused(self) -> bool:
        """Whether every line is refused, so that nothing may change."""
        lines = [line for line in self.data.split(b"\n") if line.strip(b"\r")]
        return len(lines) == len(self.answers) and not any(one["ok"] for one in self.answers)


def cases() -> list[Case]:
    """Return every case of every file."""
    return [case for path in sorted(FOLDER.glob("*.toml")) for case in _cases_of(path)]


def lines() -> list[bytes]:
    """Return every line of every case, for those who break them further."""
    return [line for case in cases() for line in case.data.split(b"\n") if line]


def summary(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as `Case.answers` has it; its form is checked on the way."""
    rest = dict(answer)
    found = {"ref": rest.pop("ref", None), "ok": rest.pop("ok")}
    if found["ok"]:
        assert isinstance(rest.pop("id", ""), str)
    else:
        error = dict(rest.pop("error"))
        assert error.pop("message")
        found |= {"code": error.pop("code"), "path": error.pop("path", None)}
        assert not error
    assert not rest
    return found


def is_part(part: Any, whole: Any) -> bool:
    """Return whether objects in `whole` have all that those in `part` have; the rest is equal."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(one, whole[name]) for name, one in part.items())
    if isinstance(part, list) and isinstance(whole, list) and len(part) == len(whole):
        return all(map(is_part, part, whole))
    return type(part) is type(whole) and bool(part == whole)


def _cases_of(path: Path) -> Iterator[Case]:
    for name, table in tomllib.loads(path.read_text("utf-8")).items():
        if name == "case":
            yield from (_case(path.stem, one) for one in table)
        else:
            yield from _field_cases(f"{path.stem}: {name}", table)


def _case(subject: str, table: dict[str, Any]) -> Case:
    unknown = table.keys() - {"name", "send", "answers", "receives", "never", "refs"}
    assert not unknown, unknown
    sent = table["send"] if isinstance(table["send"], list) else [table["send"]]
    words = table["answers"] if isinstance(table["answers"], list) else [table["answers"]]
    refs = table.get("refs", [1] * len(words))
    receives = table.get("receives")
    never = table.get("never", [])
    return Case(
        f"{subject}: {table['name']}",
        b"".join(_bytes(line) + b"\n" for line in sent),
        tuple(_answer(word, ref) for word, ref in zip(words, refs, strict=True) if word != "-"),
        None if receives is None else tuple(map(_delivery, receives)),
        tuple([never] if isinstance(never, str) else never),
    )


def _field_cases(subject: str, table: dict[str, Any]) -> Iterator[Case]:
    line = table["line"]
    answer = _answer("ok", 1)
    yield Case(f"{subject}: as it is", _bytes(line) + b"\n", (answer,), None, ())
    for path, values in table.get("accepted", {}).items():
        for value in values:
            data = _bytes(_with(line, path, value)) + b"\n"
            yield Case(f"{subject}: {path} = {value}", data, (answer,), None, ())
    for path, values in table.get("refused", {}).items():
        answer = _answer(f"invalid_message {path}", None if path == "$.ref" else 1)
        for value in values:
            data = _bytes(_with(line, path, value)) + b"\n"
            yield Case(f"{subject}: {path} = {value}", data, (answer,), None, ())
    for path in table.get("missing", ()):
        answer = _answer(f"invalid_message {path}", 1)
        data = _bytes(_without(line, path)) + b"\n"
        yield Case(f"{subject}: without {path}", data, (answer,), None, ())


def _bytes(text: str) -> bytes:
    pieces = []
    end = 0
    for match in _ESCAPE.finditer(text):
        pieces.append(text[end : match.start()].encode())
        count, star, repeated = match[1].partition("*")
        pieces.append(repeated.encode() * int(count) if star else bytes.fromhex(count))
        end = match.end()
    return b"".join([*pieces, text[end:].encode()])


def _answer(words: str, ref: Any) -> dict[str, Any]:
    code, _, path = words.partition(" ")
    if code == "ok":
        return {"ref": ref, "ok": True}
    ref = None if code in _UNREADABLE else ref
    return {"ref": None if ref == "none" else ref, "ok": False, "code": code, "path": path or None}


def _delivery(words: str) -> Delivery:
    stream, event_type, data = words.split(" ", 2)
    return Delivery(stream, event_type, json.loads(data))


def _with(line: str, path: str, value: str) -> str:
    """Return a line with another value, as it is written, at a path; its last steps may be new."""
    message = json.loads(line)
    container, last = _place(message, path)
    container[last] = _MARK
    return json.dumps(message, ensure_ascii=False).replace(json.dumps(_MARK), value)


def _without(line: str, path: str) -> str:
    message = json.loads(line)
    container, last = _place(message, path)
    del container[last]
    return json.dumps(message, ensure_ascii=False)


def _place(message: Any, path: str) -> tuple[Any, Any]:
    steps = [name or int(index) for name, index in _STEP.findall(path)]
    for step in steps[:-1]:
        message = message[step]
    return message, steps[-1]
