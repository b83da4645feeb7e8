"""1000 price clients and 1000 order clients at once from one process: all receive everything."""

import asyncio
import json
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import daemon
from tests.support.reference_eventsource import ReferenceEventSource
from tests.support.stream_client import Dechunker

CLIENTS = 1000
PRICES = 40
ORDERS = 5
TIMEOUT_SECONDS = 50.0


class Client(asyncio.Protocol):
    """A client that costs little: it keeps the events and nothing else."""

    def __init__(self, path: str, user_id: str | None, encoding: str, wanted: int) -> None:
        self._head = b""
        self._dechunker = Dechunker()
        self._decoder = zlib.decompressobj(31) if encoding == "gzip" else None
        self._wanted = wanted
        cookie = "" if user_id is None else f"Cookie: session={user_id}\r\n"
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}Accept-Encoding: {encoding}\r\n\r\n"
        )
        self.user_id = user_id
        self.source = ReferenceEventSource()
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request.encode())

    def data_received(self, data: bytes) -> None:
        if not self._head.endswith(b"\r\n\r\n"):
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + end
            if not end:
                return
        payload = self._dechunker.feed(data)
        if self._decoder is not None and payload:
            payload = self._decoder.decompress(payload)
        self.source.feed(payload)
        events = len(self.source.events)
        if events >= 2 and not self.opened.done():
            self.opened.set_result(None)
        if events >= 2 + self._wanted and not self.done.done():
            self.done.set_result(None)

    def live(self, key: str) -> list[tuple[str, str, object]]:
        """Return type, ID and one field of every event after `connected` and the snapshot."""
        return [
            (event.type, event.last_event_id, json.loads(event.data).get(key))
            for event in self.source.events[2:]
        ]


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow this process the descriptors that 2000 connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CLIENTS + 256
    assert hard == resource.RLIM_INFINITY or hard >= wanted, "the hard limit is too low"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_2000_clients_receive_everything(tmp_path: Path) -> None:
    """Half follow all prices, half their own orders, every other one with gzip."""
    loop = asyncio.get_running_loop()
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        await daemon.start(tmp_path, {"log.level": "warning"}) as server,
        server.feed() as feed,
    ):
        users = [f"user-{number}" for number in range(CLIENTS)]
        await feed.publish_many(
            [{"op": "session.put", "sessionId": user, "userId": user} for user in users]
        )
        clients = [
            Client(path, user, "gzip" if number % 2 else "identity", wanted)
            for number, user_id in enumerate(users)
            for path, user, wanted in (
                ("/api/stream/prices", None, PRICES),
                ("/api/stream/orders", user_id, ORDERS),
            )
        ]
        for client in clients:
            await loop.create_connection(lambda client=client: client, "127.0.0.1", server.port)  # type: ignore[misc]
        await asyncio.gather(*(client.opened for client in clients))
        prices = await feed.publish_many(
            [
                {"type": "price:update", "data": {"symbol": f"S{number}", "price": number + 1}}
                for number in range(PRICES)
            ]
        )
        orders = await feed.publish_many(
            [
                {
                    "type": "order:update",
                    "userId": user,
                    "data": {
                        "orderId": f"{user}/{number}",
                        "symbol": "AAPL",
                        "side": "buy",
                        "qty": 1,
                        "status": "new",
                    },
                }
                for number in range(ORDERS)
                for user in users
            ]
        )
        await asyncio.gather(*(client.done for client in clients))
        for client in clients:
            client.transport.close()

    answers = iter(orders)
    expected_orders: dict[str, list[tuple[str, str, object]]] = {user: [] for user in users}
    for number in range(ORDERS):
        for user in users:
            expected_orders[user].append(("order:update", next(answers)["id"], f"{user}/{number}"))
    expected_prices = [
        ("price:update", answer["id"], f"S{number}") for number, answer in enumerate(prices)
    ]
    for client in clients:
        if client.user_id is None:
            assert client.live("symbol") == expected_prices
        else:
            assert client.live("orderId") == expected_orders[client.user_id]
