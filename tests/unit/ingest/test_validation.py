"""Plain JSON against structs: `sseserver.ingest.validation`."""

from datetime import datetime
from typing import Any, Literal

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject
from sseserver.ingest.fields import (
    CheckedName,
    Confidence,
    Expiry,
    FieldError,
    Number,
    Size,
    Volume,
)
from sseserver.ingest.validation import convert, known_part, read_object, shape_of


class Inner(Struct, forbid_unknown_fields=True):
    """Every kind of field that is worded in its own way."""

    name: CheckedName = "x"
    size: Size = 1
    volume: Volume = 1
    number: Number = 1
    confidence: Confidence = 1
    expiry: Expiry = 0
    side: Literal["buy", "sell"] = "buy"
    count: int = 0
    is_odd: bool = False


class Outer(Struct):
    """A struct with structs in it."""

    inner: Inner
    more: list[Inner] = []


class Picky(Struct):
    """Checks its field itself."""

    even: int

    def __post_init__(self) -> None:
        if self.even % 2:
            raise FieldError("even", "Expected an even number")


class Sparse(Struct):
    """Required, optional, and any value."""

    needed: int | None
    maybe: int | UnsetType = UNSET
    perhaps: int | UnsetType = UNSET
    anything: Any = UNSET


def refusal(given: object, shape: Any, path: str = "$") -> tuple[str, str | None]:
    """Return message and path of the error with which a value is refused."""
    with pytest.raises(FeedError) as error:
        convert(given, shape, path)
    assert error.value.code is FeedErrorCode.INVALID_MESSAGE
    return error.value.message, error.value.path


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 1}, "Expected `str`, got `int`"),
        ({"name": ""}, "Expected `str` of length >= 1"),
        ({"name": "x" * 129}, "Expected `str` of length <= 128"),
        ({"name": "\n"}, "Expected `str` without control characters"),
        ({"size": []}, "Expected `number | str`, got `array`"),
        ({"size": 0}, "Expected `number` > 0"),
        ({"size": 0.0}, "Expected `number` > 0"),
        ({"size": "0"}, "Expected a plain decimal number above 0, at most 1e15"),
        ({"volume": -1}, "Expected `number` >= 0"),
        ({"volume": -0.5}, "Expected `number` >= 0"),
        ({"volume": 1e16}, "Expected `number` <= 1000000000000000"),
        ({"volume": 10**30}, "Expected `number` <= 1000000000000000"),
        ({"volume": "-1"}, "Expected a plain decimal number from 0 to 1e15"),
        ({"volume": "1" * 41}, "Expected `str` of length <= 40"),
        ({"number": -1e16}, "Expected `number` >= -1000000000000000"),
        ({"number": -(10**30)}, "Expected `number` >= -1000000000000000"),
        ({"number": True}, "Expected `number | str`, got `bool`"),
        ({"number": "1e3"}, "Expected a plain decimal number from -1e15 to 1e15"),
        ({"confidence": "1"}, "Expected `number`, got `str`"),
        ({"confidence": 1.5}, "Expected `number` <= 1"),
        ({"expiry": None}, "Expected `number | datetime`, got `null`"),
        ({"expiry": "soon"}, "Expected an ISO 8601 date and time with `Z` or an offset"),
        (
            {"expiry": "2026-01-02T10:30:00"},
            "Expected an ISO 8601 date and time with `Z` or an offset",
        ),
        ({"side": "hold"}, "Expected `buy | sell`"),
        ({"side": None}, "Expected `str`, got `null`"),
        ({"is_odd": 1}, "Expected `bool`, got `int`"),
    ],
)
def test_words(fields: JsonObject, message: str) -> None:
    """What is wrong is said in JSON's words and without regular expressions."""
    name = next(iter(fields))

    assert refusal(fields, Inner) == (message, f"$.{name}")


def test_a_value_cannot_forge_a_path() -> None:
    """Words that a feed put into its value are not taken for msgspec's own."""
    given = {"inner": {"side": "hold' - at `$.forged`"}}

    assert refusal(given, Outer) == ("Expected `buy | sell`", "$.inner.side")


