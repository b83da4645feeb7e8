"""Lines that publish nothing: `sseserver.ingest.operations`."""

from typing import Any

import pytest

from sseserver.errors import FeedError
from sseserver.ingest.operations import (
    OperationMessage,
    OrdersPut,
    Ping,
    PositionsPut,
    SessionDelete,
    SessionPut,
    StrategyDelete,
    StrategyPut,
    operation_message,
)
from tests.unit.ingest.sample_lines import PAYLOADS

ORDER = PAYLOADS["order:update"]
POSITION = {"symbol": "AAPL", "quantity": "-10", "entryPrice": 150, "currentPrice": "152.50"}


def operation(op: str, **fields: object) -> OperationMessage:
    """Return the message of an operation."""
    return operation_message({"op": op} | fields, op)


def fault(op: str, **fields: object) -> tuple[str, str | None]:
    """Return code and path of the error with which an operation is refused."""
    with pytest.raises(FeedError) as refusal:
        operation(op, **fields)
    return refusal.value.code, refusal.value.path


def expiry(moment: object) -> int | None:
    """Return what `expiresAt` is taken for."""
    message = operation("session.put", sessionId="s", userId="u", expiresAt=moment)
    assert isinstance(message, SessionPut)
    return message.expires_at_ms


@pytest.mark.parametrize(
    ("op", "fields", "message"),
    [
        ("ping", {}, Ping()),
        ("ping", {"ref": 1}, Ping(ref=1)),
        ("session.put", {"sessionId": "s", "userId": "u"}, SessionPut(sessionId="s", userId="u")),
        (
            "session.put",
            {"sessionId": "s", "userId": "u", "role": "admin", "ref": "r"},
            SessionPut(sessionId="s", userId="u", role="admin", ref="r"),
        ),
        ("session.delete", {"sessionId": "s"}, SessionDelete(sessionId="s")),
        (
            "strategy.put",
            {"strategyId": "s", "userId": "u"},
            StrategyPut(strategyId="s", userId="u"),
        ),
        (
            "strategy.delete",
            {"strategyId": "s", "userId": "u"},
            StrategyDelete(strategyId="s", userId="u"),
        ),
        ("strategy.delete", {"strategyId": "s"}, StrategyDelete(strategyId="s")),
        ("orders.put", {"userId": "u", "orders": []}, OrdersPut(userId="u", orders=[])),
        (
            "orders.put",
            {"userId": "u", "orders": [ORDER], "notify": True},
            OrdersPut(userId="u", orders=[ORDER], notify=True),
        ),
        (
            "positions.put",
            {"userId": "u", "positions": [POSITION], "notify": True},
            PositionsPut(userId="u", positions=[POSITION], notify=True),
        ),
    ],
)
def test_operations(op: str, fields: dict[str, Any], message: OperationMessage) -> None:
    """Each operation of the contract becomes a message of its own."""
    assert operation(op, **fields) == message


def test_a_session_is_a_users_unless_said_otherwise() -> None:
    """The role is `user` by default."""
    message = operation("session.put", sessionId="s", userId="u")

    assert isinstance(message, SessionPut)
    assert (message.role, message.expires_at_ms) == ("user", None)


def test_nulls_and_unknown_fields_mean_nothing() -> None:
    """Null in an optional field means that it was left out; unknown fields are ignored."""
    message = operation(
        "session.put", sessionId="s", userId="u", role=None, expiresAt=None, color="red"
    )

    assert message == SessionPut(sessionId="s", userId="u")


