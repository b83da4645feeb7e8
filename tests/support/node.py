"""The EventSource of npm in a Node.js process, whose events come back as JSON lines."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.tools import miss, need

TIMEOUT_SECONDS: Final = 30.0

_FOLDER: Final = Path(__file__).parent.parent / "node"


def need_node() -> str:
    """Return the path of Node.js; skip the test where it or the package is missing."""
    node = need("node")
    if not (_FOLDER / "node_modules" / "eventsource").exists():
        miss("the npm package eventsource is missing")
    return node


class NodeFollower:
    """Streams followed by Node.js.

    Attributes:
        lines: What it has printed, decoded (`tests/node/follow.mjs`).
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._grown = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self.lines: list[dict[str, Any]] = []

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._grown:
                self.lines.append(json.loads(line))
                self._grown.notify_all()

    def events(self, stream: str) -> list[tuple[str, str, str]]:
        """Return type, data and ID of the events of a stream."""
        return [
            (line["type"], line["data"], line["id"])
            for line in self.lines
            if line["kind"] == "event" and line["stream"] == stream
        ]

    def errors(self, stream: str) -> list[tuple[int, int | None]]:
        """Return ready state and status code at every error of a stream."""
        return [
            (line["readyState"], line["code"])
            for line in self.lines
            if line["kind"] == "error" and line["stream"] == stream
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was printed fulfils a condition."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._grown:
            await self._grown.wait_for(condition)

    async def stop(self) -> None:
        """End the process."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader


@asynccontextmanager
async def follow(
    streams: Mapping[str, str], types: Sequence[str], cookie: str | None = None
) -> AsyncIterator[NodeFollower]:
    """Follow streams by name and URL, with listeners for these event types."""
    argument = json.dumps({"cookie": cookie, "streams": streams, "types": types})
    process = await asyncio.create_subprocess_exec(
        need_node(),
        "follow.mjs",
        argument,
        cwd=_FOLDER,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    follower = NodeFollower(process)
    try:
        yield follower
    finally:
        await follower.stop()
