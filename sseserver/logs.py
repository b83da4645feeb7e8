"""Structured logs: one line an event, for people or as JSON, with personal data masked.

Modules log through `structlog.get_logger()` and never format a line themselves. What lives
here is the way from there to the stream: level filter, timestamp, masking, rendering.

Two things can change while the process runs, although loggers are cached and bound for the
life of a connection: `configure` replaces the processors and the stream in place, and
`set_level` swaps the base of the one logger class, so that a level that is off stays a
method that only returns (structlog's "Performance" page).

Source: specification, "Event Data Sanitization" and "Logs"; contract sections 1 and 6.
"""

import logging
import re
import sys
import time
from functools import lru_cache
from io import TextIOWrapper
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sseserver.clock import iso_timestamp
from sseserver.events import STREAM_TOPICS

MAX_DEPTH: Final = 16
"""Levels of a logged value that are shown; loops end here too."""

_AT: Final = "(?: [@\uff20] | %40 )"  # the second has the full width of an ideograph
_DOMAIN: Final = r"(?: \w[\w-]*+ [.\u3002\uff0e\uff61] )+ [^\W\d_]{2,}"

# A run of what a local part is made of is taken whole whether an @ follows or not: the search
# never starts again inside it and stays linear on hostile text. %40 is an @ inside a URL. The
# last label of a domain has letters only, so that `{userId}-{stream}-{ms}` keeps its end. What
# is quoted has 64 characters at most (RFC 5321), or each quote would be read on to the end.
_EMAIL: Final = re.compile(
    rf"""(?: [\w.!#$*+^~-] | %(?!40) ) (?: [\w.!#$*+^~'-]++ | %(?!40) )*+
         (?: (?P<at> {_AT} )
             (?: (?P<domain> {_DOMAIN} )
               | (?= [^\W\d_] | \[ ) ) )?
       | " (?: [^"\\\n] | \\. ){{0,64}}? \\? " {_AT} (?P<quoted> {_DOMAIN} | (?=\[) )""",
    re.VERBOSE,
)

_SEPARATOR: Final = r"[-.\ \u00a0\u2010-\u2015\u202f\u3000\uff0d\uff0e]"
_DIVIDER: Final = rf"(?: {_SEPARATOR} | [()/\uff08\uff09\uff0f] )"
_ZERO: Final = r"(?: 0 | (?![0-9])\d )"  # in other scripts any digit may stand for it
_PHONE: Final = re.compile(
    rf"""(?=[\d+%(\uff0b\uff08]) (?: (?<!\d) | (?=[(\uff08]) )  # most characters end here
       (?: (?<![\dA-Za-z]) (?: [+\uff0b] | %2[Bb] )                 # +49 30 901820
           \d (?: {_DIVIDER}{{0,3}} \d ){{7,14}} (?!\d)
         | (?<![\dA-Za-z_.:-]) {_ZERO}{{2}} (?=(?!0)\d{{1,5}} {_DIVIDER})  # 0049 30 901820
           \d (?: {_DIVIDER}{{0,3}} \d ){{6,14}} (?![\dA-Za-z_:])
         | (?<![\dA-Za-z.]) (?: 1 {_SEPARATOR} )?                   # 415-555-2671
           \d{{3}} {_SEPARATOR} \d{{3}} {_SEPARATOR} \d{{4}} (?![\dA-Za-z])
         | [(\uff08] \d{{2,5}} [)\uff09] {_SEPARATOR}?              # (415) 555-2671
           \d{{3,5}} {_SEPARATOR}? \d{{3,5}} (?![\dA-Za-z])
         | (?<![\dA-Za-z.-]) (?P<area> {_ZERO} \d{{1,4}} )          # 020 7946 0958
           (?P<separator> {_SEPARATOR} | [/\uff0f] ) \d{{2,8}}
           (?: (?P=separator) \d{{2,4}} ){{0,3}} (?![\dA-Za-z])
         | (?: (?<![\dA-Za-z_.:-]) | (?<=tel:) )                    # 4155552671
           (?: \d{{10,11}} | {_ZERO}(?!0)\d{{11}} | {_ZERO}{{2}}(?!0)\d{{8,15}} )
           (?: (?![\dA-Za-z_-] | [.:][\dA-Za-z])
             | (?= -(?:{"|".join(STREAM_TOPICS)})[-/] ) ) )""",
    re.VERBOSE,
)

# What JSON leaves as it is and a terminal may still act on: DEL, C1 controls, line and
# paragraph separators, and what reorders or hides text.
_UNSAFE_IN_JSON: Final = re.compile(
    r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)


def mask(text: str) -> str:
    """Return `text` with e-mail addresses and phone numbers masked.

    A phone number is one in a usual spelling and in digits of any script: international (`+49`,
    `0049`), with separators behind an area code, or a word of bare digits: 10 or 11 of them, 12
    behind one 0, 10 to 17 with the 00 in front. Epoch seconds and names of 10 or 11 digits in a
    text are masked with these, for nothing tells them apart; numbers that are logged as numbers
    stay. Digits next to a letter, `-`, `_`, `.` or `:` are no such word but part of an ID, a
    decimal or an address, except behind `tel:`, before a full stop or colon that ends a clause,
    and where the rest of a client ID follows (`-orders-1735819800000`).

    >>> mask("jane@example.com-orders-1735819800000 called from +1 415 555 2671")
    '***@***-orders-1735819800000 called from ***'
    """
    if "@" in text or "%40" in text or "\uff20" in text:
        text = _EMAIL.sub(_mask_email, text)
    return _mask_phones(text)


