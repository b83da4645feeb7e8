"""From a line to a message: `sseserver.ingest.messages`."""

from typing import Any, get_args

import msgspec
import pytest

from sseserver.errors import FeedErrorCode
from sseserver.events import EVENT_TYPES
from sseserver.ingest.messages import (
    Publish,
    PublishMessage,
    PublishPriceUpdate,
    data_object,
    decode,
)
from sseserver.ingest.operations import Ping
from sseserver.ingest.payloads import PriceUpdate
from tests.unit.ingest.sample_lines import (
    PAYLOADS,
    envelope,
    fault,
    line,
    price_line,
    refused,
)


def decoded(fields: object) -> PublishMessage:
    """Return the publish message that these fields make."""
    message = decode(line(fields))
    assert isinstance(message, Publish)
    return message


# Publish lines


def test_every_event_type_has_a_message() -> None:
    """There is one struct for each row of the table of event types."""
    assert [shape.event_type for shape in get_args(PublishMessage)] == list(EVENT_TYPES)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_type_and_tag_agree(event_type: str) -> None:
    """A message knows the type that its line named."""
    assert decoded(envelope(event_type, PAYLOADS[event_type])).event_type == event_type


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_payload_comes_out_as_it_went_in(event_type: str) -> None:
    """Every field that the contract knows is known, and none of them changes."""
    message = decoded(envelope(event_type, PAYLOADS[event_type]))

    assert message.extra is None
    assert data_object(message) == PAYLOADS[event_type]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_both_ways_of_decoding_agree(event_type: str) -> None:
    """The usual line and one that has to be read with care make equal messages."""
    usual = envelope(event_type, PAYLOADS[event_type])

    assert decoded(usual) == decoded(usual | {"unknown": 1})


def test_envelope() -> None:
    """A message has the line's reference, user and correlation ID."""
    message = decoded(envelope("alert:new", PAYLOADS["alert:new"]))

    assert (message.ref, message.userId, message.correlationId) == (1, "user-1", "c-1")


def test_the_shortest_line() -> None:
    """`op`, `ref`, `correlationId` and optional fields of `data` may be missing."""
    message = decode(b'{"type":"price:update","data":{"symbol":"AAPL","price":1}}')

    assert message == PublishPriceUpdate(data=PriceUpdate(symbol="AAPL", price=1))


def test_fields_come_in_any_order() -> None:
    """The type need not come first."""
    message = decode(b'{"data":{"price":1,"symbol":"AAPL"},"ref":7,"type":"price:update"}')

    assert message == PublishPriceUpdate(data=PriceUpdate(symbol="AAPL", price=1), ref=7)


def test_nulls_in_the_envelope_mean_nothing() -> None:
    """Null in an optional field of the envelope means that it was left out."""
    nothing = {"op": None, "ref": None, "userId": None, "correlationId": None, "key": None}

    assert decoded(nothing | msgspec.json.decode(price_line())) == decode(price_line())


def test_nulls_in_optional_data_are_left_out() -> None:
    """Null in an optional field of `data` means that it was left out."""
    message = decoded({"type": "price:update", "data": {"symbol": "A", "price": 1, "bid": None}})

    assert message.extra is None
    assert data_object(message) == {"symbol": "A", "price": 1}


def test_null_details_stay() -> None:
    """`details` is any JSON value, null included, whichever way the line is read."""
    data = {"decisionId": "d-1", "action": "hold", "details": None, "symbol": None}
    message = decoded({"type": "ai:decision", "userId": "u", "data": data})

    assert data_object(message) == {"decisionId": "d-1", "action": "hold", "details": None}


def test_null_is_no_value_of_a_required_field() -> None:
    """Null where a value has to be is refused."""
    assert fault(price_line(price=None)) == ("invalid_message", "$.data.price")


def test_unknown_fields_are_kept_with_all_the_others() -> None:
    """`extra` is the whole payload where it holds more than the known fields."""
    data = {"venue": {"name": "X", "note": None}, "symbol": "AAPL", "price": 1}
    message = decoded({"type": "price:update", "data": data})

    assert message.data == PriceUpdate(symbol="AAPL", price=1)
    assert message.extra == data
    assert data_object(message) == data


