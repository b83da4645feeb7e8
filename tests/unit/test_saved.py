"""Tests of `sseserver.saved`."""

import msgspec
import pytest

from sseserver.event_id import parse_event_id
from sseserver.saved import Opening, Record, SavedKey, pack_id, unpack_id

LATEST = parse_event_id("9999999999999-zzzzzzzzz")


@pytest.mark.parametrize("event_id", [0, 1, 1 << 64, LATEST])
def test_an_id_survives(event_id: int) -> None:
    """It has more bits than a number of msgpack."""
    assert event_id == unpack_id(pack_id(event_id))


@pytest.mark.parametrize("record", [Opening(1, 2), SavedKey("k", "t", None, b"i", b"d", 0.5)])
def test_records_are_told_apart(record: Record) -> None:
    """Each says what it is, in as few bytes as a list takes."""
    encoded = msgspec.msgpack.encode(record)

    assert record == msgspec.msgpack.decode(encoded, type=Record)
    assert len(encoded) < 40
