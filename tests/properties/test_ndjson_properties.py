"""However the bytes of a feed are cut, the same lines come out, and memory stays bounded."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sseserver.errors import FeedError, FeedErrorCode
from sseserver.wire.ndjson import LineSplitter, encode_error, encode_ok

LIMIT = 12

# Few different bytes, so that newlines, returns and lines about the limit are common.
feeds = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"x", b"yy", b"z" * (LIMIT - 1)])).map(
    b"".join
)
references = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=128)


def expected_lines(data: bytes) -> list[bytes | None]:
    """Return the lines of a feed by the words of the contract, one after the other."""
    lines: list[bytes | None] = []
    while b"\n" in data:
        line, _, data = data.partition(b"\n")
        if len(line) > LIMIT:
            lines.append(None)
        elif line not in (b"", b"\r"):
            lines.append(line[:-1] if line.endswith(b"\r") else line)
    return lines


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """Return a feed in pieces, empty ones among them."""
    data = draw(feeds)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    ends = [0, *cuts, len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


@given(pieces())
def test_any_cut_gives_the_same_lines(parts: list[bytes]) -> None:
    """The lines depend on the bytes, never on how they arrive."""
    splitter = LineSplitter(LIMIT)
    lines = [line for part in parts for line in splitter.feed(part)]

    assert lines == expected_lines(b"".join(parts))


@given(feeds)
def test_single_bytes_give_the_same_lines(data: bytes) -> None:
    """A feed that drips is read as one that comes whole."""
    splitter = LineSplitter(LIMIT)
    lines = [line for byte in data for line in splitter.feed(bytes([byte]))]

    assert lines == LineSplitter(LIMIT).feed(data)


@given(pieces())
def test_no_more_than_the_limit_is_held(parts: list[bytes]) -> None:
    """After every read no more than one line within the limit is held."""
    splitter = LineSplitter(LIMIT)
    for part in parts:
        splitter.feed(part)

        assert splitter.pending_bytes <= LIMIT


@given(references, st.none() | st.text())
def test_ok_can_be_read_back(ref: str | int | None, event_id: str | None) -> None:
    """An answer is one line of JSON that says what was put in."""
    answer = encode_ok(ref, event_id)
    decoded = msgspec.json.decode(answer)

    assert answer.index(b"\n") == len(answer) - 1
    assert (decoded["ok"], decoded.get("ref"), decoded.get("id")) == (True, ref, event_id)


@given(references, st.sampled_from(FeedErrorCode), st.text(), st.none() | st.text())
def test_an_error_can_be_read_back(
    ref: str | int | None, code: FeedErrorCode, message: str, path: str | None
) -> None:
    """A refusal is one line of JSON that says what was put in."""
    answer = encode_error(FeedError(code, message, path=path, ref=ref))
    decoded = msgspec.json.decode(answer)
    fault = decoded["error"]

    assert answer.index(b"\n") == len(answer) - 1
    assert (decoded["ok"], decoded.get("ref")) == (False, ref)
    assert (fault["code"], fault["message"], fault.get("path")) == (code, message, path)
