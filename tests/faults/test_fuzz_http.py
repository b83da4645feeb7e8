"""HTTP bytes that nobody thought of: cases of the corpus, mutated and cut anywhere.

Whatever arrives, what holds of every connection is in `check`. A short run belongs to the suite;
`SSESERVER_FUZZ_MINUTES` says how long a longer one takes. What it finds becomes a case in
`tests/corpus/http`.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sseserver.config import ServerConfig
from sseserver.errors import RequestError
from sseserver.net.exchange import Request, Response, StreamOpening
from sseserver.wire.request_body import MAX_EXTRA_BYTES
from tests.support.conversation import FOLLOWING, Conversation, corpus_site, following
from tests.support.http_answers import read_answers
from tests.support.http_corpus import PROBE, Then, load_corpus
from tests.support.raw_client import Answer
from tests.unit.net.site import Site

MINUTES: Final = float(os.environ.get("SSESERVER_FUZZ_MINUTES", "0"))
MAX_SEED_BYTES: Final = 3_000
"""Of a case that is mutated; longer ones say one thing only, and take their time."""
MAX_BYTES: Final = 150_000

SEEDS: Final = sorted(
    {
        case.data
        for case in load_corpus().values()
        if not case.takes_time and len(case.data) <= MAX_SEED_BYTES
    }
)

LIMITS: Final = (ServerConfig().max_header_bytes, MAX_EXTRA_BYTES, ServerConfig().max_body_bytes)
FILLERS: Final = (
    b"a", b"0", b" ", b"A: b\r\n", b"\r\n", b"a;", b"%41", b"/", b",", b"1\r\na\r\n",
)  # fmt: skip
LINE_ENDS: Final = (
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"\0\r\n",
    b"",
    b"\r\0\n",
)
NUMBERS: Final = (
    b"", b"0", b"1", b"00", b"-1", b"+5", b"0x5", b"5 ", b"5,5", b"65536", b"65537", b"16384",
    b"fffff", b"4294967296", b"9223372036854775807", b"18446744073709551616",
    b"8000000000000000", b"9" * 400, b"0" * 20_000 + b"5", "\u0665".encode(),
)  # fmt: skip
TOKENS: Final = (
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: evil.example\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Cookie: session=s-1\r\n",
    b"X-Correlation-ID: a\r\n", b"Origin: https://app.example\r\n", b"Last-Event-ID: 1\r\n",
    b"Accept: text/event-stream\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n", b"HEAD /healthz", b"GET /api/stream/prices", b"OPTIONS *", b"\r\n\r\n",
    b"%0d%0a", b"%00", b"%", b":", b" ", b"\t", b";", b"\"", b"\0", b"\x16\x03\x01", b"\xff", PROBE,
)  # fmt: skip

# What our answers may have as headers, and what an input can put into one of them.
HEADERS: Final = {
    "access-control-allow-credentials", "access-control-allow-headers",
    "access-control-allow-methods", "access-control-allow-origin",
    "access-control-expose-headers", "allow", "cache-control", "connection", "content-encoding",
    "content-length", "content-type", "date", "retry-after", "transfer-encoding", "vary",
    "x-accel-buffering", "x-correlation-id",
}  # fmt: skip
REFLECTED: Final = {
    "access-control-allow-origin": re.compile(r"\*|https://app\.example", re.IGNORECASE),
    "x-correlation-id": re.compile(r"[A-Za-z0-9._:-]{1,128}"),
}
PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")

Mutation = Callable[[st.DataObject, bytes], bytes]


# ---- mutations ----


def place(data: st.DataObject, sent: bytes) -> int:
    """Draw a place between two bytes."""
    return data.draw(st.integers(0, len(sent)))


def span(data: st.DataObject, sent: bytes) -> tuple[int, int]:
    """Draw a stretch of bytes, short ones first."""
    start = place(data, sent)
    return start, min(len(sent), start + data.draw(st.integers(1, 200)))


def splice(data: st.DataObject, sent: bytes) -> bytes:
    """Go on with another case from somewhere."""
    other = data.draw(st.sampled_from(SEEDS))
    return sent[: place(data, sent)] + other[place(data, other) :]


def append(data: st.DataObject, sent: bytes) -> bytes:
    """Send another case behind this one."""
    return sent + data.draw(st.sampled_from(SEEDS))


def duplicate(data: st.DataObject, sent: bytes) -> bytes:
    """Say something again, now and then very often."""
    start, end = span(data, sent)
    times = data.draw(st.sampled_from((1, 1, 1, 2, 30, 400)))
    return sent[:end] + sent[start:end] * times + sent[end:]


def delete(data: st.DataObject, sent: bytes) -> bytes:
    """Leave something out."""
    start, end = span(data, sent)
    return sent[:start] + sent[end:]


def flip(data: st.DataObject, sent: bytes) -> bytes:
    """Change one byte."""
    at = place(data, sent)
    return sent[:at] + data.draw(st.binary(min_size=1, max_size=1)) + sent[at + 1 :]


def insert(data: st.DataObject, sent: bytes) -> bytes:
    """Put something in, at the front of a line where that makes sense."""
    token = data.draw(st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=8))
    starts = [match.end() for match in re.finditer(rb"\r\n", sent)]
    at = data.draw(st.sampled_from(starts)) if starts and token.endswith(b"\r\n") else None
    at = place(data, sent) if at is None else at
    return sent[:at] + token + sent[at:]


def push(data: st.DataObject, sent: bytes) -> bytes:
    """Fill up, so that what stands somewhere comes to about a limit of sizes."""
    at = place(data, sent)
    filler = data.draw(st.sampled_from(FILLERS))
    size = data.draw(st.sampled_from(LIMITS)) + data.draw(st.integers(-3, 3))
    size -= at if data.draw(st.booleans()) else 0
    return sent[:at] + (filler * size)[: max(0, size)] + sent[at:]


def change_line_end(data: st.DataObject, sent: bytes) -> bytes:
    """End a line in another way."""
    return replace_one(data, sent, rb"\r\n", LINE_ENDS)


def change_number(data: st.DataObject, sent: bytes) -> bytes:
    """Put another number in the place of one."""
    return replace_one(data, sent, rb"[0-9]+", NUMBERS)


def change_case(data: st.DataObject, sent: bytes) -> bytes:
    """Write something in the other case."""
    start, end = span(data, sent)
    return sent[:start] + sent[start:end].swapcase() + sent[end:]


def replace_one(
    data: st.DataObject, sent: bytes, pattern: bytes, replacements: Sequence[bytes]
) -> bytes:
    """Replace one match of a pattern."""
    matches = list(re.finditer(pattern, sent))
    if not matches:
        return sent
    match = data.draw(st.sampled_from(matches))
    return sent[: match.start()] + data.draw(st.sampled_from(replacements)) + sent[match.end() :]


MUTATIONS: Final[Sequence[Mutation]] = (
    change_line_end, change_number, insert, delete, flip, duplicate, splice, append, change_case,
    push,
)  # fmt: skip


def mutated(data: st.DataObject) -> bytes:
    """Draw a case and change it."""
    sent = data.draw(st.sampled_from(SEEDS))
    for mutation in data.draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=5)):
        sent = mutation(data, sent)[:MAX_BYTES]
    return sent


# ---- cuts ----


def cut_at(sent: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Return the pieces between these cuts."""
    bounds = sorted({0, len(sent), *cuts})
    return [sent[start:end] for start, end in pairwise(bounds)]