def test_paths_lead_into_lists() -> None:
    """A path says which item of a list it is."""
    given = {"inner": {}, "more": [{}, {"size": 0}]}

    assert refusal(given, Outer)[1] == "$.more[1].size"


def test_paths_begin_where_the_caller_says() -> None:
    """A part of a line is validated with the path it has in the whole."""
    assert refusal([{}, {"size": 0}], list[Inner], "$.orders")[1] == "$.orders[1].size"
    assert refusal({}, list[Inner], "$.orders")[1] == "$.orders"


def test_a_missing_field_is_pointed_at() -> None:
    """The path of what is missing is the one it would have."""
    assert refusal({}, Outer) == ("Object missing required field `inner`", "$.inner")


def test_a_struct_may_check_itself() -> None:
    """A struct's own check names the field, in a list as well."""
    assert refusal({"even": 1}, Picky) == ("Expected an even number", "$.even")
    assert refusal([{"even": 2}, {"even": 1}], list[Picky])[1] == "$[1].even"


def test_what_fits_is_converted() -> None:
    """What fits comes back as the struct."""
    assert convert({"even": 2}, Picky) == Picky(2)
    assert convert("2026-01-02T10:30:00Z", datetime).year == 2026


def test_known_part() -> None:
    """Unknown fields are left out of the copy and stay in the original."""
    given = {"unknown": 0, "needed": 1, "maybe": 2}

    assert known_part(given, Sparse) == {"needed": 1, "maybe": 2}
    assert given == {"unknown": 0, "needed": 1, "maybe": 2}


def test_nulls_that_mean_nothing_are_taken_out() -> None:
    """Null goes from optional fields only, from the original as well."""
    given = {"needed": None, "maybe": None, "perhaps": 1, "anything": None, "unknown": None}

    assert known_part(given, Sparse) == {"needed": None, "perhaps": 1, "anything": None}
    assert given == {"needed": None, "perhaps": 1, "anything": None, "unknown": None}


def test_shape_of() -> None:
    """A known word is looked up."""
    assert shape_of({"a": 1}, "op", "a", FeedErrorCode.UNKNOWN_OP) == 1


@pytest.mark.parametrize(
    ("word", "code"), [("b", "unknown_op"), (1, "invalid_message"), (None, "invalid_message")]
)
def test_shape_of_something_else(word: object, code: str) -> None:
    """An unknown word has the caller's code; what is no string is `invalid_message`."""
    with pytest.raises(FeedError) as refusal:
        shape_of({"a": 1}, "op", word, FeedErrorCode.UNKNOWN_OP)

    assert (refusal.value.code, refusal.value.path) == (code, "$.op")


def test_read_object() -> None:
    """An object is read as it is; the last of duplicate keys counts."""
    assert read_object(b' {"a":1,"b":[-0.0],"a":2} ') == {"a": 2, "b": [-0.0]}


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"[]", "invalid_message", "Expected `object`, got `array`"),
        (b"1", "invalid_message", "Expected `object`, got `int`"),
        (b'{"a":1e999}', "invalid_message", "Number out of range"),
        (b'{"a":' + b"[" * 100_000, "invalid_message", "Nested too deep"),
        (b'{"a":"\xff"}', "invalid_json", "A string is not UTF-8"),
        (b"{", "invalid_json", "Input data was truncated"),
        (b"{a}", "invalid_json", "JSON is malformed: object keys must be strings (byte 1)"),
    ],
)
def test_what_is_no_object(line: bytes, code: str, message: str) -> None:
    """Each thing that can be wrong with a line as such has its code and its words."""
    with pytest.raises(FeedError) as refusal:
        read_object(line)

    assert (refusal.value.code, refusal.value.message) == (code, message)


def test_a_deep_object_is_read() -> None:
    """Nesting within reason is nobody's concern here."""
    depth = 300
    value = read_object(b'{"a":' * depth + b"1" + b"}" * depth)

    assert msgspec.json.encode(value).count(b"{") == depth