@pytest.mark.parametrize(
    ("op", "fields", "path"),
    [
        ("session.put", {}, "$.sessionId"),
        ("session.put", {"sessionId": "s"}, "$.userId"),
        ("session.put", {"sessionId": "", "userId": "u"}, "$.sessionId"),
        ("session.put", {"sessionId": "s", "userId": "u\x7f"}, "$.userId"),
        ("session.put", {"sessionId": "s", "userId": "u", "role": "root"}, "$.role"),
        ("session.put", {"sessionId": "s", "userId": "u", "role": 1}, "$.role"),
        ("session.delete", {}, "$.sessionId"),
        ("session.delete", {"sessionId": None}, "$.sessionId"),
        ("strategy.put", {"strategyId": "s"}, "$.userId"),
        ("strategy.put", {"userId": "u"}, "$.strategyId"),
        ("strategy.delete", {"userId": "u"}, "$.strategyId"),
        ("orders.put", {"orders": []}, "$.userId"),
        ("orders.put", {"userId": "u"}, "$.orders"),
        ("orders.put", {"userId": "u", "orders": {}}, "$.orders"),
        ("orders.put", {"userId": "u", "orders": [ORDER, 1]}, "$.orders[1]"),
        ("orders.put", {"userId": "u", "orders": [ORDER, {}]}, "$.orders[1].orderId"),
        ("orders.put", {"userId": "u", "orders": [ORDER | {"qty": 0}]}, "$.orders[0].qty"),
        ("orders.put", {"userId": "u", "orders": [], "notify": 1}, "$.notify"),
        ("positions.put", {"userId": "u"}, "$.positions"),
        (
            "positions.put",
            {"userId": "u", "positions": [POSITION | {"entryPrice": "-"}]},
            "$.positions[0].entryPrice",
        ),
    ],
)
def test_bad_fields_are_refused(op: str, fields: dict[str, Any], path: str) -> None:
    """A field that is missing or wrong is refused where it stands."""
    assert fault(op, **fields) == ("invalid_message", path)


@pytest.mark.parametrize(
    ("moment", "ms"),
    [
        (0, 0),
        (1735819800, 1735819800000),
        (1735819800.5, 1735819800500),
        (1735819800.0006, 1735819800001),
        (253402300799, 253402300799000),
        ("2025-01-02T12:10:00Z", 1735819800000),
        ("2025-01-02T14:10:00+02:00", 1735819800000),
        ("2025-01-02T12:10:00.123Z", 1735819800123),
        ("1969-12-31T23:59:59Z", -1000),
        ("0001-01-01T00:00:00+14:00", -62135647200000),
        ("9999-12-31T23:59:59-14:00", 253402351199000),
    ],
)
def test_expiry(moment: object, ms: int) -> None:
    """`expiresAt` is an ISO 8601 date and time, or seconds since the epoch."""
    assert expiry(moment) == ms


@pytest.mark.parametrize(
    "moment",
    [
        -1,
        -0.5,
        1735819800000,
        253402300800,
        1e300,
        10**30,
        True,
        [],
        "",
        "soon",
        "1735819800",
        "2025-01-02",
        "2025-01-02T12:10:00",
        "2025-13-02T12:10:00Z",
        "2025-02-29T12:10:00Z",
    ],
)
def test_bad_expiries_are_refused(moment: object) -> None:
    """No date, a date without an offset, and milliseconds by mistake are refused."""
    assert fault("session.put", sessionId="s", userId="u", expiresAt=moment) == (
        "invalid_message",
        "$.expiresAt",
    )


def test_items_keep_fields_that_are_not_ours() -> None:
    """Orders and positions keep unknown fields; nulls that mean nothing are taken out."""
    given = {"broker": {"id": None}, "reason": None}
    orders = operation("orders.put", userId="u", orders=[ORDER | given])
    positions = operation("positions.put", userId="u", positions=[POSITION | {"lot": [1]}])

    assert isinstance(orders, OrdersPut)
    assert isinstance(positions, PositionsPut)
    expected = {name: value for name, value in ORDER.items() if name != "reason"}
    assert orders.orders == [expected | {"broker": {"id": None}}]
    assert positions.positions == [POSITION | {"lot": [1]}]


@pytest.mark.parametrize("quantity", [0, 0.0, -0.0, "0", "-0.00"])
def test_a_position_that_is_put_is_held(quantity: object) -> None:
    """A quantity of zero is no position."""
    assert fault("positions.put", userId="u", positions=[POSITION | {"quantity": quantity}]) == (
        "invalid_message",
        "$.positions[0].quantity",
    )


def test_an_unknown_operation_is_refused() -> None:
    """An operation that the contract does not have is `unknown_op`."""
    assert fault("nope") == ("unknown_op", "$.op")
