"""A headless Chromium with one page, which reports what it sees to the test.

No debugging protocol: the test serves the page, and the page's script posts its findings back
to where it came from. `report(kind, fields)` is there for the script, and so is `follow`, which
opens an EventSource and reports what becomes of it.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.support.reference_eventsource import Dispatched
from tests.support.tools import need

TIMEOUT_SECONDS: Final = 30.0

TYPES: Final = (
    "connected",
    "stream:gap",
    "order:update",
    "position:update",
    "price:update",
    "connection:limit",
    "connection:refused",
    "session:expired",
    "server:shutdown",
)
"""What `follow` listens to: an EventSource has no listener for everything."""

_CONTENT_LENGTH: Final = re.compile(r"\ncontent-length: *(\d+)", re.IGNORECASE)

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
)

_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>EventSource</title>
<script>
let reporting = Promise.resolve()

// One after the other: reports over several connections would overtake each other.
function report(kind, fields) {{
  const body = JSON.stringify({{ kind, ...fields }})
  reporting = reporting.then(() => fetch('/report', {{ method: 'POST', body }}))
}}

function follow(name, url, withCredentials = true) {{
  const source = new EventSource(url, {{ withCredentials }})
  source.onerror = () => report('error', {{ name, readyState: source.readyState }})
  for (const type of {types}) {{
    source.addEventListener(type, (event) => {{
      report('event', {{ name, type, data: event.data, id: event.lastEventId }})
    }})
  }}
  return source
}}

{script}
</script>
"""


class Page:
    """One page and the server it comes from.

    Attributes:
        origin: Where the page is from.
        reports: What it has reported, in order.
    """

    def __init__(self) -> None:
        self._content = b""
        self._cookie = ""
        self._grown = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.origin = ""
        self.reports: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        """Listen on a free port; the page is there once it is shown."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def shown(self, folder: Path, script: str, cookie: str = "") -> AsyncIterator[None]:
        """Open the page in a browser of its own.

        Args:
            folder: Where the browser may keep its profile.
            script: What the page does.
            cookie: Set when the page is loaded; a cookie is for all ports of a host.
        """
        self._content = _PAGE.format(types=json.dumps(TYPES), script=script).encode()
        self._cookie = cookie
        process = await asyncio.create_subprocess_exec(
            need("chromium", "chromium-browser", "google-chrome"),
            *_FLAGS,
            f"--user-data-dir={folder / 'chromium'}",
            self.origin,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            # It is a dozen processes; all of them, and no other, are in its group.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def events(self, name: str) -> list[Dispatched]:
        """Return what a source has dispatched."""
        return [
            Dispatched(report["type"], report["data"], report["id"])
            for report in self.reports
            if report["kind"] == "event" and report["name"] == name
        ]

    def types(self, name: str) -> list[str]:
        """Return the types of what a source has dispatched."""
        return [event.type for event in self.events(name)]

    def errors(self, name: str) -> list[int]:
        """Return the ready state at every error of a source."""
        return [
            report["readyState"]
            for report in self.reports
            if report["kind"] == "error" and report["name"] == name
        ]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was reported fulfils a condition."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._grown:
            await self._grown.wait_for(condition)

    async def until_events(self, name: str, count: int) -> None:
        """Wait until a source has dispatched so many events."""
        await self.until(lambda: len(self.events(name)) >= count)

    async def until_id(self, name: str, event_id: str) -> None:
        """Wait until an event with this ID is the last that a source has dispatched."""
        await self.until(
            lambda: [event.last_event_id for event in self.events(name)][-1:] == [event_id]
        )

    async def until_errors(self, name: str, ready_states: list[int]) -> None:
        """Wait until these are the errors of a source."""
        await self.until(lambda: self.errors(name) == ready_states)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split("\r\n")[0].split(" ")
        length = _CONTENT_LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if method == "POST":
            async with self._grown:
                self.reports.append(json.loads(body))
                self._grown.notify_all()
        content = self._content if (method, path) == ("GET", "/") else b""
        cookie = f"Set-Cookie: {self._cookie}\r\n" if content and self._cookie else ""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n%b"
            b"Content-Length: %d\r\n\r\n%b" % (cookie.encode(), len(content), content)
        )
        await writer.drain()