def test_nulls_beside_unknown_fields_are_left_out() -> None:
    """What null says of optional fields, it says beside unknown ones as well."""
    data = {"venue": None, "symbol": "AAPL", "price": 1, "bid": None}
    message = decoded({"type": "price:update", "data": data})

    assert message.extra == {"venue": None, "symbol": "AAPL", "price": 1}


SNAPSHOT_FIELDS = {
    "order:update": {"snapshot", "orders"},
    "order:fill": {"snapshot", "orders"},
    "trade:new": {"snapshot", "orders"},
    "position:update": {"snapshot"},
    "price:update": {"initializing", "prices"},
}
"""What only the snapshot of an event's topic has."""


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_what_only_a_snapshot_has_is_left_out(event_type: str) -> None:
    """Beside other unknown fields, those that would make an event pose as a snapshot are gone."""
    names = ("snapshot", "orders", "positions", "initializing", "prices", "totalValue", "venue")
    data = PAYLOADS[event_type] | dict.fromkeys(names, True)
    payload = data_object(decoded(envelope(event_type, data)))

    assert data.keys() - payload.keys() == SNAPSHOT_FIELDS.get(event_type, set())


@pytest.mark.parametrize("event_type", SNAPSHOT_FIELDS)
@pytest.mark.parametrize("value", [True, None, [], {"a": 1}])
def test_what_is_left_out_leaves_a_usual_message(event_type: str, value: object) -> None:
    """Where nothing else is unknown, the line means what it means without those fields."""
    usual = envelope(event_type, PAYLOADS[event_type])
    data = PAYLOADS[event_type] | dict.fromkeys(SNAPSHOT_FIELDS[event_type], value)

    assert decoded(usual | {"data": data}) == decoded(usual)


@pytest.mark.parametrize("name", ["extra", "event_type", "unknown", ""])
def test_unknown_envelope_fields_are_ignored(name: str) -> None:
    """Nothing on the line but `data` can fill `extra`, and what is unknown beside it is gone."""
    fields = {name: {"a": 1}} | msgspec.json.decode(price_line())

    assert decoded(fields) == decode(price_line())


def test_the_last_of_duplicate_keys_counts() -> None:
    """Of duplicate keys the last counts, also where an earlier one is wrong."""
    first_right = b'{"type":"price:update","data":{"symbol":"A","price":1,"price":2}}'
    first_wrong = b'{"type":"price:update","data":{"symbol":"A","price":[],"price":2}}'
    last_wrong = b'{"type":"price:update","data":{"symbol":"A","price":2,"price":[]}}'

    assert decode(first_right) == decode(first_wrong)
    assert decode(first_right) == decode(price_line(symbol="A", price=2))
    assert fault(last_wrong) == ("invalid_message", "$.data.price")


def test_the_last_of_duplicate_types_counts() -> None:
    """A line cannot be validated as one type and handled as another."""
    assert fault(b'{"type":"price:update","data":{"symbol":"A","price":1},"type":"nope"}') == (
        "unknown_type",
        "$.type",
    )


def test_the_timestamp_of_a_price_can_be_filled_in() -> None:
    """The struct of a price is encoded as it is, with a timestamp that was added."""
    message = decoded(msgspec.json.decode(price_line()))
    message.data.timestamp = "2026-01-02T10:30:00.000Z"

    assert msgspec.json.encode(message.data) == (
        b'{"symbol":"AAPL","price":1,"timestamp":"2026-01-02T10:30:00.000Z"}'
    )


def test_a_payload_belongs_to_the_caller() -> None:
    """Changing a payload object does not change the message."""
    message = decoded(msgspec.json.decode(price_line()))
    data_object(message)["symbol"] = "MSFT"

    assert data_object(message)["symbol"] == "AAPL"


# Users


@pytest.mark.parametrize(
    "event_type", [row.name for row in EVENT_TYPES.values() if row.is_broadcast]
)
def test_a_broadcast_has_no_user(event_type: str) -> None:
    """A `userId` on a broadcast type is refused."""
    bad = envelope(event_type, PAYLOADS[event_type]) | {"userId": "user-1"}

    assert fault(line(bad)) == ("invalid_message", "$.userId")


