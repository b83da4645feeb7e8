"""An ingest port for feeds inside an event loop: a real Unix socket that notes and answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec


class FakeIngestPort:
    """The lines that came, and what happens to them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        """Every message in order, without its `ref`."""
        self.raw: list[bytes] = []
        """The same as bytes."""
        self.answers = asyncio.Event()
        """While this is not set, lines are read but not answered."""
        self.answers.set()
        self.closes_after: int | None = None
        """The connection is closed once so many lines have come."""
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        """Which messages get an error."""
        self._grown = asyncio.Condition()

    async def until(self, is_reached: Callable[[], bool]) -> None:
        """Wait until what has come satisfies a condition."""
        async with self._grown:
            await self._grown.wait_for(is_reached)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read lines and answer each in order."""
        refs: asyncio.Queue[tuple[int, dict[str, Any]]] = asyncio.Queue()
        answered = asyncio.create_task(self._answer(refs, writer))
        try:
            with suppress(ConnectionError):  # the feed left while it was answered
                await self._read(reader, refs)
        finally:
            answered.cancel()
            writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, refs: asyncio.Queue[tuple[int, dict[str, Any]]]
    ) -> None:
        while len(self.lines) != self.closes_after and (line := await reader.readline()):
            message = msgspec.json.decode(line)
            await refs.put((message.pop("ref"), message))
            async with self._grown:
                self.lines.append(message)
                self.raw.append(line)
                self._grown.notify_all()

    async def _answer(
        self, refs: asyncio.Queue[tuple[int, dict[str, Any]]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            ref, message = await refs.get()
            await self.answers.wait()
            answer: dict[str, Any] = {"ref": ref, "ok": True}
            if self.refuses(message):
                answer |= {"ok": False, "error": {"code": "invalid_message", "message": "no"}}
            writer.write(msgspec.json.encode(answer) + b"\n")


@asynccontextmanager
async def ingest_port(path: Path) -> AsyncIterator[FakeIngestPort]:
    """Listen at `path`; connections are over when the context is left."""
    port = FakeIngestPort()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(port.serve(reader, writer)))

    async with await asyncio.start_unix_server(accept, path):
        yield port
        if connections:
            await asyncio.wait(connections)
