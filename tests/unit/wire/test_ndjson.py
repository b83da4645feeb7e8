"""Lines and answers: `sseserver.wire.ndjson`."""

import pytest

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.wire.ndjson import LineSplitter, encode_error, encode_ok

LIMIT = 10


@pytest.fixture
def splitter() -> LineSplitter:
    """Return a splitter with a limit of `LIMIT` bytes."""
    return LineSplitter(LIMIT)


def test_lines_come_without_their_newline(splitter: LineSplitter) -> None:
    """Complete lines are returned in order, without LF."""
    assert splitter.feed(b"one\ntwo\nthree\n") == [b"one", b"two", b"three"]


def test_a_line_is_returned_when_its_newline_arrives(splitter: LineSplitter) -> None:
    """An unfinished line waits."""
    assert splitter.feed(b"on") == []
    assert splitter.feed(b"e\ntw") == [b"one"]
    assert splitter.feed(b"o") == []
    assert splitter.feed(b"\n") == [b"two"]


def test_carriage_returns(splitter: LineSplitter) -> None:
    """CR LF ends a line as LF does, also when something comes between them; one CR goes."""
    assert splitter.feed(b"one\r\ntwo\r") == [b"one"]
    assert splitter.feed(b"\nthree\r\r\n") == [b"two", b"three\r"]


def test_a_carriage_return_inside_stays(splitter: LineSplitter) -> None:
    """CR alone ends no line: to JSON it is white space."""
    assert splitter.feed(b"a\rb\n") == [b"a\rb"]


def test_blank_lines_are_left_out(splitter: LineSplitter) -> None:
    """Empty lines say nothing, with LF or CR LF, in one piece or in several."""
    assert splitter.feed(b"\n\r\none\n\n\r\n\r") == [b"one"]
    assert splitter.feed(b"\n") == []
    assert splitter.feed(b"\ntwo\n") == [b"two"]


@pytest.mark.parametrize("line", [b"x" * LIMIT, b"x" * (LIMIT - 1) + b"\r"])
def test_a_line_at_the_limit_is_taken(splitter: LineSplitter, line: bytes) -> None:
    """The limit counts everything before the LF, and is still within it."""
    assert splitter.feed(line + b"\n") == [line.rstrip(b"\r")]


@pytest.mark.parametrize("line", [b"x" * (LIMIT + 1), b"x" * LIMIT + b"\r"])
@pytest.mark.parametrize("cut", [0, 1, LIMIT, LIMIT + 1])
def test_a_line_past_the_limit_is_told_once(splitter: LineSplitter, line: bytes, cut: int) -> None:
    """A line that is too long is None, in its place among the others, however it arrives."""
    before = splitter.feed(b"one\n" + line[:cut])
    after = splitter.feed(line[cut:] + b"\ntwo\n")

    assert before + after == [b"one", None, b"two"]


def test_a_line_past_the_limit_is_told_at_its_newline(splitter: LineSplitter) -> None:
    """While it goes on nothing is told, so that answers stay in the order of lines."""
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"x" * 100) == []
    assert splitter.feed(b"x\n") == [None]


def test_a_line_past_the_limit_is_not_held(splitter: LineSplitter) -> None:
    """Its bytes are dropped as soon as it is too long."""
    counts = []
    for piece in (b"x" * LIMIT, b"x", b"x"):
        splitter.feed(piece)
        counts.append(splitter.pending_bytes)

    assert counts == [LIMIT, 0, 0]


def test_the_next_line_begins_anew(splitter: LineSplitter) -> None:
    """After a line that was too long, the limit holds for the next one alone."""
    splitter.feed(b"x" * 100 + b"\n" + b"y" * LIMIT)

    assert splitter.pending_bytes == LIMIT
    assert splitter.feed(b"\n") == [b"y" * LIMIT]


def test_two_long_lines_are_told_twice(splitter: LineSplitter) -> None:
    """Each line that is too long is told, also when both end in one read."""
    splitter.feed(b"x" * 100)

    assert splitter.feed(b"\n" + b"y" * 100 + b"\n") == [None, None]


def test_what_was_skipped_is_over(splitter: LineSplitter) -> None:
    """Once a long line has ended, lines are read as ever, also in later reads."""
    splitter.feed(b"x" * 100)

    assert splitter.feed(b"\none\nt") == [None, b"one"]
    assert splitter.feed(b"wo\n") == [b"two"]


def test_pending_bytes(splitter: LineSplitter) -> None:
    """What is held is the unfinished line, and nothing once it is finished."""
    counts = []
    for piece in (b"", b"one", b"\ntw", b"o\n"):
        splitter.feed(piece)
        counts.append(splitter.pending_bytes)

    assert counts == [0, 3, 2, 0]


def test_ok() -> None:
    """The contract's own example of an answer."""
    answer = encode_ok(1, "1735819800000-abc123def")

    assert answer == b'{"ref":1,"ok":true,"id":"1735819800000-abc123def"}\n'


@pytest.mark.parametrize(
    ("ref", "event_id", "answer"),
    [
        (None, None, b'{"ok":true}\n'),
        (0, None, b'{"ref":0,"ok":true}\n'),
        ("", None, b'{"ref":"","ok":true}\n'),
        (None, "1-a", b'{"ok":true,"id":"1-a"}\n'),
        (-(2**63), None, b'{"ref":-9223372036854775808,"ok":true}\n'),
    ],
)
def test_ok_says_only_what_there_is(
    ref: str | int | None, event_id: str | None, answer: bytes
) -> None:
    """What is None is left out, and nothing else."""
    assert encode_ok(ref, event_id) == answer


def test_error() -> None:
    """The contract's own example of a refusal."""
    error = FeedError(
        FeedErrorCode.INVALID_MESSAGE,
        "Expected `number | str`, got `array`",
        path="$.data.price",
        ref=2,
    )

    assert encode_error(error) == (
        b'{"ref":2,"ok":false,"error":{"code":"invalid_message",'
        b'"message":"Expected `number | str`, got `array`","path":"$.data.price"}}\n'
    )


@pytest.mark.parametrize(("ref", "start"), [(0, b'{"ref":0,'), ("", b'{"ref":"",')])
def test_every_reference_is_told(ref: str | int, start: bytes) -> None:
    """References that count as false are references."""
    assert encode_error(FeedError(FeedErrorCode.UNKNOWN_OP, "no", ref=ref)).startswith(start)


@pytest.mark.parametrize("code", FeedErrorCode)
def test_an_error_says_only_what_there_is(code: FeedErrorCode) -> None:
    """Without a reference and a path, neither is in the answer."""
    answer = encode_error(FeedError(code, "no"))

    assert answer == b'{"ok":false,"error":{"code":"%b","message":"no"}}\n' % code.encode()


def test_an_answer_is_one_line() -> None:
    """Line breaks in a reference or a message cannot end an answer early."""
    answers = [
        encode_ok("a\nb\r", None),
        encode_error(FeedError(FeedErrorCode.UNKNOWN_OP, "a\r\nb", path="$.a\nb", ref="\n")),
    ]

    assert [answer.count(b"\n") + answer.count(b"\r") for answer in answers] == [1, 1]
