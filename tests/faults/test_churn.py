"""Clients that come and go, ten thousand of them: nothing of them is left.

Each leaves in one of the ways in which clients leave: closed, reset, before its answer, amid
its request, with an answer that it never read.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.support import daemon
from tests.support.daemon import Daemon

CLIENTS: Final = 10_000
AT_ONCE: Final = 100
WARM_UP_CLIENTS: Final = 8_000
MOST_GROWTH: Final = 1.1
"""Of resident memory by those after the warm-up, in which the C heap finds its size: a leak of
1 KiB each would be a fifth."""

_RESET: Final = struct.pack("ii", 1, 0)
_ORDERS: Final = (
    b"GET /api/stream/orders HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n"
    b"Cookie: session=s-%d\r\n\r\n"
)

Writer = asyncio.StreamWriter
Reader = asyncio.StreamReader


async def leave_politely(reader: Reader, writer: Writer, number: int) -> None:
    """Open a stream, read its head, close."""
    writer.write(_ORDERS % (number % AT_ONCE))
    await reader.readuntil(b"\r\n\r\n")


async def reset(reader: Reader, writer: Writer, number: int) -> None:
    """Open a stream, read its head, and break the connection."""
    await leave_politely(reader, writer, number)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def leave_before_the_answer(reader: Reader, writer: Writer, number: int) -> None:
    """Ask for a stream and go."""
    writer.write(_ORDERS % (number % AT_ONCE))
    await writer.drain()


async def leave_amid_the_request(reader: Reader, writer: Writer, number: int) -> None:
    """Half a head."""
    writer.write(_ORDERS[:40])
    await writer.drain()


async def leave_an_answer_unread(reader: Reader, writer: Writer, number: int) -> None:
    """A request without a session, refused."""
    writer.write(b"GET /api/stream/orders HTTP/1.1\r\nHost: a\r\n\r\n")
    await writer.drain()


WAYS: Final[tuple[Callable[[Reader, Writer, int], Awaitable[None]], ...]] = (
    leave_politely,
    reset,
    leave_before_the_answer,
    leave_amid_the_request,
    leave_an_answer_unread,
)


async def one(server: Daemon, number: int) -> None:
    """Come, and go in one of the ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        await WAYS[number % len(WAYS)](reader, writer, number)
    finally:
        writer.close()


async def some(server: Daemon, first: int, last: int) -> None:
    """Let clients come and go, so many at once."""
    for start in range(first, last, AT_ONCE):
        await asyncio.gather(*(one(server, n) for n in range(start, start + AT_ONCE)))


async def counts(server: Daemon) -> dict[str, int]:
    """Return what the server holds, as itself and the system count it."""
    _, _, body = await server.request("GET", "/api/stream/metrics")
    metrics = json.loads(body)
    return {
        "clients": metrics["totalClients"],
        "users": metrics["buffers"]["users"],
        "audiences": metrics["audiences"],
        "contexts": metrics["gzipContexts"],
        "descriptors": descriptors(server),
    }


async def until_all_have_gone(server: Daemon, before: dict[str, int]) -> dict[str, int]:
    """Return what the server holds when it is what it was, or when that takes too long."""
    found = await counts(server)
    for _ in range(200):
        if found == before:
            break
        found = await counts(server)
    return found


def descriptors(server: Daemon) -> int:
    """Return how many descriptors the process has open."""
    return sum(1 for _ in Path(f"/proc/{server.process.pid}/fd").iterdir())


def memory_pages(server: Daemon) -> int:
    """Return its resident memory."""
    statm = Path(f"/proc/{server.process.pid}/statm")
    return int(statm.read_text(encoding="ascii").split()[1])


async def test_ten_thousand_clients_leave_nothing_behind(tmp_path: Path) -> None:
    """No descriptor, timer, audience, context or user; memory does not grow with them."""
    settings = {"log.level": "warning", "limits.connections_per_user": 500}
    async with await daemon.start(tmp_path, settings) as server:
        async with server.feed() as feed:
            for number in range(AT_ONCE):
                await feed.session(f"s-{number}", f"user-{number}")
        before = await counts(server)
        await some(server, 0, WARM_UP_CLIENTS)
        amid = await until_all_have_gone(server, before)
        memory = memory_pages(server)
        await some(server, 0, CLIENTS)
        after = await until_all_have_gone(server, before)

        assert memory_pages(server) < MOST_GROWTH * memory
        assert (before, before) == (amid, after)
