"""Constrained types and checks: `sseserver.ingest.fields`."""

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from sseserver.ingest.fields import (
    WORDS,
    CheckedName,
    FieldError,
    Number,
    Price,
    Size,
    Volume,
    check_timestamp,
    is_name,
    is_plain,
)


def fits(value: object, shape: object) -> bool:
    """Return whether a value is taken for this type."""
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "007",
        "+5",
        "5.",
        ".5",
        "0" * 39 + "1",
        "999999999999999.99999999999999999999",
        "1000000000000000",
        "1000000000000000.000",
        "0001000000000000000",
        "0.00000000000000000000000000000000000001",
    ],
)
def test_plain_decimals(text: str) -> None:
    """A decimal string has digits, a point at most, and a sign at most."""
    assert fits(text, Number)
    assert fits(text, Volume)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "+",
        "-",
        "+.",
        "1e3",
        "1E3",
        "1_000",
        "1,000",
        " 1",
        "1 ",
        "1\n",
        "1.2.3",
        "--1",
        "+-1",
        "0x10",
        "٣",
        "１",  # noqa: RUF001 - a full-width digit is the point
        "NaN",
        "Infinity",
        "1000000000000000.1",
        "1000000000000001",
        "9999999999999999",
        "1" * 41,
        "0" * 41,
    ],
)
def test_other_strings_are_no_numbers(text: str) -> None:
    """Exponents, separators, other scripts, blanks and what is too large are refused."""
    assert not fits(text, Number)
    assert not fits(text, Volume)
    assert not fits(text, Size)


@pytest.mark.parametrize("text", ["-1", "-0", "-0.00", "-.5"])
def test_negative_strings(text: str) -> None:
    """Signed numbers and prices take a minus, quantities do not."""
    shapes = (Number, Price, Volume, Size)

    assert [fits(text, shape) for shape in shapes] == [True, True, False, False]


@pytest.mark.parametrize("text", ["0", "0.", ".0", "000.000", "+0"])
def test_strings_of_nothing(text: str) -> None:
    """A size is not zero."""
    assert (fits(text, Price), fits(text, Volume), fits(text, Size)) == (True, True, False)


@pytest.mark.parametrize("text", ["0.1", "10", ".01", "+1"])
def test_strings_of_something(text: str) -> None:
    """A size is above zero."""
    assert fits(text, Size)


@pytest.mark.parametrize("name", ["AAPL", "a b", "a\u00a0b", "a\u200db", "\ue000"])
def test_unprintable_is_not_control(name: str) -> None:
    """Names with unprintable characters that are no control characters pass both checks."""
    assert is_name(name)
    assert fits(name, CheckedName)


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_control_characters(code: int) -> None:
    """Both checks of names refuse each of C0, DEL and C1."""
    name = f"a{chr(code)}"

    assert not fits(name, CheckedName)
    assert not is_name(name)
    assert not is_plain(msgspec.json.encode(name))


def test_a_plain_line() -> None:
    """All but what is escaped, DEL and beyond ASCII."""
    plain = bytes(set(range(0x20, 0x7F)) - {ord("\\")})

    assert is_plain(plain)
    assert [False] * 3 == [is_plain(plain + end) for end in (b"\\u0041", b"\x7f", "ü".encode())]


def test_a_good_timestamp() -> None:
    """A timestamp that is right passes without a word."""
    check_timestamp("2026-01-02T10:30:00Z")


@pytest.mark.parametrize(
    "timestamp", ["2026-01-02T10:30:00", "2026-01-02 10:30:00Z", "2026-02-30T10:30:00Z", "x" * 20]
)
def test_a_bad_timestamp(timestamp: str) -> None:
    """No offset, no T, no such day and no date at all are refused."""
    with pytest.raises(FieldError) as refusal:
        check_timestamp(timestamp)

    assert refusal.value.field == "timestamp"


@pytest.mark.parametrize("words", [key for key in WORDS if "regex" in key])
def test_the_words_for_patterns_are_msgspecs(words: str) -> None:
    """The text we replace is exactly what this version of msgspec says."""
    pattern = words.removeprefix("Expected `str` matching regex '").removesuffix("'")
    pattern = pattern.replace("\\\\", "\\")
    with pytest.raises(msgspec.ValidationError) as refusal:
        msgspec.convert("\n", Annotated[str, Meta(pattern=pattern)])

    assert str(refusal.value) == words
