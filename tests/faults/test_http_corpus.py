"""Every case of the corpus in `tests/corpus/http` has its outcome, however its bytes are cut.

The same corpus against the real process is `tests/integration/test_http_corpus.py`.
"""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
import structlog

from tests.support.conversation import (
    FOLLOWING,
    Conversation,
    byte_by_byte,
    corpus_site,
    following,
)
from tests.support.http_answers import read_answers
from tests.support.http_corpus import Case, Piece, Then, load_corpus
from tests.support.raw_client import Answer

CORPUS = load_corpus()
CUTS_SEEDS = range(3)


def final(answers: list[Answer]) -> list[Answer]:
    """Return the answers that end a request."""
    return [answer for answer in answers if answer.status >= 200]


def cut(pieces: Sequence[Piece], rng: random.Random) -> list[Piece]:
    """Return the pieces cut anywhere, now and then many times."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, float):
            found.append(piece)
            continue
        count = rng.choice((1, 2, 5, 20))
        bounds = sorted({0, len(piece), *(rng.randrange(len(piece) + 1) for _ in range(count))})
        found.extend(piece[start:end] for start, end in pairwise(bounds))
    return found


async def outcome(case: Case, pieces: Sequence[Piece], *, is_whole: bool) -> None:
    """Feed a case and compare what comes back with what must."""
    with structlog.testing.capture_logs() as log:
        conversation = Conversation(corpus_site())
        await conversation.send(pieces)
        received = conversation.received
        answers = read_answers(received, methods=case.methods)
        then = conversation.then
        more = await following(conversation)

    assert "request_failed" not in {line["event"] for line in log}
    assert case.status == [answer.status for answer in final(answers)]
    assert case.continues_expected(is_whole=is_whole) == (100 in [one.status for one in answers])
    assert [] == [text for text in case.has if text.lower() not in received.lower()]
    assert [] == [text for text in case.lacks if text.lower() in received.lower()]
    assert (Then.OPEN if case.then is Then.WAITS else case.then) == then
    assert FOLLOWING[case.then] == more
    for answer in final(answers):
        check_answer(answer, is_head="H" in case.methods)


def check_answer(answer: Answer, *, is_head: bool) -> None:
    """Check what holds for every answer (contract section 4)."""
    assert {"date", "x-correlation-id", "access-control-allow-origin"} <= answer.headers.keys()
    if answer.status >= 400 and not (is_head and not answer.body):
        assert answer.status == answer.json()["statusCode"]


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    """More than three hundred cases, no two of the same bytes in the same time."""
    sent = {(tuple(case.pieces), case.drip_seconds) for case in CORPUS.values()}

    assert len(CORPUS) > 300
    assert len(CORPUS) == len(sent)


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
async def test_whole(case: Case) -> None:
    """Bytes that come at once."""
    pieces = byte_by_byte(case.pieces, case.drip_seconds) if case.drip_seconds else case.pieces

    await outcome(case, pieces, is_whole=True)


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
async def test_byte_by_byte(case: Case) -> None:
    """Bytes that come one by one."""
    await outcome(case, byte_by_byte(case.pieces, case.drip_seconds), is_whole=False)


CUTTABLE = {name: case for name, case in CORPUS.items() if not case.drip_seconds}


@pytest.mark.parametrize("case", CUTTABLE.values(), ids=CUTTABLE)
async def test_in_any_pieces(case: Case) -> None:
    """Bytes that come cut anywhere; whether 100 is sent depends on where."""
    for seed in CUTS_SEEDS:
        rng = random.Random(f"{case.name} {seed}")
        pieces = cut(case.pieces, rng)
        has_continue = b"100 Continue" in await raw(pieces)
        in_doubt = case._replace(continues="always" if has_continue else "never")
        assert case.continues != "never" or not has_continue
        await outcome(in_doubt, pieces, is_whole=False)


async def raw(pieces: Sequence[Piece]) -> bytes:
    """Return all that comes back."""
    conversation = Conversation(corpus_site())
    await conversation.send(pieces)
    return conversation.received
