"""The corpus in `tests/corpus/http` against the real process, whole and byte by byte.

What takes time is left to `tests/faults/test_http_corpus.py`, where time is held in the hand.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import h11
import pytest

from tests.support import daemon
from tests.support.http_answers import read_answers
from tests.support.http_corpus import (
    PROBE,
    SESSIONS,
    SETTINGS,
    STRATEGIES,
    Case,
    Then,
    load_corpus,
)
from tests.support.raw_client import TIMEOUT_SECONDS, Answer

CORPUS = {name: case for name, case in load_corpus().items() if not case.takes_time}
AT_ONCE = 40
BYTES_BETWEEN_TURNS = 16
"""Sent in writes of their own before others have their turn."""

Cut = Callable[[bytes], Iterable[bytes]]


class Outcome(NamedTuple):
    """What came of a case."""

    status: list[int]
    probe: list[int]
    missing: list[bytes]
    unwanted: list[bytes]


def whole(data: bytes) -> Iterable[bytes]:
    """Return all in one piece."""
    return (data,) if data else ()


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    """Return every byte by itself."""
    return (data[at : at + 1] for at in range(len(data)))


def expected(case: Case) -> Outcome:
    """Return what must come of a case; the probe behind it is answered where it is open."""
    return Outcome(list(case.status), [200] if case.then is Then.OPEN else [], [], [])


async def send(writer: asyncio.StreamWriter, case: Case, cut: Cut) -> None:
    """Send a case and what follows it, until the server has closed its side."""
    with contextlib.suppress(ConnectionError):
        for number, piece in enumerate(cut(case.data)):
            writer.write(piece)
            if number % BYTES_BETWEEN_TURNS == 0:
                await writer.drain()
                await asyncio.sleep(0)
        if case.then is Then.OPEN:
            writer.write(PROBE)
        elif case.then is Then.WAITS:
            writer.write_eof()  # no answer to half a request, and no 408 before its time
        await writer.drain()


async def receive(reader: asyncio.StreamReader, case: Case) -> bytes:
    """Return what comes until the end; of a stream, which has none, as far as its head."""
    received = b""
    while True:
        try:
            data = await reader.read(65_536)
        except ConnectionResetError:  # of a client that sends on and on
            return received
        received += data
        if not data or (case.then is Then.STREAM and is_stream_open(received, case)):
            return received


def is_stream_open(received: bytes, case: Case) -> bool:
    """Tell whether all answers have come, the stream's first event with them."""
    try:
        answers = read_answers(received, methods=case.methods)
    except h11.RemoteProtocolError:  # an answer has not come whole
        return False
    return len(answers) == len(case.status) and bool(answers[-1].body)


async def outcome(port: int, case: Case, cut: Cut) -> Outcome:
    """Make a connection of its own for a case, and return what came of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sending = asyncio.create_task(send(writer, case, cut))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            received = await receive(reader, case)
    finally:
        sending.cancel()
        writer.transport.abort()
    answers = [one for one in read_answers(received, methods=case.methods) if one.status >= 200]
    probe = [answer for answer in answers if is_of_probe(answer)]
    own = received[: received.rfind(b"HTTP/1.1 ")] if probe else received
    return Outcome(
        [answer.status for answer in answers if answer not in probe],
        [answer.status for answer in probe],
        [text for text in case.has if text.lower() not in received.lower()],
        [text for text in case.lacks if text.lower() in own.lower()],
    )


def is_of_probe(answer: Answer) -> bool:
    """Tell whether this is what the request behind a case was answered."""
    return answer.headers["x-correlation-id"] == "probe"


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
async def test_the_corpus(tmp_path: Path, cut: Cut) -> None:
    """Every case has its outcome, many at once, and the process has nothing to report."""
    turns = asyncio.Semaphore(AT_ONCE)

    async with await daemon.start(tmp_path, SETTINGS) as server:
        async with server.feed() as feed:
            for session_id, (user_id, role) in SESSIONS.items():
                await feed.session(session_id, user_id, role=role)
            for strategy_id, user_id in STRATEGIES.items():
                await feed.do("strategy.put", strategyId=strategy_id, userId=user_id)

        async def in_turn(case: Case) -> Outcome:
            async with turns:
                return await outcome(server.port, case, cut)

        found = await asyncio.gather(*map(in_turn, CORPUS.values()))

    differing = {
        name: (expected(case), one)
        for (name, case), one in zip(CORPUS.items(), found, strict=True)
        if one != expected(case)
    }
    assert {} == differing
    assert [] == [line for line in server.log if line["level"] in {"error", "critical"}]
