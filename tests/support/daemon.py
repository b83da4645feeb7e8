"""The real program in a process of its own, for integration tests."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.feed_client import FeedClient
from tests.support.stream_client import StreamClient, http_request

START_SECONDS = 20.0
TIMEOUT_SECONDS = 20.0

_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Daemon:
    """One running server.

    Attributes:
        port: Where it accepts HTTP.
        ingest_path: Where it accepts feeds.
        log: The lines it has logged, decoded.
    """

    def __init__(self, process: asyncio.subprocess.Process, listening: dict[str, Any]) -> None:
        self.process = process
        self.port: int = listening["port"]
        self.ingest_path: str = listening["ingest_path"]
        self.log: list[dict[str, Any]] = [listening]
        self._grown = asyncio.Condition()
        self._reader = asyncio.create_task(self._read_log())

    async def _read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._grown:
                self.log.append(json.loads(line))
                self._grown.notify_all()
        async with self._grown:
            self._grown.notify_all()

    async def logged(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait for a log line with this event and these fields, and return it."""

        def found() -> dict[str, Any] | None:
            return next(
                (
                    line
                    for line in self.log
                    if line["event"] == event and fields.items() <= line.items()
                ),
                None,
            )

        async with asyncio.timeout(TIMEOUT_SECONDS), self._grown:
            await self._grown.wait_for(lambda: found() is not None)
        line = found()
        assert line is not None
        return line

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[FeedClient]:
        """Connect a feed."""
        client = await FeedClient.connect(self.ingest_path)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def stream(self, path: str, **options: Any) -> AsyncIterator[StreamClient]:
        """Open a stream and read its response head."""
        client = await StreamClient.connect(self.port, path, **options)
        try:
            yield client
        finally:
            await client.close()

    async def request(
        self, method: str, path: str, **options: Any
    ) -> "tuple[int, dict[str, str], bytes]":
        """Make a request on a connection of its own: status, headers, body."""
        return await http_request(self.port, method, path, **options)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    async def stop(self) -> int:
        """Ask it to drain, and return its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            code = await self.process.wait()
            await self._reader
        return code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.stop()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()


def toml_text(settings: Mapping[str, Any]) -> str:
    """Return settings (`{"server.port": 0}`) as TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


async def start(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *arguments: str,
    descriptors: int | None = None,
    listener: socket.socket | None = None,
) -> Daemon:
    """Start `sseserver serve` on a free port with settings over the tests' defaults.

    The attempt limit is off and timings are the defaults unless a test says otherwise.
    `descriptors` is the process's hard limit of them, where it is to be low; `listener` is
    handed over to it as a service manager does.
    """
    merged: dict[str, Any] = {
        "server.port": 0,
        "ingest.path": str(folder / "ingest.sock"),
        "limits.attempts_per_minute_per_ip": 0,
        "log.format": "json",
        "log.level": "debug",
        **(settings or {}),
    }
    config = folder / "config.toml"
    config.write_text(toml_text(merged), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(() if descriptors is None else ("prlimit", f"--nofile={descriptors}")),
        *(() if listener is None else (sys.executable, "-c", _HAND_OVER, str(listener.fileno()))),
        sys.executable,
        "-m",
        "sseserver",
        "serve",
        "--config",
        str(config),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        pass_fds=() if listener is None else (listener.fileno(),),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            while True:
                line = await process.stdout.readline()
                assert line, "the server ended before it listened"
                entry = json.loads(line)
                if entry["event"] == "listening":
                    return Daemon(process, entry)
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