@pytest.mark.parametrize(
    "event_type",
    [
        row.name
        for row in EVENT_TYPES.values()
        if not row.is_broadcast and row.name != "strategy:update"
    ],
)
@pytest.mark.parametrize("user", [{}, {"userId": None}, {"userId": ""}, {"userId": 7}])
def test_a_fact_has_a_user(event_type: str, user: dict[str, object]) -> None:
    """A type for one user is refused without a name in `userId`."""
    bad = envelope(event_type, PAYLOADS[event_type])
    del bad["userId"]

    assert fault(line(bad | user)) == ("invalid_message", "$.userId")


def test_a_strategy_update_needs_no_user() -> None:
    """A registered strategy says itself whose it is."""
    fields = envelope("strategy:update", PAYLOADS["strategy:update"])
    del fields["userId"]

    assert decoded(fields).userId is None


# Lines that are refused


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"  ",
        b"{",
        b'{"op":"ping"',
        b'{"op":"ping"} {"op":"ping"}',
        b"{'op':'ping'}",
        b'{"op":"ping",}',
        b'\xef\xbb\xbf{"op":"ping"}',
        '{"op":"ping"}'.encode("utf-16"),
        b'\x00{"op":"ping"}',
        b'{"op":"ping"}\x00',
        b'{"op":"ping","a":"\x00"}',
        b'{"op":"ping","a":"\n"}',
        b'{"op":"ping","a":"\xff"}',
        b'{"op":"ping","\xff":1}',
        b'{"op":"ping","a":"\xed\xa0\x80"}',
        b'{"op":"ping","a":"\\ud800"}',
        b'{"op":"ping","a":"\\udc00 "}',
        b'{"op":"ping","a":"\\ud800\\u0041"}',
        b'{"op":"ping","a":NaN}',
        b'{"op":"ping","a":Infinity}',
        b'{"op":"ping","a":-Infinity}',
        b'{"op":"ping","a":01}',
        b'{"op":"ping","a":1.}',
        b'{"type":"price:update","data":{"symbol":"\xff","price":1},"ref":1}',
        b'{"type":"price:update","data":{"symbol":"A","price":NaN},"ref":1}',
        b'{"type":"price:update","data":{"symbol":"A","price":1},"a":"\xff"}',
        b'{"type":"price:update","data":{"symbol":"A","price":1,"\xff":1}}',
    ],
)
def test_what_is_no_json_is_refused(bad: bytes) -> None:
    """What is no JSON in UTF-8 is `invalid_json`, without path and reference."""
    error = refused(bad)

    assert (error.code, error.path, error.ref) == ("invalid_json", None, None)


@pytest.mark.parametrize("bad", [b"[]", b"1", b'"ping"', b"null", b"true", b'[{"op":"ping"}]'])
def test_what_is_no_object_is_refused(bad: bytes) -> None:
    """JSON that is no object is `invalid_message` at the root."""
    assert fault(bad) == ("invalid_message", "$")


def test_endless_nesting_is_refused() -> None:
    """Nesting that no recursion follows is refused and ends nothing."""
    bad = b'{"ref":1,"op":"ping","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    error = refused(bad)

    assert (error.code, error.message, error.path) == ("invalid_message", "Nested too deep", "$")


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 5000])
def test_numbers_without_a_value_are_refused(number: bytes) -> None:
    """A number that nothing can hold is refused even in a field that is ignored, with `ref`."""
    error = refused(b'{"ref":1,"op":"ping","a":%b}' % number)

    assert (error.code, error.message, error.path, error.ref) == (
        "invalid_message",
        "Number out of range",
        "$",
        1,
    )


@pytest.mark.parametrize("event_type", ["nope", "", "price:update ", "PRICE:UPDATE", "test"])
def test_unknown_types_are_refused(event_type: str) -> None:
    """A type that the table does not have is `unknown_type`."""
    assert fault(line({"type": event_type, "data": {}})) == ("unknown_type", "$.type")


@pytest.mark.parametrize("fields", [{}, {"type": None}, {"type": 1}, {"type": ["price:update"]}])
def test_a_type_is_a_string(fields: dict[str, object]) -> None:
    """A type that is missing or no string is `invalid_message`."""
    assert fault(line(fields | {"data": {}})) == ("invalid_message", "$.type")


@pytest.mark.parametrize("op", ["nope", "", "PING", "publish "])
def test_unknown_operations_are_refused(op: str) -> None:
    """An operation that the contract does not have is `unknown_op`."""
    assert fault(line({"op": op})) == ("unknown_op", "$.op")


