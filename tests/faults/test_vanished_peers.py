"""Peers that are gone without a word: a cable that was cut, a phone in a tunnel.

The kernel of such a peer answers nothing any more, neither data nor probes. A filter on the
client's socket that drops every packet does the same to a connection on this machine.
"""

import ctypes
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.slow_client import SlowClient

_SO_ATTACH_FILTER: Final = 26
_RETURN: Final = 0x06
IDLE: Final = {"stream.idle_timeout_seconds": 0.5}


def vanish(sock: socket.socket) -> None:
    """Let the kernel drop whatever arrives at a socket, acknowledgements included."""
    drop = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(drop))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@asynccontextmanager
async def vanished(server: Daemon, path: str, **options: Any) -> AsyncIterator[SlowClient]:
    """Open a stream whose peer then is gone."""
    client = await SlowClient.open(server.port, path, **options)
    try:
        await client.expect("connected")
        vanish(client.writer.get_extra_info("socket"))
        yield client
    finally:
        client.writer.transport.abort()


async def test_a_peer_that_is_gone_is_found_when_it_takes_nothing(tmp_path: Path) -> None:
    """And the others do not notice."""
    async with (
        await daemon.start(tmp_path, IDLE) as server,
        server.stream("/api/stream/prices") as other,
        vanished(server, "/api/stream/prices"),
        server.feed() as feed,
    ):
        await other.expect("connected")
        await feed.publish("price:update", {"symbol": "A", "price": 1})
        failed = await server.logged("delivery_failed")
        ended = await server.logged("client_disconnected", client_id=failed["client_id"])
        await feed.publish("price:update", {"symbol": "A", "price": 2})
        prices = [event.data["price"] for event in [await other.next() for _ in range(3)][1:]]

    assert ("idle", "idle") == (failed["reason"], ended["reason"])
    assert [1, 2] == prices


async def test_peers_that_are_gone_do_not_hold_up_a_drain(tmp_path: Path) -> None:
    """They have `drain_seconds`, all together, and the process exits 0."""
    settings = {"server.drain_seconds": 0.3}
    async with await daemon.start(tmp_path, settings) as server, AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(vanished(server, "/api/stream/prices"))
        server.signal(signal.SIGTERM)
        late = await server.logged("drain_timed_out")
        code = await server.process.wait()  # a second signal could meet its very end

    assert (20, 0) == (late["streams"], code)
