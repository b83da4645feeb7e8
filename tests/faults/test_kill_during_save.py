"""kill -9 at any moment, while the state file is written all the time (contract section 7).

Every restart loads a whole file, and every event resumes that was acknowledged before the last
save began. `SSESERVER_KILLS` says how often; the longer runs are for people.
"""

import asyncio
import contextlib
import os
import random
import signal
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from tests.support import daemon
from tests.support.daemon import Daemon

KILLS: Final = int(os.environ.get("SSESERVER_KILLS", "10"))
MOST_SECONDS_TO_LIVE: Final = 0.3
KEPT: Final = 2000
"""Events a buffer keeps: more than are published in one life."""

USERS: Final = [f"user-{number}" for number in range(5)]
LONG_AGO: Final = "1000000000000-000000000"


async def publish_until_killed(server: Daemon, acknowledged: list[str], number: int) -> None:
    """Publish events to every user in turn until the server is gone; note their IDs."""
    with contextlib.suppress(ConnectionError, AssertionError):  # killed
        async with server.feed() as feed:
            for count in range(KEPT):
                data = {"alertId": f"a-{number}-{count}", "level": "info", "message": "m"}
                user = USERS[count % len(USERS)]
                acknowledged.append(await feed.publish("alert:new", data, userId=user))


def certainly_saved(server: Daemon, acknowledged: list[str]) -> set[str]:
    """Return the events that were acknowledged before the last whole save began.

    It began after the one before it had been logged.
    """
    saved_at = [line["timestamp"] for line in server.log if line["event"] == "state_saved"]
    if len(saved_at) < 2:
        return set()
    begun_ms = datetime.fromisoformat(saved_at[-2]).timestamp() * 1000
    return {event_id for event_id in acknowledged if int(event_id.partition("-")[0]) < begun_ms}


async def resumed(server: Daemon, user: str, last_event_id: str) -> set[str]:
    """Return the IDs a user is sent from an ID on, up to an event that marks the end."""
    ids = set()
    async with server.feed() as feed:
        session = f"session-of-{user}"
        await feed.session(session, user)
        stream_options: dict[str, Any] = {"session": session, "last_event_id": last_event_id}
        async with server.stream("/api/stream/alerts", **stream_options) as stream:
            await stream.expect("connected")
            data = {"alertId": "end", "level": "info", "message": "m"}
            end = await feed.publish("alert:new", data, userId=user)
            while (event := await stream.next()).id != end:
                ids.add(event.id)
    return ids


async def test_every_restart_loads_a_whole_file_with_all_that_was_saved(tmp_path: Path) -> None:
    """At random moments, which lie in a save more often than not."""
    moments = random.Random(7)
    settings = {
        "state.path": str(tmp_path / "state"),
        "state.save_seconds": 0.05,
        "buffer.events_per_user": KEPT,
    }
    saved = 0
    for number in range(KILLS):
        (tmp_path / "state").unlink(missing_ok=True)
        acknowledged: list[str] = []
        async with await daemon.start(tmp_path, settings) as killed:
            publishing = asyncio.create_task(publish_until_killed(killed, acknowledged, number))
            await asyncio.wait({publishing}, timeout=moments.uniform(0, MOST_SECONDS_TO_LIVE))
            killed.signal(signal.SIGKILL)
            await publishing
        certain = certainly_saved(killed, acknowledged)
        saved += len(certain)
        async with await daemon.start(tmp_path, settings) as server:
            found = [await resumed(server, user, LONG_AGO) for user in USERS]

        assert certain <= set().union(*found)
        assert not (tmp_path / "state.damaged").exists()
    assert saved