@pytest.mark.parametrize("op", [1, ["ping"], {}, True])
def test_an_operation_is_a_string(op: object) -> None:
    """An operation that is no string is `invalid_message`."""
    assert fault(line({"op": op})) == ("invalid_message", "$.op")


def test_long_words_are_not_repeated_whole() -> None:
    """The answer to an unknown word does not grow with it."""
    assert refused(line({"op": "x" * 10_000})).message == f"Unknown op `{'x' * 64}`"


@pytest.mark.parametrize("data", [None, 1, "x", [], True])
def test_data_is_an_object(data: object) -> None:
    """`data` that is no object is refused where it stands."""
    assert fault(line({"type": "price:update", "data": data})) == ("invalid_message", "$.data")


def test_data_is_required() -> None:
    """A publish line without `data` is refused."""
    assert fault(b'{"type":"price:update"}') == ("invalid_message", "$.data")


@pytest.mark.parametrize("key", ["", "k" * 129, "a\nb", 1, ["k"]])
def test_a_key_is_a_name(key: object) -> None:
    """At most 128 characters; an empty one would be one key for everything."""
    error = refused(line(msgspec.json.decode(price_line()) | {"key": key, "ref": 1}))

    assert ("invalid_message", "$.key", 1) == (error.code, error.path, error.ref)


def test_a_key_costs_no_second_reading() -> None:
    """It is a field of the envelope like others, with unknown fields in `data` too."""
    given = msgspec.json.decode(price_line()) | {"key": "k-1"}
    plain = decoded(given)
    given["data"]["mine"] = 1
    with_extra = decoded(given)

    assert isinstance(plain, PublishPriceUpdate)
    assert isinstance(with_extra, PublishPriceUpdate)
    assert ("k-1", "k-1") == (plain.key, with_extra.key)


def test_the_contracts_example_of_a_refusal() -> None:
    """The contract's own example is answered word for word."""
    error = refused(b'{"ref":2,"type":"price:update","data":{"symbol":"AAPL","price":[]}}')

    assert (error.ref, error.code, error.message, error.path) == (
        2,
        FeedErrorCode.INVALID_MESSAGE,
        "Expected `number | str`, got `array`",
        "$.data.price",
    )


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", 7, {}])
def test_a_correlation_id_is_a_name(name: object) -> None:
    """The rules of names hold for `correlationId` as well."""
    bad = msgspec.json.decode(price_line()) | {"correlationId": name}

    assert fault(line(bad)) == ("invalid_message", "$.correlationId")


# References


@pytest.mark.parametrize("ref", [0, -1, 2**63 - 1, -(2**63), "", "a", "x" * 128, "é\n", None])
def test_references_are_kept(ref: str | int | None) -> None:
    """A reference is any string of up to 128 characters or a 64-bit integer."""
    usual = msgspec.json.decode(price_line()) | {"ref": ref}

    assert decoded(usual).ref == ref
    assert decoded(usual | {"unknown": 1}).ref == ref
    assert decode(line({"op": "ping", "ref": ref})) == Ping(ref=ref)


@pytest.mark.parametrize("ref", [2**63, -(2**63) - 1, 10**30, 1.0, 1.5, True, "x" * 129, [], {}])
def test_other_references_are_refused(ref: object) -> None:
    """A reference of another kind is refused and not repeated."""
    error = refused(line(msgspec.json.decode(price_line()) | {"ref": ref}))

    assert (error.code, error.path, error.ref) == ("invalid_message", "$.ref", None)


@pytest.mark.parametrize("ref", [0, "", "a"])
@pytest.mark.parametrize(
    "fields",
    [
        {"op": "nope"},
        {"type": "nope"},
        {"type": "price:update"},
        {"type": "price:update", "data": {"symbol": "A"}},
        {"op": "session.put"},
        {"op": "orders.put", "userId": "u", "orders": [{}]},
    ],
)
def test_refusals_carry_the_reference(fields: dict[str, Any], ref: str | int) -> None:
    """Whatever is wrong with a line, its reference is told, wherever it stands."""
    assert refused(line({"ref": ref} | fields)).ref == ref
    assert refused(line(fields | {"ref": ref})).ref == ref
