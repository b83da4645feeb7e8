"""The `data` of each event type: `sseserver.ingest.payloads`."""

import msgspec
import pytest

from sseserver.ingest.messages import decode
from sseserver.ingest.payloads import HeldPosition
from tests.unit.ingest.sample_lines import PAYLOADS, envelope, fault, line, refused

REQUIRED = {
    "order:update": ["orderId", "symbol", "side", "qty", "status"],
    "order:fill": ["orderId", "filledQty", "filledAvgPrice"],
    "trade:new": ["tradeId", "symbol", "side", "qty", "price"],
    "position:update": ["symbol", "quantity"],
    "price:update": ["symbol", "price"],
    "ai:decision": ["decisionId", "action"],
    "agent:status": ["agentId", "status"],
    "strategy:update": ["strategyId"],
    "alert:new": ["alertId", "level", "message"],
}
ALWAYS_NEEDED = [(kind, field) for kind, fields in REQUIRED.items() for field in fields]
OPTIONAL = [
    (kind, field)
    for kind, payload in PAYLOADS.items()
    for field in payload
    if field not in REQUIRED[kind]
]

NAMES = ["orderId", "tradeId", "symbol", "decisionId", "agentId", "strategyId", "alertId"]
NAME_FIELDS = [
    *((kind, name) for kind, payload in PAYLOADS.items() for name in NAMES if name in payload),
    ("order:update", "status"),
]
SIZES = [("order:update", "qty"), ("order:fill", "qty"), ("trade:new", "qty")]
VOLUMES = [("order:update", "filledQty"), ("order:fill", "filledQty"), ("price:update", "volume")]
PRICES = [
    ("order:update", "filledAvgPrice"),
    ("order:update", "limitPrice"),
    ("order:fill", "filledAvgPrice"),
    ("trade:new", "price"),
    ("position:update", "entryPrice"),
    ("position:update", "currentPrice"),
    ("position:update", "exitPrice"),
    ("price:update", "price"),
    ("price:update", "bid"),
    ("price:update", "ask"),
]
SIGNED = [("position:update", "quantity"), ("position:update", "realizedPnL")]
TEXTS = [
    ("order:update", "reason"),
    ("ai:decision", "action"),
    ("ai:decision", "reasoning"),
    ("agent:status", "status"),
    ("agent:status", "message"),
    ("strategy:update", "signalType"),
    ("strategy:update", "action"),
    ("strategy:update", "reasoning"),
    ("strategy:update", "error"),
    ("alert:new", "message"),
]
CHOICES = [
    ("order:update", "side", "buy | sell"),
    ("order:fill", "side", "buy | sell"),
    ("trade:new", "side", "buy | sell"),
    ("strategy:update", "status", "started | stopped | error"),
    ("alert:new", "level", "info | warning | error"),
]


def with_field(event_type: str, field: str, value: object) -> bytes:
    """Return a good line with one field of its payload replaced."""
    return line(envelope(event_type, PAYLOADS[event_type] | {field: value}))


def without_field(event_type: str, field: str) -> bytes:
    """Return a good line with one field of its payload left out."""
    data = {name: value for name, value in PAYLOADS[event_type].items() if name != field}
    return line(envelope(event_type, data))


def is_refused_there(event_type: str, field: str, value: object) -> bool:
    """Return whether a value is refused, and at the path of its field."""
    expected = ("invalid_message", f"$.data.{field}")
    return fault(with_field(event_type, field, value)) == expected


@pytest.mark.parametrize(("event_type", "field"), ALWAYS_NEEDED)
def test_required_fields(event_type: str, field: str) -> None:
    """What the contract requires is required, and the path names it."""
    error = refused(without_field(event_type, field))

    assert error.message == f"Object missing required field `{field}`"
    assert error.path == f"$.data.{field}"


@pytest.mark.parametrize(("event_type", "field"), OPTIONAL)
def test_optional_fields(event_type: str, field: str) -> None:
    """What the contract only knows may be left out."""
    decode(without_field(event_type, field))


@pytest.mark.parametrize(("event_type", "field"), NAME_FIELDS)
def test_names(event_type: str, field: str) -> None:
    """Names are 1 to 128 characters without control characters."""
    for good in ("x", "x" * 128, "BRK.B", "ÄÖ 株\u00a0", "a/b?c#d"):
        decode(with_field(event_type, field, good))
    for bad in ("", "x" * 129, "a\x00b", "a\nb", "a\x1f", "\x7f", "a\x80b", "a\x85", "\x9f", 1):
        assert is_refused_there(event_type, field, bad)


@pytest.mark.parametrize(("event_type", "field"), SIZES)
def test_sizes(event_type: str, field: str) -> None:
    """A quantity of something is above 0."""
    for good in (1, 0.5, 10**15, 1e15, 5e-324, "1", "0.001"):
        decode(with_field(event_type, field, good))
    for bad in (0, 0.0, -0.0, -1, "0", "0.00", "-1", 10**15 + 1, 1e16, [1], True, "1e3"):
        assert is_refused_there(event_type, field, bad)


