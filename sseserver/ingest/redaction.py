"""Takes secrets and internal fields out of JSON objects that pass through to clients.

Keys are judged, values never: what stands under a secret key is replaced whole, whatever its
type, and everything else is copied as it is. A feed uses the same few keys over and over, so
each is judged once and remembered.

Source: contract section 6, first item; specification, "Event Data Sanitization".
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.events import JsonObject

REDACTED: Final = "[REDACTED]"

MAX_LEVELS: Final = 200
"""Nesting that is followed, one call a level; the interpreter allows 1,000 calls in all."""

MAX_REMEMBERED_KEYS: Final = 4_096
MAX_REMEMBERED_CHARACTERS: Final = 64
"""Bounds of the memory of judged keys, which a feed fills: 256 K characters."""


_Verdict: TypeAlias = Literal["keep", "redact", "leave out"]


class Redactor:
    """Redacts objects by the rules of one configuration.

    Args:
        secret_keys: `redaction.secret_keys`; each has a letter or digit.
        internal_prefixes: `redaction.internal_prefixes`; none is empty.
    """

    __slots__ = ("_internal_prefixes", "_secret_endings", "_spared", "_verdicts")

    def __init__(self, secret_keys: Sequence[str], internal_prefixes: Sequence[str]) -> None:
        names = [_letters_and_digits(key) for key in secret_keys]
        assert all(names), "an empty name would end every key"
        assert all(internal_prefixes), "an empty prefix would begin every key"
        self._secret_endings = (*names, *(f"{name}s" for name in names))
        self._internal_prefixes = tuple(internal_prefixes)
        self._verdicts: dict[str, _Verdict] = {}
        self._spared: dict[type[Struct], bool] = {}

    def spares(self, shape: type[Struct]) -> bool:
        """Return whether objects of this shape stay as they are, whatever they say.

        They do when each of their fields is a text, number or choice under a harmless key.
        """
        spared = self._spared.get(shape)
        if spared is None:
            fields = msgspec.structs.fields(shape)
            spared = all(
                field.type is not Any and self._judge(field.name) == "keep" for field in fields
            )
            self._spared[shape] = spared
        return spared

    def redact(self, value: JsonObject, path: str = "$") -> JsonObject:
        """Return a copy of `value` without secrets and internal fields, at any depth.

        Args:
            value: The object.
            path: Where it stands in the line.

        Raises:
            FeedError: `invalid_message`, objects and lists are nested in more than
                `MAX_LEVELS` levels.
        """
        try:
            redacted: JsonObject = self._redact_container(value, 1)
        except FeedError as error:
            error.path = path
            raise
        return redacted

    def is_secret(self, key: str) -> bool:
        """Return whether `key` names a secret, whatever its case and its separators.

        It does when it equals or ends with one of the configured keys, with or without a
        plural s: `userPassword` and `API-KEYS` do, `secretary` does not.
        """
        return _letters_and_digits(key).endswith(self._secret_endings)

    def _redact_container(self, value: Any, level: int) -> Any:
        if level > MAX_LEVELS:
            raise FeedError(
                FeedErrorCode.INVALID_MESSAGE,
                f"Expected objects and lists within {MAX_LEVELS} levels",
            )
        if isinstance(value, list):
            return [
                self._redact_container(item, level + 1) if isinstance(item, (dict, list)) else item
                for item in value
            ]
        verdicts = self._verdicts
        redacted = {}
        for key, item in value.items():
            verdict = verdicts.get(key) or self._judge(key)
            if verdict == "redact":
                redacted[key] = REDACTED
            elif verdict == "keep":
                redacted[key] = (
                    self._redact_container(item, level + 1)
                    if isinstance(item, (dict, list))
                    else item
                )
        return redacted

    def _judge(self, key: str) -> _Verdict:
        if key.startswith(self._internal_prefixes):
            verdict: _Verdict = "leave out"
        elif self.is_secret(key):
            verdict = "redact"
        else:
            verdict = "keep"
        if len(key) <= MAX_REMEMBERED_CHARACTERS:
            if len(self._verdicts) >= MAX_REMEMBERED_KEYS:
                self._verdicts.clear()  # keys that are in use come back at once
            self._verdicts[key] = verdict
        return verdict


def _letters_and_digits(key: str) -> str:
    if not key.isascii():
        key = unicodedata.normalize("NFKC", key)  # full-width letters are the same letters
    return "".join(filter(str.isalnum, key.casefold()))
