"""File descriptors: for how many connections the process has room.

A process without a free descriptor accepts nobody, not even to say so. So the connections of
clients have a number they never pass, and some of it is never a stream's (contract section 4,
"`max_connections` leaves room to give it").
"""

import resource
from typing import Final, NamedTuple

OWN_DESCRIPTORS: Final = 64
"""For listeners, the loop, logs, and feeds, which take two each."""

REQUEST_ROOM: Final = 64
"""Connections that are only asking, beside all streams; a quarter of the room where it is tight."""


class Room(NamedTuple):
    """How many connections of clients there may be.

    Attributes:
        connections: In all.
        streams: Of them, that carry a stream.
        descriptors: The limit of the process, from which both follow.
    """

    connections: int
    streams: int
    descriptors: int


def make_room(max_streams: int) -> Room:
    """Raise the soft limit of descriptors as far as it is needed and allowed.

    Args:
        max_streams: How many streams are wanted (`server.max_connections`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * max(max_streams, REQUEST_ROOM) + OWN_DESCRIPTORS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return room_within(max(soft, limit), max_streams)


def room_within(descriptors: int, max_streams: int) -> Room:
    """Return the room that a number of descriptors gives.

    >>> room_within(1024, 20_000)
    Room(connections=960, streams=896, descriptors=1024)
    >>> room_within(120, 20_000)
    Room(connections=56, streams=42, descriptors=120)
    """
    connections = max(2, descriptors - OWN_DESCRIPTORS)
    request_room = max(1, min(REQUEST_ROOM, connections // 4))
    return Room(connections, min(max_streams, connections - request_room), descriptors)
