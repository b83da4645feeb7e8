"""Streams on the whole core whose peers read slowly or not at all."""

from typing import Any

from tests.support.core import Core, request_for
from tests.support.fake_connection import FakeConnection

ENCODINGS = ["identity", "gzip", "zstd"]
BACKLOG = 4096
HIGH_WATER = BACKLOG // 2
LOOK = 0.3
"""More than the time after which is looked at those who are too far behind."""
SMALL_BACKLOG = {"limits.max_backlog_bytes": BACKLOG}


def small_core(**limits: Any) -> Core:
    """Return a core whose streams are soon full."""
    return Core(SMALL_BACKLOG | {key.replace("__", "."): value for key, value in limits.items()})


def stalled(core: Core, stream: str = "alerts", **options: Any) -> FakeConnection:
    """Return a stream whose peer has its opening and then stops reading."""
    connection = core.connect(request_for(stream, **options), HIGH_WATER)
    connection.takes_all = False
    return connection


def parked(core: Core, stream: str = "alerts", **options: Any) -> FakeConnection:
    """Return a stream that is parked and lacks nothing."""
    connection = stalled(core, stream, **options)
    core.broadcast_test(pad_bytes=HIGH_WATER)
    core.hub.flush()
    assert connection.is_paused
    return connection


def unread(
    core: Core, stream: str = "alerts", high_water: int = HIGH_WATER, **options: Any
) -> FakeConnection:
    """Return a stream whose peer has read nothing at all."""
    connection = FakeConnection(core.hub, high_water)
    connection.takes_all = False
    connection.open(request_for(stream, **options))
    return connection


def values(connection: FakeConnection, symbol: str = "A") -> list[int]:
    """Return the prices of one symbol in the order in which they were told."""
    return [
        item["price"]
        for event_type, payload in connection.events()
        if event_type == "price:update"
        for item in payload.get("prices", [payload])
        if item["symbol"] == symbol
    ]
