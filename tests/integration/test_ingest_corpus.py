"""The corpus of hostile feeds over the real socket, to the real process.

Each case whole and one byte at a time; what it has to come to is said in `tests/corpus/ingest`.
"""

import asyncio
import json
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support import daemon
from tests.support.daemon import Daemon
from tests.support.ingest_corpus import MAX_LINE_BYTES, PREPARATION, Case, cases, summary
from tests.support.stream_client import StreamClient
from tests.support.watched_ingest import events_of

SETTINGS = {"ingest.max_line_bytes": MAX_LINE_BYTES, "log.level": "info"}
WATCHED = ("trading?userId=user-1", "alerts", "ai-decisions", "prices")
END = b'{"ref":"the end of the case","op":"ping"}\n'


class RawFeed:
    """A feed that writes in pieces of its choice, each with a call of its own."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()

    def exchange(self, pieces: Iterable[bytes]) -> list[bytes]:
        """Send pieces, and return what is answered until all of it has been applied."""
        self._socket.sendall(b"".join(line + b"\n" for line in PREPARATION))
        for piece in pieces:
            self._socket.sendall(piece)
        self._socket.sendall(END)
        answers = []
        while b"the end of the case" not in (answer := self._answers.readline()):
            assert answer, "the ingest port closed the connection"
            answers.append(answer)
        return answers


def exchanged(path: str, sent: list[Case], *, one_by_one: bool) -> list[list[bytes]]:
    """Return what is answered to each case, on one connection."""
    feed = RawFeed(path)
    try:
        return [
            feed.exchange(
                (case.data[place : place + 1] for place in range(len(case.data)))
                if one_by_one
                else [case.data]
            )
            for case in sent
        ]
    finally:
        feed.close()


async def read_to_the_end(stream: StreamClient, last_user: str) -> bytes:
    """Read a stream until what was published last, and return all it was sent."""
    while last_user.encode() not in stream.plain or not stream.plain.endswith(b"\n\n"):
        assert await stream.read(), "the stream ended"
    return stream.plain


async def publish_the_last(server: Daemon) -> None:
    """Publish something that every watched stream carries."""
    async with server.feed() as feed:
        order = {"orderId": "last", "symbol": "last", "side": "buy", "qty": 1, "status": "new"}
        alert = {"alertId": "last of all", "level": "info", "message": "last of all"}
        await feed.publish("order:update", {**order, "reason": "last of all"}, userId="user-1")
        await feed.publish("alert:new", alert, userId="user-1")
        await feed.publish("agent:status", {"agentId": "last", "status": "last of all"})
        await feed.publish("price:update", {"symbol": "last of all", "price": 1})


@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "byte by byte"])
async def test_every_case_over_the_real_socket(tmp_path: Path, *, one_by_one: bool) -> None:
    """The answers are right, and so is every byte of every stream."""
    corpus = cases()
    settings = {**SETTINGS, "limits.max_backlog_bytes": 32 << 20}
    async with await daemon.start(tmp_path, settings) as server, AsyncExitStack() as stack:
        async with server.feed() as feed:
            await feed.session("watcher", "user-1")
        streams = [
            await stack.enter_async_context(server.stream(f"/api/stream/{path}", session="watcher"))
            for path in WATCHED
        ]
        reading = [
            asyncio.create_task(read_to_the_end(stream, "last of all")) for stream in streams
        ]
        answers = await asyncio.to_thread(
            exchanged, server.ingest_path, corpus, one_by_one=one_by_one
        )
        await publish_the_last(server)
        plain = await asyncio.gather(*reading)
        status, _, _ = await server.request("GET", "/healthz")

    assert [stream.status for stream in streams] == [200] * len(streams)
    for case, answer in zip(corpus, answers, strict=True):
        assert tuple(summary(json.loads(one)) for one in answer) == case.answers, case.name
    counts = [len(events_of(one)) for one in plain]
    assert min(counts) > 20
    assert status == 200
    assert [line for line in server.log if line["event"] == "ingest_line_failed"] == []
    for text in {text for case in corpus for text in case.never if text.startswith("hunter")}:
        assert text not in repr(server.log)
        assert text.encode() not in b"".join(plain)
