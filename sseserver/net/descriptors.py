"""File descriptors: for how many connections the process has room.

A process without a free descriptor accepts nobody, not even to say so. So clients and feeds each
have a number of connections they never pass, and some of the clients' is never a stream's
(contract section 4, "`max_connections` leaves room to give it").
"""

import resource
from typing import Final, NamedTuple

OWN_DESCRIPTORS: Final = 32
"""For listeners, the loop and logs."""

REQUEST_ROOM: Final = 64
"""Connections that are only asking, beside all streams; a quarter of the room where it is tight."""

MAX_FEEDS: Final = 1024
_FEED_DESCRIPTORS: Final = 2
_FEED_SHARE: Final = 8
"""A quarter of the descriptors, where they are scarce."""


class Room(NamedTuple):
    """How many connections there may be.

    Attributes:
        connections: Of clients, in all.
        streams: Of them, that carry a stream.
        feeds: Of feeds.
        descriptors: The limit of the process, from which all follow.
    """

    connections: int
    streams: int
    feeds: int
    descriptors: int


def make_room(max_streams: int) -> Room:
    """Raise the soft limit of descriptors as far as it is needed and allowed.

    Args:
        max_streams: How many streams are wanted (`server.max_connections`).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = 2 * max(max_streams, REQUEST_ROOM)
    wanted = clients + OWN_DESCRIPTORS + _FEED_DESCRIPTORS * MAX_FEEDS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return room_within(max(soft, limit), max_streams)


def room_within(descriptors: int, max_streams: int) -> Room:
    """Return the room that a number of descriptors gives.

    >>> room_within(1024, 20_000)
    Room(connections=744, streams=680, feeds=124, descriptors=1024)
    >>> room_within(120, 20_000)
    Room(connections=66, streams=50, feeds=11, descriptors=120)
    """
    free = max(0, descriptors - OWN_DESCRIPTORS)
    feeds = max(1, min(MAX_FEEDS, free // _FEED_SHARE))
    connections = max(2, free - _FEED_DESCRIPTORS * feeds)
    request_room = max(1, min(REQUEST_ROOM, connections // 4))
    return Room(connections, min(max_streams, connections - request_room), feeds, descriptors)
