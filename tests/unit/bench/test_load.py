"""The load client finds every event, however the stream is cut, and says what is wrong."""

import asyncio
import shutil
import zlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from bench.load import COUNTER, STAMP, Load, LoadError, Outcome, run
from tests.unit.bench.relay import HEAD, Framing, Relay, chunked, event, relaying

CLIENTS = 3
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
OPENING = b": hello\n\nevent: connected\ndata: {}\n\n"

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    """A relay that does everything right."""
    async with relaying(tmp_path) as relay:
        yield relay


async def measured(relay: Relay, **changes: Any) -> Outcome:
    """Return what the load client says about 30 messages in 0.3 seconds to three clients."""
    load = Load(
        "127.0.0.1",
        relay.port,
        [b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"] * CLIENTS,
        feed=relay.feed,
        messages=[f'{{"symbol":"S1","type":"x",{STAMP},{COUNTER}}}\n'.encode()],
        rate=100,
        warmup=0,
        seconds=0.3,
        drain=1,
        checks_ids=True,
        counter_step=1,
    )
    return await asyncio.to_thread(run, load._replace(**changes))


def crlf(number: int, data: bytes) -> bytes:
    """Render an event with the other line end."""
    return event(number, data).replace(b"\n", b"\r\n")


def gzip_framing() -> Framing:
    """Compress one stream with a flush after each message, and write it byte by byte."""
    compressor = zlib.compressobj(wbits=31)

    def framing(data: bytes) -> Iterable[bytes]:
        return chunked(compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH), 1)

    return framing


def zstd_framing() -> Framing:
    """Write frames end to end; the first bytes of each go out with the one before."""
    magic = b"\x28\xb5\x2f\xfd"
    compressor = zstandard.ZstdCompressor()
    begun = False

    def framing(data: bytes) -> Iterable[bytes]:
        nonlocal begun
        frame = compressor.compress(data) + magic
        begun, was_begun = True, begun
        return chunked(frame[len(magic) :] if was_begun else frame, 5)

    return framing


@pytest.mark.parametrize("size", [1, 2, 7, 30, 10_000])
@pytest.mark.parametrize("render", [event, crlf], ids=["LF", "CRLF"])
async def test_cuts_do_not_matter(relay: Relay, render: Any, size: int) -> None:
    """Every event is counted once at every client, wherever its bytes are cut."""
    relay.head, relay.first, relay.events = CHUNKED, OPENING, render
    relay.framing = lambda: lambda data: chunked(data, size)

    outcome = await measured(relay)

    assert [] == outcome.faults()
    assert outcome.events_sent > 0
    assert outcome.events_sent * CLIENTS == outcome.delivered
    assert CLIENTS == outcome.other_events


async def test_a_body_may_end_with_its_connection(relay: Relay) -> None:
    """A body without framing is read as it comes, and every message is acknowledged."""
    outcome = await measured(relay)

    assert [] == outcome.faults()
    assert 0 == outcome.missing(CLIENTS)
    assert outcome.events_sent_total == outcome.acknowledged


@pytest.mark.parametrize(
    ("coding", "framing"), [("gzip", gzip_framing), ("zstd", zstd_framing)], ids=["gzip", "zstd"]
)
async def test_codings(relay: Relay, coding: str, framing: Any) -> None:
    """Compressed streams are decoded as they come, in pieces of any size."""
    relay.head = CHUNKED + f"Content-Encoding: {coding}\r\n".encode()
    relay.first, relay.framing = OPENING, framing

    try:
        outcome = await measured(relay, coding=coding)
    except LoadError as error:
        if "built without" not in str(error):
            raise
        pytest.skip(str(error))

    assert [] == outcome.faults()
    assert 0 == outcome.missing(CLIENTS)


async def test_what_is_lost_is_missed(relay: Relay) -> None:
    """An event that reaches nobody is missing, and a hole where another one follows it."""
    relay.events = lambda number, data: b"" if number % 5 == 4 else event(number, data)

    outcome = await measured(relay, drain=0.2)

    lost = [number for number in range(outcome.events_sent) if number % 5 == 4]
    followed = [number for number in lost if number < outcome.events_sent - 1]
    assert len(lost) * CLIENTS == outcome.missing(CLIENTS)
    assert len(followed) * CLIENTS == outcome.holes


async def test_what_comes_twice_is_told(relay: Relay) -> None:
    """An event that comes again is a duplicate, and its ID is out of order."""
    relay.events = lambda number, data: event(number, data) * (2 if number == 3 else 1)

    outcome = await measured(relay, drain=0.2)

    assert (CLIENTS, CLIENTS) == (outcome.duplicates, outcome.order_errors)
    assert -CLIENTS == outcome.missing(CLIENTS)


async def test_a_hole_made_good_by_a_duplicate_is_told(relay: Relay) -> None:
    """Counts that agree hide nothing: holes and duplicates are told apart."""
    times = {3: 0, 4: 2}
    relay.events = lambda number, data: event(number, data) * times.get(number, 1)

    outcome = await measured(relay)

    assert 0 == outcome.missing(CLIENTS)
    assert (CLIENTS, CLIENTS) == (outcome.holes, outcome.duplicates)


async def test_a_stream_that_ends_has_failed(relay: Relay) -> None:
    """A client whose stream ends is a fault, with the reason."""
    relay.is_closing = True

    outcome = await measured(relay, drain=0.2)

    assert [f"{CLIENTS} clients failed (the server closed the connection)"] == outcome.faults()


async def test_a_refused_stream_has_failed(relay: Relay) -> None:
    """A client that gets no stream is a fault, with the status."""
    relay.head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"

    outcome = await measured(relay, drain=0.2)

    assert [f"{CLIENTS} clients failed (status 503)"] == outcome.faults()
    assert 0 == outcome.connected


async def test_stalled_clients_are_not_counted(relay: Relay) -> None:
    """Clients that stop reading get nothing, and nothing is missed there."""
    outcome = await measured(relay, stall=1)

    assert [] == outcome.faults()
    assert 0 == outcome.missing(CLIENTS - 1)


async def test_a_storm_is_timed(relay: Relay) -> None:
    """Connections that come in the midst are opened when what they wait for has come."""
    relay.head, relay.first = CHUNKED, OPENING
    relay.framing = lambda: lambda data: chunked(data, 1)
    requests = [b"GET /events HTTP/1.1\r\n\r\n"] * 5

    outcome = await measured(relay, storm=requests, until="event: connected")

    assert outcome.storm is not None
    assert (5, 0) == (outcome.storm.opened, outcome.storm.failed)
    assert outcome.storm.opening_us.p50 > 0
    assert 0 == outcome.missing(CLIENTS)


async def test_a_feed_without_a_server_is_told(relay: Relay) -> None:
    """A run that cannot begin says why."""
    with pytest.raises(LoadError, match="feed /nowhere"):
        await measured(relay, feed="unix:/nowhere")
