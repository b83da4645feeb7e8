"""The whole program in this process, with a coroutine beside it that plays everybody else.

Quicker than a process of its own, and what it does can be measured; what it leaves behind in
the process (signal handlers, garbage collection, limits) is put back.
"""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sseserver import config_loading, daemon
from sseserver.config import Config
from sseserver.daemon import Listening
from tests.support.captured_log import CapturedLog, captured_log
from tests.support.feed_client import FeedClient
from tests.support.stream_client import StreamClient, http_request

DEFAULTS: Mapping[str, Any] = {
    "server.port": 0,
    "server.max_connections": 100,  # for which there are descriptors anywhere
    "limits.attempts_per_minute_per_ip": 0,
}


class Running:
    """A server that runs beside us.

    Attributes:
        listening: Where it accepts.
        log: What it logs.
    """

    def __init__(self, settings: dict[str, Any], listening: Listening, log: CapturedLog) -> None:
        self._settings = settings
        self.listening = listening
        self.log = log

    async def reload(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Change the configuration, send SIGHUP, and return the line that is logged of it."""
        self._settings.update(settings)
        known = len(self.log.lines)
        os.kill(os.getpid(), signal.SIGHUP)
        return await self.logged("reloaded", "reload_refused", after=known)

    async def logged(self, *events: str, after: int = 0) -> dict[str, Any]:
        """Wait for a line with one of these events, `after` so many lines, and return it."""
        while True:
            for line in self.log.lines[after:]:
                if line["event"] in events:
                    return line
            await asyncio.sleep(0.001)

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[FeedClient]:
        """Connect a feed."""
        client = await FeedClient.connect(self.listening.ingest_path)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def stream(self, path: str, **options: Any) -> AsyncIterator[StreamClient]:
        """Open a stream and read its response head."""
        client = await StreamClient.connect(self.listening.port, path, **options)
        try:
            yield client
        finally:
            await client.close()

    async def request(
        self, method: str, path: str, **options: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """Make a request on a connection of its own: status, headers, body."""
        return await http_request(self.listening.port, method, path, **options)


class Ended(NamedTuple):
    """What is left of a server that has ended."""

    code: int
    log: list[dict[str, Any]]

    @property
    def events(self) -> list[str]:
        """The events it logged, in order."""
        return [line["event"] for line in self.log]


Driver = Callable[[Running], Awaitable[None]]


def configured(folder: Path, settings: Mapping[str, Any]) -> Config:
    """Return a configuration with its ingest path in `folder`."""
    path = {"ingest.path": str(folder / "ingest.sock")}
    return config_loading.load(None, {}, {**DEFAULTS, **path, **settings})


def serve(
    folder: Path,
    driver: Driver,
    settings: Mapping[str, Any] | None = None,
    *,
    ends: signal.Signals = signal.SIGTERM,
) -> Ended:
    """Run a server until the driver returns, then end it by a signal.

    The driver's own failure is raised once the server has ended.
    """
    current = dict(settings or {})
    failures: list[BaseException] = []

    with undisturbed(), captured_log() as log:

        async def beside(listening: Listening) -> None:
            try:
                await driver(Running(current, listening, log))
            except asyncio.CancelledError:
                raise
            except BaseException as failure:  # noqa: BLE001 - raised below
                failures.append(failure)
            os.kill(os.getpid(), ends)

        code = daemon.serve(
            configured(folder, current), reload=lambda: configured(folder, current), feed=beside
        )
        if failures:
            raise failures[0]
        return Ended(code, log.lines)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back what a server changes in its process."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    thresholds = gc.get_threshold()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
