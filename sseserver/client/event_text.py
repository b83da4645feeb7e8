"""One line of text for one event, as a person reads it.

Pure. Takes events of any server: a field that is missing is left out, one of another type is
shown as it is, and nothing that came from the peer reaches the terminal unescaped.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeAlias

from sseserver.client.printable import escape_unprintable

_Json: TypeAlias = Mapping[str, Any]

_MAX_NAMES: Final = 8  # symbols named in a summary, so that it stays one line of a terminal
_TYPE_WIDTH: Final = len("connection:refused")  # the longest, so that all texts begin in one column

_PLAIN: Final = ""
_RED: Final = "31"
_GREEN: Final = "32"
_YELLOW: Final = "33"
_BLUE: Final = "34"
_MAGENTA: Final = "35"
_CYAN: Final = "36"
_GREY: Final = "90"


def parse_json(text: str) -> Any:
    """Return the JSON value of an event's data, or the text itself when it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def event_line(event_type: str, data: str, now: datetime, *, has_colour: bool) -> str:
    """Return time, event type and what the event says, in one line without its end.

    Args:
        event_type: The `event` field.
        data: The `data` field.
        now: Shown when the event carries no time of its own; its zone is the one shown.
        has_colour: Whether to colour the type for a terminal.
    """
    value = parse_json(data)
    colour, describe = _DESCRIPTIONS.get(event_type, (_PLAIN, _raw))
    text, time = data, now
    if isinstance(value, dict):
        time = _local_time(value.get("timestamp"), now)
        with suppress(RecursionError):  # nested too deep to be written anew
            text = describe(value)
    label = escape_unprintable(event_type)
    # Padded before it is coloured: the codes take no room on the screen.
    label = f"{label:<{_TYPE_WIDTH}}"
    if has_colour and colour:
        label = f"\x1b[{colour}m{label}\x1b[0m"
    return f"{time:%H:%M:%S}.{time.microsecond // 1000:03} {label} {escape_unprintable(text)}"


def _local_time(timestamp: object, now: datetime) -> datetime:
    """Return an event's own time in the zone of `now`, or `now` where it has none."""
    if isinstance(timestamp, str):
        try:
            return datetime.fromisoformat(timestamp).astimezone(now.tzinfo)
        except (ValueError, OverflowError):
            pass
    return now


def _words(*parts: str | None) -> str:
    return " ".join(part for part in parts if part)


def _show(value: object) -> str | None:
    """Return a JSON value as text: strings bare, all else as JSON, None for null."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _field(data: _Json, name: str, before: str = "") -> str | None:
    """Return one field with a word before it, or None where the field is missing."""
    text = _show(data.get(name))
    return _words(before, text) if text else None


def _items(data: _Json, name: str) -> list[_Json]:
    value = data.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _names(items: list[_Json]) -> str:
    names = [_field(item, "symbol") or "?" for item in items]
    more = [f"and {len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
    return " ".join(names[:_MAX_NAMES] + more)


def _raw(data: _Json) -> str:
    return json.dumps(data, ensure_ascii=False)


def _connected(data: _Json) -> str:
    return _words(
        _field(data, "stream"),
        _field(data, "clientId", "as"),
        _field(data, "replay", "replaying"),
    )


def _gap(data: _Json) -> str:
    return _words(
        "events may be lost", _field(data, "lastEventId", "after"), _field(data, "reason", "-")
    )


def _order(data: _Json) -> str:
    if data.get("snapshot"):
        orders = _items(data, "orders")
        counts = Counter(_field(order, "status") or "?" for order in orders)
        states = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"snapshot: {len(orders)} orders" + (f" ({states})" if states else "")
    return _words(
        _field(data, "orderId"),
        _field(data, "side"),
        _field(data, "qty"),
        _field(data, "symbol"),
        _field(data, "limitPrice", "limit"),
        _field(data, "status"),
        _field(data, "reason", "because"),
    )


def _fill(data: _Json) -> str:
    return _words(
        _field(data, "orderId"),
        _field(data, "side"),
        _field(data, "filledQty"),
        _field(data, "qty", "of"),
        _field(data, "symbol"),
        _field(data, "filledAvgPrice", "at"),
        _field(data, "status"),
    )


def _trade(data: _Json) -> str:
    return _words(
        _field(data, "tradeId"),
        _field(data, "side"),
        _field(data, "qty"),
        _field(data, "symbol"),
        _field(data, "price", "at"),
        _field(data, "orderId", "for"),
    )


def _position(data: _Json) -> str:
    items = _items(data, "positions")
    total = _field(data, "totalValue", "total")
    if data.get("snapshot"):
        return _words(f"snapshot: {len(items)} positions", _names(items), total)
    texts = [
        _words(
            _field(item, "symbol"),
            _field(item, "quantity"),
            _field(item, "entryPrice", "at"),
            _field(item, "currentPrice", "now"),
            _field(item, "unrealizedPnL", "P&L"),
            _field(item, "realizedPnL", "realised"),
        )
        for item in items
    ]
    return _words("; ".join(texts), total)


def _price(data: _Json) -> str:
    if data.get("initializing"):
        items = _items(data, "prices")
        return _words(f"snapshot: {len(items)} prices", _names(items))
    return _words(
        _field(data, "symbol"),
        _field(data, "bid"),
        _field(data, "ask", "x"),
        _field(data, "price", "last"),
    )


def _decision(data: _Json) -> str:
    return _words(
        _field(data, "strategyId"),
        _field(data, "status"),
        _field(data, "signalType"),
        _field(data, "action"),
        _field(data, "symbol"),
        _field(data, "confidence", "confidence"),
        _field(data, "reasoning", "-"),
        _field(data, "error", "-"),
    )


def _agent(data: _Json) -> str:
    return _words(_field(data, "agentId"), _field(data, "status"), _field(data, "message", "-"))


def _alert(data: _Json) -> str:
    return _words((_field(data, "level") or "").upper(), _field(data, "message"))


def _farewell(data: _Json) -> str:
    return _words(
        _field(data, "message"),
        _field(data, "reason"),
        _field(data, "limit", "limit"),
    )


def _refusal(data: _Json) -> str:
    wait = _field(data, "retryAfterMs", "- retry after ms")
    milliseconds = data.get("retryAfterMs")
    if isinstance(milliseconds, int | float):
        with suppress(OverflowError):  # an integer past any float
            wait = f"- next try in {milliseconds / 1000:g} s"
    return _words(_field(data, "reason"), wait)


_Description: TypeAlias = tuple[str, Callable[[_Json], str]]

_DESCRIPTIONS: Final[Mapping[str, _Description]] = {
    "connected": (_GREY, _connected),
    "stream:gap": (_RED, _gap),
    "order:update": (_CYAN, _order),
    "order:fill": (_GREEN, _fill),
    "trade:new": (_GREEN, _trade),
    "position:update": (_MAGENTA, _position),
    "price:update": (_PLAIN, _price),
    "ai:decision": (_BLUE, _decision),
    "agent:status": (_BLUE, _agent),
    "strategy:update": (_BLUE, _decision),
    "alert:new": (_YELLOW, _alert),
    "test": (_GREY, _farewell),
    "connection:limit": (_RED, _farewell),
    "connection:refused": (_RED, _refusal),
    "session:expired": (_RED, _farewell),
    "server:shutdown": (_YELLOW, _farewell),
}
