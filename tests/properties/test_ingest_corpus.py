"""Every case of the corpus of hostile feeds, whole, byte by byte and in random cuts.

From the transport's callback to the bytes of open streams, without sockets. What a case has to
come to is said in `tests/corpus/ingest`; how it is read, in `tests.support.ingest_corpus`.
"""

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.support.captured_log import captured_log
from tests.support.ingest_corpus import Case, cases, is_part, summary
from tests.support.watched_ingest import STREAMS, WatchedIngest

CASES = cases()
CUTS = 2


def cuts_of(data: bytes) -> list[list[bytes]]:
    """Return the bytes whole, one by one, and in some random pieces."""
    moments = random.Random(data)
    ways = [[data], [data[place : place + 1] for place in range(len(data))]]
    for _ in range(CUTS):
        count = min(len(data), moments.randint(1, 20))
        places = sorted(moments.sample(range(len(data) + 1), count))
        bounds = zip([0, *places], [*places, len(data)], strict=True)
        ways.append([data[start:end] for start, end in bounds])
    return ways


async def came_of(case: Case, pieces: Sequence[bytes]) -> tuple[bytes, bytes, list[bytes]]:
    """Deliver a case, check what came of it, and return answers, streams and state."""
    ingest = WatchedIngest()
    before = ingest.state()
    await ingest.send(pieces)
    sent, state = bytes(ingest.feed.sent), ingest.state()

    assert tuple(map(summary, ingest.take_answers())) == case.answers
    ingest.check_streams()
    plain = ingest.plain()
    if case.is_refused:
        assert state == before
        assert plain == b""
    if case.receives is not None:
        arrived, expected = ingest.news(), case.receives
        for stream in STREAMS:
            got = [(one.type, one.data) for one in arrived if one.stream == stream]
            wanted = [(one.type, one.data) for one in expected if one.stream == stream]
            assert [kind for kind, _ in got] == [kind for kind, _ in wanted], stream
            for (_, whole), (_, part) in zip(got, wanted, strict=True):
                assert is_part(part, whole), (stream, part, whole)
    shown = sent + plain + ingest.reopen()
    for text in case.never:
        assert text.encode() not in shown
    return sent, plain, state


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    """Two hundred cases and more, each with a name and with bytes of its own."""
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len({case.data for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:80])
def test_a_case_comes_to_what_it_has_to(case: Case) -> None:
    """However its bytes are cut: the same answers, the same streams, the same state.

    Nothing is a bug to the server, and nothing that nobody may see is logged either.
    """
    with captured_log() as log:
        ways = [asyncio.run(came_of(case, pieces)) for pieces in cuts_of(case.data)]

    assert [ways[0]] * len(ways) == ways
    assert [] == log.of("ingest_line_failed")
    for text in case.never:
        if text.startswith("hunter"):
            assert text not in repr(log.lines)
