"""The feed of the Python peers: a Unix socket that takes events, one line of JSON each."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class _Feed(asyncio.Protocol):
    """One connection of the feed."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        self._on_line = on_line
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line)


@asynccontextmanager
async def listening(on_event: Callable[[str, int], None]) -> AsyncIterator[None]:
    """Call `on_event` with data and number of each event; the first has number 1."""
    numbers = itertools.count(1)

    def on_line(line: bytes) -> None:
        on_event(line.decode(), next(numbers))

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Feed(on_line), os.environ["PEER_FEED"])
    try:
        yield
    finally:
        server.close()
