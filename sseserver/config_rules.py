"""What a configuration key may hold: each rule checks a value and words the error."""

import re
import unicodedata
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, cast


class Rule(NamedTuple):
    """What one key may hold.

    Attributes:
        allowed: Completes "allowed is ...", with range and unit.
        parse: Returns the value as the configuration keeps it, or raises `ValueError`.
        is_text: Text from the environment needs no TOML quotes.
        item: The rule of each element where the key is a list.
    """

    allowed: str
    parse: Callable[[object], object]
    is_text: bool = False
    item: "Rule | None" = None


def whole(low: int, high: int, unit: str = "") -> Rule:
    """Return the rule for integers within bounds, both included."""

    def parse(value: object) -> int:
        if type(value) is not int or not low <= value <= high:  # a bool is no number here
            raise ValueError
        return value

    return Rule(f"an integer from {low} to {high} {unit}".rstrip(), parse)


def number(low: float, high: float, unit: str) -> Rule:
    """Return the rule for numbers within bounds, both included."""

    def parse(value: object) -> float:
        if type(value) not in {int, float} or not low <= cast("float", value) <= high:
            raise ValueError  # NaN is within no range
        return float(cast("float", value))

    return Rule(f"a number from {low} to {high} {unit}", parse)


def seconds(high: int) -> Rule:
    """Return the rule for durations; the shortest suits tests."""
    # 0.05 is short enough for tests and long enough for an event loop under load.
    return number(0.05, high, "seconds")


def switch() -> Rule:
    """Return the rule for booleans."""

    def parse(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError  # noqa: TRY004 - one error for all that is not allowed
        return value

    return Rule("true or false", parse)


def text(check: Callable[[str], object], allowed: str) -> Rule:
    """Return the rule for strings that `check` accepts by returning what is kept of them."""

    def parse(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - one error for all that is not allowed
        return check(value)

    return Rule(allowed, parse, is_text=True)


def matching(pattern: str, allowed: str) -> Rule:
    """Return the rule for strings that match a pattern as a whole."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError
        return text

    return text(check, allowed)


def one_of(*words: str, note: str = "") -> Rule:
    """Return the rule for a choice of words."""
    quoted = " or ".join(f'"{word}"' for word in words)
    return matching("|".join(map(re.escape, words)), quoted + note)


def list_of(item: Rule) -> Rule:
    """Return the rule for lists whose elements keep `item`."""

    def parse(_: object) -> object:
        raise ValueError  # what is a list is taken element by element

    return Rule(f"a list, each element {item.allowed}", parse, item=item)


def _check_host(text: str) -> str:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ip_address(bare))
    except ValueError:
        # The last label of a name is not a number (RFC 1123 section 2.1), that of a
        # mistyped address is. Underscores are no host name's, but container networks have them.
        name = r"(?=.{1,253}$)(?:[A-Za-z0-9_-]{1,63}\.)*(?![0-9]+$)[A-Za-z0-9_-]{1,63}"
        if re.fullmatch(name, text) is None:
            raise
        return text.lower()


def _check_origin(text: str) -> str:
    """Return an origin as a browser would send it: lower case, no default port."""
    if text == "*":
        return text
    host = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"
    match = re.fullmatch(rf"([a-z][a-z0-9+.-]*)://({host})(?::([0-9]{{1,5}}))?", text.lower())
    if match is None or int(match[3] or 0) > 65_535:
        raise ValueError
    has_default_port = (match[1], int(match[3] or 0)) in {("http", 80), ("https", 443)}
    return f"{match[1]}://{match[2]}" if has_default_port else match[0]


def check_path(text: str) -> str:
    """Return a path that fits into a socket address, or raise `ValueError` (unix(7))."""
    if not text or "\0" in text or len(text.encode("utf-8", "surrogateescape")) > 107:
        raise ValueError
    return text


def check_secret_key(text: str) -> str:
    """Return a key of which something is left when it is compared, or raise `ValueError`.

    Letters and digits are all that is compared, of the compatible form (`ingest.redaction`): a
    ligature that falls apart into a blank and accents would end every key, as `_` would.
    """
    if not any(map(str.isalnum, unicodedata.normalize("NFKC", text).casefold())):
        raise ValueError
    return text


HOST: Final = text(_check_host, "a host name or an IP address, without a port")
HOSTS: Final = list_of(HOST)
NETWORKS: Final = list_of(
    text(ip_network, 'a network such as "10.0.0.0/8" or "::1/128", no bits set after the prefix')
)
ORIGINS: Final = list_of(text(_check_origin, '"*" or an origin such as "https://example.com"'))
LATER: Final = "(anything else comes with a later release)"
