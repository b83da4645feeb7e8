"""Tests for `sseserver.demo.feed_connection`, against a real Unix socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sseserver.demo.feed_connection import MAX_UNANSWERED_LINES, FeedConnection
from tests.unit.demo.fake_ingest_port import FakeIngestPort, ingest_port


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[FakeIngestPort, FeedConnection]]:
    """Connect to a fake ingest port and read answers meanwhile."""
    async with ingest_port(path) as port:
        connection = FeedConnection(*await asyncio.open_unix_connection(path))
        reading = asyncio.create_task(connection.read_answers())
        yield port, connection
        connection.close()
        reading.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the fake ingest port listens."""
    return tmp_path / "feed.sock"


async def test_every_line_has_a_reference_and_its_digits(path: Path) -> None:
    """References count up, decimals are numbers with the digits they have."""
    async with connected(path) as (port, connection):
        await connection.send({"data": {"price": Decimal("150.20")}})
        await connection.send({"data": {"price": Decimal("0.00001")}})
        await connection.settle()

    assert port.raw == [
        b'{"data":{"price":150.20},"ref":1}\n',
        b'{"data":{"price":0.00001},"ref":2}\n',
    ]


async def test_settling_waits_for_the_answers(path: Path) -> None:
    """As long as a line is unanswered, `settle` waits."""
    async with connected(path) as (port, connection):
        port.answers.clear()
        await connection.send({"op": "ping"})
        settling = asyncio.create_task(connection.settle())
        await port.until(lambda: len(port.lines) == 1)
        is_early = settling.done()
        port.answers.set()
        await settling

    assert not is_early


async def test_only_so_many_lines_are_unanswered(path: Path) -> None:
    """Past the window `send` waits, and goes on with the first answer."""
    async with connected(path) as (port, connection):
        port.answers.clear()
        for _ in range(MAX_UNANSWERED_LINES):
            await connection.send({"op": "ping"})
        one_more = asyncio.create_task(connection.send({"op": "last"}))
        await port.until(lambda: len(port.lines) == MAX_UNANSWERED_LINES)
        is_early = one_more.done()
        port.answers.set()
        await one_more
        await connection.settle()

    assert not is_early
    assert port.lines[-1] == {"op": "last"}


async def test_who_waits_is_served_in_turn(path: Path) -> None:
    """One sender that never stops cannot keep another one waiting."""
    async with connected(path) as (port, connection):

        async def flood() -> None:
            while True:
                await connection.send({"op": "flood"})

        flooding = asyncio.create_task(flood())
        await port.until(lambda: len(port.lines) > 2 * MAX_UNANSWERED_LINES)
        for _ in range(10):
            await connection.send({"op": "other"})
        await port.until(lambda: port.lines.count({"op": "other"}) == 10)
        flooding.cancel()

    assert len(port.lines) < 20 * MAX_UNANSWERED_LINES


async def test_a_refused_line_is_logged_and_the_rest_goes_on(path: Path) -> None:
    """The log line has the error and what was refused, but never a session ID."""
    with capture_logs() as logs:
        async with connected(path) as (port, connection):
            port.refuses = lambda message: message != {"op": "ping"}
            await connection.send({"type": "t", "data": {"price": Decimal("1.10")}})
            await connection.send({"op": "session.put", "sessionId": "secret"})
            await connection.send({"op": "ping"})
            await connection.settle()

    error = {"code": "invalid_message", "message": "no"}

    assert logs == [
        {
            "event": "demo_line_refused",
            "log_level": "error",
            "error": error,
            "type": "t",
            "data": '{"price":1.10}',
        },
        {
            "event": "demo_line_refused",
            "log_level": "error",
            "error": error,
            "type": "session.put",
            "data": "null",
        },
    ]


async def test_an_error_without_a_reference_is_logged(path: Path) -> None:
    """A refusal of the whole connection belongs to no line."""
    answer = b'{"ok":false,"error":{"code":"not_allowed","message":"uid"}}\n'

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    with capture_logs() as logs:
        async with await asyncio.start_unix_server(refuse, path):
            connection = FeedConnection(*await asyncio.open_unix_connection(path))
            with pytest.raises(ConnectionError, match="closed the ingest connection"):
                await connection.read_answers()
            connection.close()

    assert [("not_allowed", None)] == [(log["error"]["code"], log["type"]) for log in logs]


async def test_the_end_of_the_connection_is_an_error(path: Path) -> None:
    """A feed that lost its server knows."""
    async with ingest_port(path) as port:
        port.closes_after = 1
        connection = FeedConnection(*await asyncio.open_unix_connection(path))
        await connection.send({"op": "ping"})
        with pytest.raises(ConnectionError):
            await connection.read_answers()
        connection.close()
