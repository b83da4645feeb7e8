"""Tests of `sseserver.net.connections`."""

import time

import pytest

from sseserver.config import ServerConfig, StreamConfig
from sseserver.delivery.timer_wheel import TimerWheel
from sseserver.metrics import Counters
from sseserver.net.connections import Connections, MachineClock


class FakeHttpConnection:
    """A connection without a transport, which leaves the roster when it is dropped."""

    def __init__(self, connections: Connections, *, is_idle: bool) -> None:
        self._connections = connections
        self.is_idle = is_idle
        self.is_dropped = False
        connections.register(self)

    def drop(self) -> None:
        self.is_dropped = True
        self._connections.http.discard(self)

    def close_when_idle(self) -> None:
        """Never called here."""


def connections_with(max_connections: int) -> Connections:
    """Return a roster with that limit."""
    return Connections(
        ServerConfig(max_connections=max_connections), StreamConfig(), TimerWheel(0), Counters()
    )


def fill(connections: Connections, idle: str) -> list[FakeHttpConnection]:
    """Register a connection for each letter: `i` is idle, `b` busy."""
    return [FakeHttpConnection(connections, is_idle=letter == "i") for letter in idle]


def test_connections_are_kept_in_their_order() -> None:
    """Every one that registers is open, the oldest first."""
    connections = connections_with(100)
    opened = fill(connections, "ibi")

    assert opened == list(connections.http)


@pytest.mark.parametrize(("max_connections", "room"), [(1, 64), (100, 100)])
def test_there_is_room_beside_the_streams(max_connections: int, room: int) -> None:
    """As many connections as streams may only be asking, and never fewer than 64."""
    connections = connections_with(max_connections)
    opened = fill(connections, "i" * (room + 1))

    assert [True, *[False] * room] == [one.is_dropped for one in opened]
    assert room == len(connections.http)


@pytest.mark.parametrize(("streams", "room"), [(0, 64), (10, 60), (40, 30)])
def test_no_more_are_open_than_there_are_descriptors_for(streams: int, room: int) -> None:
    """Each stream takes from the room of those that are only asking."""
    connections = connections_with(1)
    connections.capacity = 70
    for number in range(streams):
        connections.streams.add(number)
    opened = fill(connections, "i" * (room + 1))

    assert [True, *[False] * room] == [one.is_dropped for one in opened]
    assert (1, 0) == (connections.take_dropped(), connections.take_dropped())


def test_the_oldest_idle_one_makes_room() -> None:
    """Who is in the midst of a request is dropped only when nobody else can be."""
    connections = connections_with(1)
    first, second, third, *others = fill(connections, "bib" + "b" * 61)
    (newest,) = fill(connections, "i")

    assert [False, True, False] == [one.is_dropped for one in (first, second, third)]
    newest.is_idle = False
    fill(connections, "b")
    assert [True, False] == [one.is_dropped for one in (first, third)]
    assert not any(one.is_dropped for one in others)


def test_room_is_made_for_each_of_many() -> None:
    """A burst of connections drops one for each that comes, not the same one again."""
    connections = connections_with(1)
    opened = fill(connections, "i" * 164)

    assert 100 == sum(one.is_dropped for one in opened)
    assert opened[100:] == list(connections.http)


def test_time_is_the_machines() -> None:
    """Unless told otherwise both clocks are real."""
    assert abs(MachineClock.monotonic() - time.monotonic()) < 10
    assert abs(MachineClock.wall_ms() - time.time() * 1000) < 10_000
