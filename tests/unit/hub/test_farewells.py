"""Tests of `sseserver.hub.farewells`: what ends a stream, down to the bytes."""

import gzip

import pytest

from sseserver.errors import CloseReason
from sseserver.hub.subscription import Farewell, Subscription
from sseserver.wire.compression import prologue
from sseserver.wire.sse_frame import LAST_CHUNK
from tests.support.core import Core, request_for
from tests.support.fake_connection import decode
from tests.unit.hub.fake_sink import FakeSink

FAREWELL = Farewell(CloseReason.SHUTDOWN, "server:shutdown", {"message": "m"}, 1234)
EVENT = b'event: server:shutdown\ndata: {"message":"m"}\nid: 0-00000001e\nretry: 1234\n\n'


def last_bytes(farewell: Farewell, encoding: str, *, is_chunked: bool) -> bytes:
    """Return the end of a stream that has carried nothing before."""
    sink = FakeSink()
    request = request_for(encoding=encoding, is_chunked=is_chunked)
    subscription = Subscription(request, "client-1", sink, sink.write)
    return Core().hub.streams._farewells.last_bytes(subscription, farewell, 50)


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_the_farewell_is_an_event_in_the_coding_of_the_stream(
    encoding: str, *, is_chunked: bool
) -> None:
    """With the `retry:` of its own, and the last chunk where there are chunks."""
    data = last_bytes(FAREWELL, encoding, is_chunked=is_chunked)
    start = prologue(encoding)
    framed = b"%x\r\n%b\r\n" % (len(start), start) if is_chunked and start else start

    assert EVENT == decode(framed + data, encoding, is_chunked=is_chunked)
    assert is_chunked == data.endswith(LAST_CHUNK)


def test_a_gzip_stream_ends_so_that_every_reader_is_content() -> None:
    """With checksum and length of all that it carried."""
    data = last_bytes(FAREWELL, "gzip", is_chunked=False)

    assert EVENT == gzip.decompress(prologue("gzip") + data)


def test_without_an_event_the_stream_just_ends() -> None:
    """Nothing but the last chunk."""
    farewell = Farewell(CloseReason.STRATEGY_GONE)

    assert LAST_CHUNK == last_bytes(farewell, "identity", is_chunked=True)
    assert b"" == last_bytes(farewell, "identity", is_chunked=False)