@pytest.mark.parametrize(("event_type", "field"), VOLUMES)
def test_volumes(event_type: str, field: str) -> None:
    """What was traded or filled so far is 0 or above."""
    for good in (0, 0.0, -0.0, 1, 0.5, 10**15, 1e15, "0", "0.00", "152.50"):
        decode(with_field(event_type, field, good))
    for bad in (-1, -0.01, "-1", 10**15 + 1, 10**30, 1.1e15, {"a": 1}, False, "", "NaN"):
        assert is_refused_there(event_type, field, bad)


@pytest.mark.parametrize(("event_type", "field"), [*PRICES, *SIGNED])
def test_signed_numbers(event_type: str, field: str) -> None:
    """Prices, and what may be gained or lost, held or owed, have either sign."""
    for good in (0, -1, 1, -0.5, -37.63, 10**15, -(10**15), "-12.50", "0", "-0", "152.50"):
        decode(with_field(event_type, field, good))
    for bad in (-(10**15) - 1, 10**30, -(10**30), 1e16, -1e16, "", "-", "-1e3", "NaN", [1], True):
        assert is_refused_there(event_type, field, bad)


@pytest.mark.parametrize(("event_type", "field"), TEXTS)
def test_texts(event_type: str, field: str) -> None:
    """Texts are strings within a generous limit, line breaks included."""
    for good in ("", "line\r\nline", "x" * 65_536):
        decode(with_field(event_type, field, good))
    for bad in ("x" * 65_537, 1, [1], {"a": 1}, False):
        assert is_refused_there(event_type, field, bad)


@pytest.mark.parametrize(("event_type", "field", "choices"), CHOICES)
def test_choices(event_type: str, field: str, choices: str) -> None:
    """A field with a closed set takes nothing else, and says what it takes."""
    for good in choices.split(" | "):
        decode(with_field(event_type, field, good))
    error = refused(with_field(event_type, field, "x" * 10_000))
    assert (error.message, error.path) == (f"Expected `{choices}`", f"$.data.{field}")
    assert is_refused_there(event_type, field, 1)


@pytest.mark.parametrize("event_type", ["ai:decision", "strategy:update"])
def test_confidence(event_type: str) -> None:
    """A confidence is a number from 0 to 1."""
    for good in (0, 1, 0.0, 1.0, 0.85):
        decode(with_field(event_type, "confidence", good))
    for bad in (-1, 2, -0.01, 1.01, "0.5", True):
        assert is_refused_there(event_type, "confidence", bad)


@pytest.mark.parametrize("event_type", ["ai:decision", "strategy:update"])
@pytest.mark.parametrize("value", [None, True, 1, 10**30, "x", [], {}, [{"a": [None]}]])
def test_details(event_type: str, value: object) -> None:
    """`details` is any JSON value."""
    decode(with_field(event_type, "details", value))


@pytest.mark.parametrize("event_type", PAYLOADS)
def test_timestamps(event_type: str) -> None:
    """A timestamp is a date and time of ISO 8601 with `Z` or an offset."""
    for good in (
        "2026-01-02T10:30:00Z",
        "2026-01-02T10:30:00.123456789Z",
        "2024-02-29T23:59:59+05:30",
    ):
        decode(with_field(event_type, "timestamp", good))
    for bad in (
        "",
        "now",
        "2026-01-02",
        "2026-01-02T10:30:00",
        "2026-01-02 10:30:00Z",
        "2026-02-29T10:30:00Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T10:30:00Z\n",
        "2026-01-02T10:30:00." + "0" * 40 + "Z",
        1735819800,
    ):
        assert is_refused_there(event_type, "timestamp", bad)


@pytest.mark.parametrize("given", [{"status": "error"}, {"signalType": "exit"}])
def test_a_strategy_update_says_something(given: dict[str, str]) -> None:
    """A strategy's update has a status or a signal."""
    decode(line(envelope("strategy:update", {"strategyId": "s-1"} | given)))


def test_a_strategy_update_that_says_nothing_is_refused() -> None:
    """Without a status and a signal, nothing has happened."""
    error = refused(line(envelope("strategy:update", {"strategyId": "s-1", "action": "buy"})))

    assert error.message == "Object missing `status` or `signalType`"
    assert error.path == "$.data"


@pytest.mark.parametrize("quantity", [1, -1, 0.5, "-10", "0.001"])
def test_a_held_position(quantity: float | str) -> None:
    """What is held has a quantity of either sign and an entry price."""
    given = {"symbol": "AAPL", "quantity": quantity, "entryPrice": "150.00"}

    assert msgspec.convert(given, HeldPosition) == HeldPosition(
        symbol="AAPL", quantity=quantity, entryPrice="150.00"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0},
        {"quantity": -0.0},
        {"quantity": "-0.00"},
        {"entryPrice": None},
        {"currentPrice": "-"},
        {"timestamp": "yesterday"},
    ],
)
def test_no_position_is_held(change: dict[str, object]) -> None:
    """Nothing held, no entry price, a bad price or a bad timestamp is no held position."""
    given = {"symbol": "AAPL", "quantity": 1, "entryPrice": 1} | change

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, HeldPosition)
