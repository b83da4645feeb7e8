r"""The types of fields on the ingest port.

msgspec checks them in C while it decodes. Two things it cannot do, or not cheaply: a pattern
knows no calendar, so structs call `check_timestamp`; and it costs 0.4 us, more than all the rest
of a price line, so the characters of a name are looked at only where the line can hold others
than printable ones.

Source: contract section 3.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from sseserver.state.sessions import Role

MAX_NAME_LENGTH: Final = 128
MAX_TEXT_LENGTH: Final = 65_536
"""A quarter of the default line; models explain themselves at length."""

MAX_NUMBER: Final = 10**15
"""Up to here a float still tells eighths apart, and no real quantity or price is larger."""

MAX_NUMBER_LENGTH: Final = 40
"""Characters of a decimal string; see the precision of `state.decimals`."""

MAX_TIMESTAMP_LENGTH: Final = 40
"""Nanoseconds and an offset take 35 characters."""

MAX_EPOCH_SECONDS: Final = 253_402_300_799
"""The end of the year 9999; milliseconds by mistake are far beyond it."""

# \Z and not $, which lets a final newline pass; [0-9] and not \d, which takes any script's.
_NAME: Final = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
_MAGNITUDE: Final = r"0*(?:[0-9]{1,15}(?:\.[0-9]*)?|1000000000000000(?:\.0*)?|\.[0-9]+)\Z"
_SIGNED: Final = r"^[+-]?" + _MAGNITUDE
_NOT_NEGATIVE: Final = r"^\+?" + _MAGNITUDE
_POSITIVE: Final = r"^(?=[^1-9]*[1-9])\+?" + _MAGNITUDE

NAME_WORDS: Final = "Expected `str` without control characters"
_TIMESTAMP_WORDS: Final = "Expected an ISO 8601 date and time with `Z` or an offset"

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
"""An identifier: 1 to 128 characters; `ingest.validation.check_names` looks at them."""

CheckedName: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=MAX_NAME_LENGTH, pattern=_NAME)
]
"""An identifier without control characters (C0, DEL, C1) at once."""

UncheckedTimestamp: TypeAlias = Annotated[str, Meta(max_length=MAX_TIMESTAMP_LENGTH)]
"""A timestamp whose struct calls `check_timestamp`."""

Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT_LENGTH)]
"""What people read; line breaks are fine, JSON escapes them."""

Number: TypeAlias = (
    Annotated[int, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
    | Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
    | Annotated[str, Meta(max_length=MAX_NUMBER_LENGTH, pattern=_SIGNED)]
)
"""A JSON number or a plain decimal string, of either sign."""

Price: TypeAlias = Number
"""A price may be negative: power at noon, spreads, oil in April 2020."""

Volume: TypeAlias = (
    Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
    | Annotated[float, Meta(ge=0, le=MAX_NUMBER)]
    | Annotated[str, Meta(max_length=MAX_NUMBER_LENGTH, pattern=_NOT_NEGATIVE)]
)
"""How much was traded or filled so far: a number that is not negative."""

Size: TypeAlias = (
    Annotated[int, Meta(gt=0, le=MAX_NUMBER)]
    | Annotated[float, Meta(gt=0, le=MAX_NUMBER)]
    | Annotated[str, Meta(max_length=MAX_NUMBER_LENGTH, pattern=_POSITIVE)]
)
"""How much is bought or sold: a number above 0."""

Confidence: TypeAlias = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]

Expiry: TypeAlias = (
    Annotated[datetime, Meta(tz=True)]
    | Annotated[int, Meta(ge=0, le=MAX_EPOCH_SECONDS)]
    | Annotated[float, Meta(ge=0, le=MAX_EPOCH_SECONDS)]
)
"""ISO 8601 with an offset, or seconds since the epoch."""

Reference: TypeAlias = (
    Annotated[str, Meta(max_length=MAX_NAME_LENGTH)]
    | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
)
"""What a feed gives a line to recognise its answer by; echoed, never interpreted."""

Side: TypeAlias = Literal["buy", "sell"]
AlertLevel: TypeAlias = Literal["info", "warning", "error"]
StrategyStatus: TypeAlias = Literal["started", "stopped", "error"]

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "side": get_args(Side),
    "level": get_args(AlertLevel),
    "status": get_args(StrategyStatus),
    "role": get_args(Role),
}
"""The values of each field that has a closed set of them."""

WORDS: Final[Mapping[str, str]] = {
    **{
        f"Expected `str` matching regex {pattern!r}": words
        for pattern, words in (
            (_NAME, NAME_WORDS),
            (_SIGNED, "Expected a plain decimal number from -1e15 to 1e15"),
            (_NOT_NEGATIVE, "Expected a plain decimal number from 0 to 1e15"),
            (_POSITIVE, "Expected a plain decimal number above 0, at most 1e15"),
        )
    },
    "Expected `int` >= 1": "Expected `number` > 0",  # of a `Size`, which takes 0.5 as well
    "Invalid RFC3339 encoded datetime": _TIMESTAMP_WORDS,
    "Expected `datetime` with a timezone component": _TIMESTAMP_WORDS,
}
"""What is said instead of msgspec's words, where those would mislead."""

_BACKSLASH: Final = ord("\\")
_DEL: Final = 0x7F
_PLAIN_NAME: Final = re.compile(_NAME)


class FieldError(ValueError):
    """What a struct's own check says about one of its fields; msgspec adds the path."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def is_plain(line: bytes) -> bool:
    """Return whether no string of a JSON line can hold a control character.

    JSON itself allows C0 only escaped, so what is left is an escape, DEL, or C1 as UTF-8.
    """
    # Looking for an integer is six times as fast as looking for one byte of `bytes`.
    return line.isascii() and _BACKSLASH not in line and _DEL not in line


def is_name(text: str) -> bool:
    """Return whether a text is free of control characters."""
    return _PLAIN_NAME.match(text) is not None


def check_timestamp(timestamp: str) -> None:
    """Refuse what is not a date and time of ISO 8601 (RFC 3339's profile) with an offset.

    Raises:
        FieldError: Naming the field `timestamp`.
    """
    try:
        # msgspec's parser checks the calendar too, but takes a blank for the T.
        is_good = msgspec.convert(timestamp, datetime).tzinfo is not None and timestamp[10] == "T"
    except msgspec.ValidationError:
        is_good = False
    if not is_good:
        raise FieldError("timestamp", _TIMESTAMP_WORDS)
