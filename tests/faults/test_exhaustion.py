"""More than the machine has: descriptors run out in a flood, and come back.

How the limit is kept while it lasts is in tests/integration/test_http_limits.py.
"""

import asyncio
import os
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.raw_client import connected

DESCRIPTORS: Final = 200
FLOOD: Final = 600
MOST_IDLE_SHARE: Final = 0.05
"""Of a core, while the flood stands still: accepting again and again would take all of it."""

_PRICES: Final = b"GET /api/stream/prices HTTP/1.1\r\nHost: a\r\n\r\n"
_OBSERVED_TICKS: Final = 100
_OBSERVATIONS: Final = 3


def processor_ticks(server: Daemon) -> int:
    """Return the processor time the process has taken, in ticks of the system."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text(encoding="ascii").split()
    return int(fields[13]) + int(fields[14])


async def processor_share(server: Daemon) -> float:
    """Return what the process takes of a core, observed for a while."""
    before = processor_ticks(server)
    await asyncio.sleep(_OBSERVED_TICKS / os.sysconf("SC_CLK_TCK"))
    return (processor_ticks(server) - before) / _OBSERVED_TICKS


async def test_a_flood_past_the_descriptors_is_survived(tmp_path: Path) -> None:
    """No crash, no busy loop, and service when it has gone."""
    async with await daemon.start(tmp_path, descriptors=DESCRIPTORS) as server:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(server.stream("/api/stream/prices"))
            for _ in range(FLOOD):
                with suppress(OSError):
                    client = await stack.enter_async_context(connected(server.port))
                    client.send(_PRICES)
            shares = [await processor_share(server) for _ in range(_OBSERVATIONS)]
        async with server.stream("/api/stream/prices") as stream, server.feed() as feed:
            await stream.expect("connected")
            pong = await feed.do("ping")
        status, _, _ = await server.request("GET", "/readyz")

    assert min(shares) < MOST_IDLE_SHARE  # the first may still see the flood
    assert (True, 200) == (pong["ok"], status)
