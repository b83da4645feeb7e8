"""A TCP proxy that records what passes, and breaks every connection when told."""

import asyncio
import zlib
from types import TracebackType
from typing import Any, Self

from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import Dechunker, ZstdFrames

_READ_BYTES = 1 << 16


class Exchange:
    """One connection: what the client said, and what it was answered.

    Attributes:
        request: Bytes from the client.
        response: Bytes to the client.
    """

    def __init__(self) -> None:
        self.request = bytearray()
        self.response = bytearray()

    @property
    def path(self) -> str:
        """Return the target of the request, query included."""
        return self.request.partition(b"\r\n")[0].decode().split(" ")[1]

    @property
    def is_stream(self) -> bool:
        """Whether the answer is an event stream."""
        head = self.response.partition(b"\r\n\r\n")[0].lower()
        return head.startswith(b"http/1.1 200 ") and b"text/event-stream" in head

    def source(self) -> ReferenceEventSource:
        """Return what an EventSource makes of the answer."""
        head, _, body = bytes(self.response).partition(b"\r\n\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        if fields.get(b"transfer-encoding") == b"chunked":
            body = Dechunker().feed(body)
        decoder: Any = None
        match fields.get(b"content-encoding"):
            case b"gzip":
                decoder = zlib.decompressobj(31)
            case b"zstd":
                decoder = ZstdFrames()
            case _:
                pass
        source = ReferenceEventSource()
        source.feed(body if decoder is None else decoder.decompress(body))
        return source


class CuttingProxy:
    """Passes connections on to a port of this machine.

    Attributes:
        port: Where it listens.
        exchanges: Every connection so far, in order.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.exchanges: list[Exchange] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks)

    def cut(self) -> None:
        """Break every open connection, on both sides."""
        for writer in self._writers:
            writer.transport.abort()

    def streams(self) -> dict[str, ReferenceEventSource]:
        """Return what the first event stream of each path said."""
        return {
            exchange.path: exchange.source()
            for exchange in reversed(self.exchanges)
            if exchange.is_stream
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        exchange = Exchange()
        self.exchanges.append(exchange)
        self._writers.add(writer)
        try:
            await self._connect_on(reader, writer, exchange)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _connect_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, exchange: Exchange
    ) -> None:
        try:
            upstream, downstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(downstream)
        try:
            await asyncio.gather(
                _pass_on(reader, downstream, exchange.request),
                _pass_on(upstream, writer, exchange.response),
            )
        finally:
            self._writers.discard(downstream)
            downstream.close()


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray
) -> None:
    try:
        while data := await reader.read(_READ_BYTES):
            record += data
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
