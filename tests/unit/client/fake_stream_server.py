"""HTTP servers that do what a test tells them, on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
"""Head of a stream that ends with its connection."""

Handler: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve connections with `handler`, yield the URL, and wait for the handlers at the end."""
    async with asyncio.TaskGroup() as group:

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(handle(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}/stream"


class FakeStreamServer:
    """Answers written down before, one for each connection, and what was asked."""

    def __init__(self, url: str, requests: list[dict[str, str]]) -> None:
        self.url = url
        self.requests = requests
        """The headers of each request, names in lower case."""


@asynccontextmanager
async def stream_server(*answers: bytes) -> AsyncIterator[FakeStreamServer]:
    """Serve `answers`, one for each connection."""
    left = list(answers)
    requests: list[dict[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        requests.append({name.lower(): value for name, value in lines})
        writer.write(left.pop(0))
        await writer.drain()

    async with serving(answer) as url:
        yield FakeStreamServer(url, requests)


def response(status_line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a whole response with its length."""
    head = [f"HTTP/1.1 {status_line}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body
