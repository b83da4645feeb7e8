"""Plain JSON against the structs of messages, and the words for what does not fit.

The path of everything that is not the usual line: slower than a typed decode, it tells unknown
fields and nulls from mistakes. What msgspec says is put into JSON's words instead of Python's,
without regular expressions, and with the path apart.

Source: contract section 3.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar, get_args

import msgspec
from msgspec import UNSET, Struct

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject
from sseserver.ingest.fields import CHOICES, NAME_WORDS, WORDS, FieldError, Name, is_name

_MAX_QUOTED: Final = 64
"""Characters of an unknown word that are repeated to whoever sent it."""

_S = TypeVar("_S")

_decode_json: Final = msgspec.json.Decoder().decode
_missing_field: Final = re.compile(r"Object missing required field `(\w+)`").fullmatch
_number_first: Final = re.compile(r"^Expected `(?:int|float)`")


def read_object(line: bytes) -> JsonObject:
    """Return a JSON object; of duplicate keys the last counts.

    Raises:
        FeedError: It is no JSON in UTF-8; or it is, but no object, nested too deep, or with a
            number out of range.
    """
    try:
        value = _decode_json(line)
    except RecursionError as error:
        raise too_deep("$") from error
    except msgspec.ValidationError as error:
        raise FeedError(FeedErrorCode.INVALID_MESSAGE, "Number out of range", path="$") from error
    except UnicodeDecodeError as error:
        raise FeedError(FeedErrorCode.INVALID_JSON, "A string is not UTF-8") from error
    except msgspec.DecodeError as error:
        raise FeedError(FeedErrorCode.INVALID_JSON, str(error)) from error
    return value if isinstance(value, dict) else convert(value, dict)


def too_deep(path: str) -> FeedError:
    """Return the refusal of a value at `path` in which nobody follows the nesting."""
    return FeedError(FeedErrorCode.INVALID_MESSAGE, "Nested too deep", path=path)


def convert(given: object, shape: type[_S], path: str = "$") -> _S:
    """Return `given` as `shape`.

    Raises:
        FeedError: It does not fit; the path of the fault begins with `path`.
    """
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise _refusal(error, path) from error


def check_names(message: Struct, path: str) -> None:
    """Refuse control characters in the names of a message.

    Args:
        message: A struct with fields of the type `Name`.
        path: Where it stands in the line.

    Raises:
        FeedError: There is one.
    """
    for field in _name_fields(type(message)):
        name = getattr(message, field)
        if isinstance(name, str) and not is_name(name):
            raise FeedError(FeedErrorCode.INVALID_MESSAGE, NAME_WORDS, path=f"{path}.{field}")


def known_part(given: JsonObject, shape: type[Struct]) -> JsonObject:
    """Return the fields of `given` that `shape` knows.

    Null in an optional field says that it was left out, unless any JSON value may stand there.
    It is taken out of `given` too.
    """
    if None in given.values():
        for name in _nullable_fields(shape):
            if given.get(name, UNSET) is None:
                del given[name]
    return {name: given[name] for name in shape.__struct_fields__ if name in given}


def shape_of(shapes: Mapping[str, _S], field: str, word: object, code: FeedErrorCode) -> _S:
    """Return what `word`, the value of `field`, stands for in `shapes`.

    Raises:
        FeedError: With `code` where it is not one of them.
    """
    if not isinstance(word, str):
        words = f"`{field}` has to be a string"
        raise FeedError(FeedErrorCode.INVALID_MESSAGE, words, path=f"$.{field}")
    shape = shapes.get(word)
    if shape is None:
        raise FeedError(code, f"Unknown {field} `{word[:_MAX_QUOTED]}`", path=f"$.{field}")
    return shape


@cache
def _nullable_fields(shape: type[Struct]) -> tuple[str, ...]:
    fields = msgspec.structs.fields(shape)
    return tuple(field.name for field in fields if not field.required and field.type is not Any)


@cache
def _name_fields(shape: type[Struct]) -> tuple[str, ...]:
    fields = msgspec.structs.fields(shape)
    return tuple(field.name for field in fields if Name in (field.type, *get_args(field.type)))


def _refusal(error: msgspec.ValidationError, root: str) -> FeedError:
    """Return what a feed is told of a value that does not fit; `root` is where it stands."""
    message, _, place = str(error).rpartition(" - at `")
    if not message:
        message, place = place, "$"
    path = root + place.removesuffix("`").removeprefix("$")
    missing = _missing_field(message)
    if isinstance(error.__cause__, FieldError):
        path = f"{path}.{error.__cause__.field}"
    elif missing is not None:
        path = f"{path}.{missing[1]}"
    elif message.startswith("Invalid enum value"):
        # msgspec repeats the value, however long, and does not say what would be right.
        message = f"Expected `{' | '.join(CHOICES[path.rpartition('.')[2]])}`"
    else:
        message = WORDS.get(message) or _in_json_words(message)
    return FeedError(FeedErrorCode.INVALID_MESSAGE, message, path=path)


def _in_json_words(message: str) -> str:
    """Return what msgspec says with `number` for `int`, `float`, or both."""
    message = message.replace("int | float", "number")
    return _number_first.sub("Expected `number`", message).removesuffix(".0")