def in_a_few(data: st.DataObject, sent: bytes) -> list[bytes]:
    """Cut anywhere."""
    return cut_at(sent, data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))


def in_steps(data: st.DataObject, sent: bytes) -> list[bytes]:
    """Cut into pieces of one size, single bytes where that does not take too long."""
    return cut_at(sent, range(0, len(sent), data.draw(st.integers(1, 9)) + len(sent) // 4_000))


def beside_line_ends(data: st.DataObject, sent: bytes) -> list[bytes]:
    """Cut within the ends of lines, or just beside them."""
    shift = data.draw(st.integers(-1, 2))
    ends = re.finditer(rb"(?s).[\r\n]", sent)
    return cut_at(sent, (min(len(sent), match.start() + 1 + shift) for match in ends))


# ---- what holds ----


class Calls:
    """The endpoints, with a note of what each was asked."""

    def __init__(self, site: Site) -> None:
        self._endpoints = site.routes
        self.is_draining = False
        self.requests: list[Request] = []
        self.refusals: list[RequestError] = []

    def answer(self, request: Request) -> Response | StreamOpening:
        self.requests.append(request)
        return self._endpoints.answer(request)

    def refuse(self, error: RequestError, correlation_id: str, origin: str | None) -> Response:
        self.refusals.append(error)
        return self._endpoints.refuse(error, correlation_id, origin)

    def open_stream(self, transport: asyncio.Transport, opening: StreamOpening) -> None:
        self._endpoints.open_stream(transport, opening)

    def new_correlation_id(self) -> str:
        return self._endpoints.new_correlation_id()


class Heard(NamedTuple):
    """What must not depend on the cuts."""

    answers: Sequence[tuple[int, dict[str, str]]]
    refusals: Sequence[int]
    requests: Sequence[tuple[str, object, object, bytes]]
    then: Then


async def hear(sent: bytes, pieces: Sequence[bytes]) -> Heard:
    """Send bytes on a new connection, check all that holds for itself, return what came."""
    site = corpus_site()
    calls = Calls(site)
    with structlog.testing.capture_logs() as log:
        conversation = Conversation(site, calls)
        await conversation.send(pieces)
        received, then = conversation.received, conversation.then
        requests, refusals = list(calls.requests), list(calls.refusals)
        state = Then.WAITS if conversation.is_waiting else then
        more = await following(conversation)
    answers = [one for one in read_answers(received, methods=None) if one.status >= 200]

    assert [] == [line for line in log if line["log_level"] in {"error", "critical"}]
    assert len(answers) == len(requests) + len(refusals), "one answer each"
    assert len(answers) <= 1 + len(re.findall(rb"(?=\r\n\r\n)", sent)), "to what is complete"
    assert FOLLOWING[state] == more, "all is answered or closed"
    assert not any(error.is_framing for error in refusals[:-1])
    assert then is Then.ENDS or not any(error.is_framing for error in refusals)
    for answer in answers:
        check_answer(answer)
    has_failed = any(error.is_framing for error in refusals)
    return Heard(
        # What is refused at once has no more headers of a page's origin than have arrived.
        [comparable(answer) for answer in (answers[:-1] if has_failed else answers)],
        [size_class(error.status) for error in refusals],
        [(one.method, one.target, one.headers, one.body) for one in requests],
        then,
    )


def check_answer(answer: Answer) -> None:
    """Check that an answer is one of ours and has nothing of the input where it can do harm."""
    assert answer.status < 500
    assert set() == answer.headers.keys() - HEADERS
    for name, value in answer.headers.items():
        assert REFLECTED.get(name, PRINTABLE).fullmatch(value), (name, value)


def size_class(status: int) -> int:
    """Return a status without what cuts may decide: a line too long behind empty lines."""
    return 431 if status == 414 else status


def comparable(answer: Answer) -> tuple[int, dict[str, str]]:
    """Return status and headers without what differs by itself."""
    differing = {"x-correlation-id", "content-length"}
    return answer.status, {
        name: value for name, value in answer.headers.items() if name not in differing
    }


@settings(max_examples=250, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def check(data: st.DataObject) -> None:
    """Never an exception or a 500; valid answers, one for each request; cuts change nothing."""
    sent = mutated(data)
    pieces = data.draw(st.sampled_from((in_a_few, in_steps, beside_line_ends)))(data, sent)
    with asyncio.Runner() as runner:
        whole = runner.run(hear(sent, [sent]))
        in_pieces = runner.run(hear(sent, pieces))

    assert whole == in_pieces


@pytest.mark.timeout(120 + 120 * MINUTES)
def test_mutated_cases_keep_every_promise() -> None:
    """For as long as it was asked to run, at least once."""
    end = time.monotonic() + 60 * MINUTES
    check()
    while time.monotonic() < end:
        check()
