"""Tests of `sseserver.net.descriptors`."""

import json
import subprocess
import sys

import pytest

from sseserver.net.descriptors import OWN_DESCRIPTORS, REQUEST_ROOM, room_within

RAISED = """
import json, resource, sys
from sseserver.net.descriptors import make_room
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
room = make_room(wanted)
print(json.dumps([room.streams, resource.getrlimit(resource.RLIMIT_NOFILE)[0]]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [
        (3000, 3000, 150, [150, 3000]),
        (100, 3000, 150, [150, 2380]),
        (100, 3000, 1, [1, 2208]),
        (100, 500, 20_000, [288, 500]),
        (70, 70, 20_000, [23, 70]),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_it_goes(
    soft: int, hard: int, wanted: int, expected: list[int]
) -> None:
    """And never lowered; streams get what is left."""
    done = subprocess.run(
        [sys.executable, "-c", RAISED, str(soft), str(hard), str(wanted)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.parametrize("descriptors", [10, 66, 70, 120, 400, 1024, 20_000, 1 << 20])
@pytest.mark.parametrize("max_streams", [1, 50, 20_000])
def test_there_is_always_room_for_requests(descriptors: int, max_streams: int) -> None:
    """Streams never take all connections, nor connections all descriptors."""
    room = room_within(descriptors, max_streams)

    assert 1 <= room.streams <= max_streams
    assert room.connections - room.streams >= min(REQUEST_ROOM, room.connections // 4, 1)
    assert room.connections + 2 * room.feeds <= max(4, descriptors - OWN_DESCRIPTORS)
