"""A client of HTTP that sends the bytes it is told to, on one connection."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

TIMEOUT_SECONDS = 20.0


class Answer(NamedTuple):
    """One response; names of headers in lower case, several of one name joined by commas."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def head(self) -> Answer:
        """Return the next response without its body."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            raw = await self._reader.readuntil(b"\r\n\r\n")
        status_line, *lines = raw.decode("latin-1").strip().split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        return Answer(int(status), headers, b"")

    async def answer(self) -> Answer:
        """Return the next response, whose length is given."""
        answer = await self.head()
        return answer._replace(body=await self.exactly(int(answer.headers["content-length"])))

    async def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return what comes until the server ends the connection, properly."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._reader.read()

    async def until_gone(self) -> None:
        """Wait for the end of the connection, of whatever kind."""
        with contextlib.suppress(ConnectionResetError):
            await self.rest()


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawClient]:
    """Connect to a server."""
    reader, writer = await asyncio.open_connection(
        host, port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


async def ask(port: int, head: str, body: bytes = b"") -> Answer:
    """Make one request on a connection of its own; a HEAD or 204 has no body to read."""
    async with connected(port) as client:
        client.send(request_bytes(head) + body)
        answer = await client.head()
        if head.startswith("HEAD ") or answer.status == 204:
            return answer
        return answer._replace(body=await client.exactly(int(answer.headers["content-length"])))


def request_bytes(head: str) -> bytes:
    """Return a request head: lines as given, version and `Host` added where they lack."""
    line, *fields = head.strip("\n").split("\n")
    if "HTTP/" not in line:
        line += " HTTP/1.1"
    if not any(field.lower().startswith("host:") for field in fields):
        fields.insert(0, "Host: localhost")
    return ("\r\n".join((line, *fields)) + "\r\n\r\n").encode("latin-1")