def configure(level: str, log_format: str, stream: TextIO) -> None:
    """Send every log line to `stream` from now on, also of loggers already in use.

    Warnings and errors that libraries (asyncio above all) report to `logging` come out as
    `library_message`.

    Args:
        level: `log.level`.
        log_format: `log.format`; `auto` is `console` on a terminal and `json` elsewhere.
        stream: Kept open by the caller; when it cannot be written to, lines are lost.
    """
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # no name can break an ASCII terminal
    is_terminal = stream.isatty()
    _output.stream = stream
    if log_format == "console" or (log_format == "auto" and is_terminal):
        columns = structlog.dev.ConsoleRenderer(
            colors=is_terminal,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
        _processors[:] = [structlog.processors.format_exc_info, _complete, _escape, columns]
    else:
        _processors[:] = [structlog.processors.format_exc_info, _complete, _render_json]
    set_level(level)
    structlog.configure(
        processors=_processors,
        wrapper_class=_Logger,
        context_class=dict,
        logger_factory=lambda *_: _output,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if _library_messages not in root.handlers:
        root.addHandler(_library_messages)


def set_level(level: str) -> None:
    """Change the level of every logger, also of bound ones, as SIGHUP asks for."""
    _Logger.__bases__ = (structlog.make_filtering_bound_logger(level),)


def announce(event: str, **fields: object) -> None:
    """Write a line whatever the level: what somebody waits for, such as `listening`.

    Source: contract section 1.
    """
    structlog.wrap_logger(_output, _processors, wrapper_class=_Unfiltered).info(event, **fields)


class _Unfiltered(structlog.BoundLoggerBase):
    def info(self, event: str, **fields: object) -> None:
        self._proxy_to_logger("info", event, **fields)


class _Output:
    """The end of every logger: writes whole lines, and outlives a stream that has gone.

    A full disk or a closed pipe must not end a connection that only wanted to say something.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def msg(self, line: str) -> None:
        """Write one rendered line in one call, so that lines of processes do not mix."""
        try:
            self.stream.write(f"{line}\n")
            self.stream.flush()
        except (OSError, ValueError):  # ValueError: closed
            pass

    debug = info = warning = error = critical = msg


class _LibraryMessages(logging.Handler):
    """Takes what libraries report to `logging` into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(
            "library_message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


_output: Final = _Output(sys.stdout)
_processors: Final[list[Processor]] = []
_library_messages: Final = _LibraryMessages(logging.WARNING)
_Logger: Final = type("_Logger", (structlog.make_filtering_bound_logger("info"),), {})


def _complete(_: WrappedLogger, method_name: str, event_dict: EventDict) -> EventDict:
    """Return the line's fields, cleaned; a key of the caller's never hides one of ours."""
    line = {
        "timestamp": iso_timestamp(time.time_ns() // 1_000_000),
        "level": method_name,
        "event": _clean(event_dict.pop("event"), 0),
    }
    return line | {
        _clean_key(key): _clean(value, 1) for key, value in event_dict.items() if key not in line
    }


@lru_cache(maxsize=256)
def _clean_key(key: str) -> str:
    """Return a key as `_clean_text` does; the code has a few dozen and uses them all the time."""
    return _clean_text(key)


def _clean(value: object, depth: int) -> Any:
    """Return a JSON value that says the same, with every string masked."""
    if type(value) is str:  # nearly all are
        return _clean_text(value)
    match value:
        case None | bool() | float():
            cleaned: Any = value
        case int() if -(1 << 63) <= value < 1 << 64:  # what orjson takes
            cleaned = int(value)
        case dict() | list() | tuple() | set() | frozenset() if depth >= MAX_DEPTH:
            cleaned = "…"
        case dict():
            cleaned = {
                _clean_text(str(key)): _clean(item, depth + 1) for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            cleaned = [_clean(item, depth + 1) for item in value]
        case _:
            cleaned = _clean_text(str(value))
    return cleaned


def _clean_text(text: str) -> str:
    masked = mask(text)
    if masked.isascii():
        return masked
    return masked.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates


def _mask_email(match: re.Match[str]) -> str:
    if match["domain"] is not None or match["quoted"]:
        return "***@***"
    return "***@" if match["at"] is not None or match["quoted"] is not None else match[0]


def _mask_phones(text: str) -> str:
    pieces: list[str] = []
    end = position = 0
    while (match := _PHONE.search(text, position)) is not None:
        area = match["area"] or ""
        # National numbers have 9 to 11 digits with the leading zero; a date has 8. Those of 12
        # have a long area code (0151), which `01.02.2026.10.30` and `010.000.000.001` do not.
        digits = sum(map(str.isdigit, match[0])) if area else 9
        if digits < 9:  # `10:05 415-555-2671`: another may begin behind what looks like an area
            position = match.end("area")
            continue
        position = match.end()
        if digits <= (12 if len(area) >= 4 else 11):
            pieces += text[end : match.start()], "***"
            end = position
    return "".join(pieces) + text[end:] if pieces else text


def _render_json(_: WrappedLogger, __: str, event_dict: EventDict) -> str:
    line = orjson.dumps(event_dict).decode("utf-8")
    if line.isascii() and "\x7f" not in line:
        return line
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _escape(_: WrappedLogger, __: str, event_dict: EventDict) -> EventDict:
    """Escape what the renderer prints as it is; all but strings it shows by their `repr`."""
    for key, value in event_dict.items():
        if key == "exception":
            event_dict[key] = "\n".join(f"    {_printable(line)}" for line in value.split("\n"))
        elif isinstance(value, str):
            event_dict[key] = _printable(value)
    return event_dict


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
