"""Whatever a feed writes, it gets a message or a refusal, and both ways of decoding agree."""

import math
import re
import unicodedata
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from sseserver.errors import FeedError
from sseserver.events import EVENT_TYPES, JsonObject
from sseserver.ingest.messages import Message, Publish, data_object, decode
from tests.unit.ingest.sample_lines import PAYLOADS, envelope, line, price_line

OPERATIONS = [
    "ping",
    "session.put",
    "session.delete",
    "strategy.put",
    "strategy.delete",
    "orders.put",
    "positions.put",
    "publish",
]
FIELDS = sorted({field for payload in PAYLOADS.values() for field in payload})

# JSON has no lone surrogates, no NaN and no infinities; msgspec writes the rest.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.sampled_from(["1", "0", "-1.5", "buy"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def publish_lines(draw: st.DrawFn) -> JsonObject:
    """Return a publish message that is right but for a few fields, if at all."""
    event_type = draw(st.sampled_from(list(EVENT_TYPES)))
    data = dict(PAYLOADS[event_type])
    for field in draw(st.lists(st.sampled_from(sorted(data)), max_size=2)):
        data.pop(field, None)
    data |= draw(st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=1))
    fields = envelope(event_type, data)
    changes = st.dictionaries(
        st.sampled_from(["ref", "userId", "correlationId", "extra"]), values, max_size=1
    )
    return fields | draw(changes)


def outcome(fields: object) -> Message | tuple[Any, ...]:
    """Return the message, or what the refusal says."""
    try:
        return decode(line(fields))
    except FeedError as error:
        return error.code, error.message, error.path, error.ref


@given(st.binary() | st.text().map(str.encode))
@example(b'{"type":"price:update","data":{"symbol":"\xff","price":1}}')
def test_any_bytes_are_answered(data: bytes) -> None:
    """Bytes are a message or a refusal, and raise nothing else."""
    try:
        decode(data)
    except FeedError as error:
        assert error.message  # noqa: PT017 - either way is right


@given(values)
def test_any_json_is_answered(value: object) -> None:
    """JSON is a message or a refusal, and raises nothing else."""
    outcome(value)


@given(
    st.sampled_from(OPERATIONS),
    st.dictionaries(
        st.sampled_from(
            ["sessionId", "userId", "expiresAt", "role", "strategyId", "orders", "positions"]
        )
        | texts,
        values | st.lists(st.dictionaries(st.sampled_from(FIELDS), values), max_size=2),
    ),
)
def test_any_operation_is_answered(op: str, fields: JsonObject) -> None:
    """Operations with any fields are messages or refusals, and raise nothing else."""
    outcome(fields | {"op": op})


@given(publish_lines())
def test_both_ways_of_decoding_agree(fields: JsonObject) -> None:
    """A line means the same when an unknown field beside `data` has it read with care."""
    assert outcome(fields) == outcome({"unknown": 1} | fields)


@given(publish_lines())
def test_order_of_fields_does_not_matter(fields: JsonObject) -> None:
    """A line means the same when its fields come the other way round."""
    turned = dict(reversed(fields.items()))
    turned["data"] = dict(reversed(fields["data"].items()))
    usual, other = outcome(fields), outcome(turned)

    # Of several faults either may be told.
    assert isinstance(usual, Publish) == isinstance(other, Publish)
    assert not isinstance(usual, Publish) or usual == other


@given(publish_lines())
def test_a_payload_is_what_the_feed_gave(fields: JsonObject) -> None:
    """Nothing is added to an accepted payload, nothing is lost but nulls, nothing is changed."""
    message = outcome(fields)
    if not isinstance(message, Publish):
        return
    payload = data_object(message)
    nulls = {name for name, value in fields["data"].items() if value is None}

    assert fields["data"].keys() - payload.keys() <= nulls
    assert {name: fields["data"][name] for name in payload} == payload


@given(st.text("0123456789.+-eE_ \n\u0661inf", max_size=42))
@example("1000000000000000.0")
@example("1000000000000000.1")
@example("-1000000000000000.0")
@example("-1000000000000000.1")
def test_a_decimal_string_is_a_plain_number_in_range(text: str) -> None:
    """A price string is taken exactly when it is a plain decimal from -1e15 to 1e15."""
    is_plain = re.fullmatch(r"[+-]?[0-9]*\.?[0-9]*", text) is not None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    is_in_range = value.is_finite() and abs(value) <= 10**15
    is_price = is_plain and is_in_range and len(text) <= 40

    message = outcome(msgspec.json.decode(price_line(price=text)))

    assert isinstance(message, Publish) == is_price


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_json_number_is_in_range(number: float) -> None:
    """A price number is taken exactly when it is from -1e15 to 1e15."""
    message = outcome(msgspec.json.decode(price_line(price=number)))

    assert isinstance(message, Publish) == (abs(number) <= 10**15)
    assert not isinstance(message, Publish) or math.isfinite(number)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=130))
def test_a_name_has_no_control_characters(name: str) -> None:
    """A name is taken exactly when it has 1 to 128 characters, none of them of category Cc."""
    is_name = 1 <= len(name) <= 128 and "Cc" not in map(unicodedata.category, name)
    symbol = outcome(msgspec.json.decode(price_line(symbol=name)))
    correlation_id = outcome(msgspec.json.decode(price_line()) | {"correlationId": name})

    assert isinstance(symbol, Publish) == is_name
    assert isinstance(correlation_id, Publish) == is_name
