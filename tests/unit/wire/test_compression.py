"""Tests of `sseserver.wire.compression`."""

import gzip
import random
import zlib

import pytest
from httpx._decoders import ZStandardDecoder

from sseserver.wire.compression import (
    GZIP_HEADER,
    IDENTITY,
    ZSTD,
    Coding,
    ContextBudget,
    GzipCoding,
    GzipTrailer,
    PlainCoding,
    epilogue,
    gzip_piece,
    piece,
    prologue,
    zstd_piece,
)
from tests.support.stream_client import ZstdFrames

LEVELS = range(1, 10)


def frames(count: int) -> list[bytes]:
    """Return price frames that resemble each other, as on the wire."""
    return [
        b'event: price:update\ndata: {"symbol":"SYM%d","price":%d.25}\nid: 1735819800000-%09d\n\n'
        % (number % 7, 100 + number, number)
        for number in range(count)
    ]


def payloads() -> list[bytes]:
    """Return pieces of every kind: small, alike, incompressible, larger than the window."""
    noise = random.Random(7).randbytes(20_000)
    return [*frames(20), b"x", noise, *frames(5), frames(1)[0] * 500, noise, b"x"]


def coding_of(level: int = 6, contexts: int = 1) -> GzipCoding:
    """Return a gzip coding with a context, or without one when there are none."""
    return GzipCoding(level, ContextBudget(contexts))


def inflate(*pieces: bytes) -> list[bytes]:
    """Return what each piece says to a peer that decodes as bytes arrive."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    return [decoder.decompress(data) for data in pieces]


@pytest.mark.parametrize("level", LEVELS)
def test_a_piece_is_valid_anywhere_in_a_stream(level: int) -> None:
    """Pieces decode at once, in any order and with any others around them."""
    plain = payloads()
    random.Random(level).shuffle(plain)

    assert plain == inflate(*(gzip_piece(data, level) for data in plain))


def test_a_zstd_piece_is_whole() -> None:
    """Frames one behind another decode each at once, and the stream has an end."""
    decoder = ZstdFrames()
    decoder.decompress(prologue("zstd"))
    plain = [decoder.decompress(zstd_piece(data)) for data in payloads()]
    is_ended = decoder.eof
    rest = decoder.decompress(epilogue("zstd", None))

    assert (payloads(), False, b"", True) == (plain, is_ended, rest, decoder.eof)


def test_httpx_takes_a_zstd_stream_piece_by_piece() -> None:
    """Its decoder fails at a frame that begins after one that ended with the data."""
    decoder = ZStandardDecoder()
    decoder.decode(prologue("zstd"))
    plain = [decoder.decode(zstd_piece(data)) for data in payloads()]
    decoder.decode(epilogue("zstd", None))

    assert (payloads(), b"") == (plain, decoder.flush())


def test_what_needs_no_prologue_has_none() -> None:
    """Uncoded bytes begin and end with themselves."""
    assert (b"", b"") == (prologue("identity"), epilogue("identity", None))


def test_a_gzip_stream_begins_with_its_header_and_ends_with_its_trailer() -> None:
    """The header is the same for all, the trailer is the connection's."""
    trailer = GzipTrailer()
    trailer.add(b"data")

    assert (GZIP_HEADER, trailer.ending()) == (prologue("gzip"), epilogue("gzip", trailer))


def test_the_budget_gives_as_many_contexts_as_it_has() -> None:
    """`take` reserves up to the limit and then refuses."""
    budget = ContextBudget(2)

    assert ([True, True, False], 2) == ([budget.take() for _ in range(3)], budget.in_use)


def test_a_context_that_is_given_back_can_be_taken_again() -> None:
    """`give_back` makes room for one."""
    budget = ContextBudget(1)
    budget.take()
    budget.give_back()

    assert [True, False] == [budget.take(), budget.take()]


def test_a_lowered_budget_waits_for_contexts_to_come_back() -> None:
    """With more in use than a new limit allows, none is given out until it is below."""
    budget = ContextBudget(3)
    for _ in range(3):
        budget.take()
    budget.max_contexts = 2
    budget.give_back()

    assert not budget.take()


def test_identity_copies_nothing() -> None:
    """Without a coding the bytes on the wire are the object that was passed."""
    plain = b"event: test\n\n"

    assert IDENTITY.shared(plain) is plain


@pytest.mark.parametrize("coding", [IDENTITY, ZSTD])
def test_a_coding_without_memory_encodes_the_same_for_everybody(coding: PlainCoding) -> None:
    """What is shared is valid apart too, so both are one function."""
    assert coding.shared(b"data") == coding.apart(b"data")


def test_zstd_shares_whole_frames() -> None:
    """Each shared write is a frame of its own."""
    assert zstd_piece(b"data") == ZSTD.shared(b"data")


@pytest.mark.parametrize("coding", [IDENTITY, ZSTD])
def test_a_coding_without_memory_works_after_close(coding: Coding) -> None:
    """It is one object for all audiences: closing an audience takes nothing away."""
    coding.close()

    assert coding.apart(b"data") == coding.shared(b"data")


@pytest.mark.parametrize("level", LEVELS)
def test_shared_pieces_decode_as_they_arrive(level: int) -> None:
    """Each piece of the shared stream says at once all that was put in."""
    coding = coding_of(level)

    assert payloads() == inflate(*(coding.shared(plain) for plain in payloads()))


def test_no_more_than_4_kib_are_remembered() -> None:
    """A peer decodes with a window of 4 KiB: nothing refers further back, in 36 KiB a context."""
    coding = coding_of()
    decoder = zlib.decompressobj(-12)
    noise = random.Random(7).randbytes(5_000)

    assert [noise] * 2 == [decoder.decompress(coding.shared(noise)) for _ in range(2)]


def test_a_context_makes_what_repeats_small() -> None:
    """Ten events alike take less than half of what they take without a context."""
    coding = coding_of()
    with_context = sum(len(coding.shared(plain)) for plain in frames(10))
    without = sum(len(gzip_piece(plain, 6)) for plain in frames(10))

    assert with_context < without / 2


@pytest.mark.parametrize("level", LEVELS)
def test_after_a_reset_pieces_are_valid_in_a_new_stream(level: int) -> None:
    """No piece refers behind a reset, however alike the pieces before it were."""
    coding = coding_of(level)
    for plain in [*payloads(), *frames(10)]:
        coding.shared(plain)
    coding.reset()

    assert payloads() == inflate(*(coding.shared(plain) for plain in payloads()))


@pytest.mark.parametrize("level", LEVELS)
def test_a_reset_does_not_disturb_those_who_listen_already(level: int) -> None:
    """A stream over any number of resets, also several at once, decodes without a break."""
    coding = coding_of(level)
    pieces = []
    for plain in payloads():
        coding.reset()
        coding.reset()
        pieces.append(coding.shared(plain))

    assert payloads() == inflate(*pieces)


def test_pieces_apart_may_come_between_shared_ones_before_a_reset() -> None:
    """A newcomer gets pieces apart first and shared ones from the reset on."""
    coding = coding_of()
    first, second, third, fourth = frames(4)
    coding.shared(fourth)
    coding.shared(first)
    apart = [coding.apart(second), coding.apart(third)]
    coding.shared(second)
    coding.shared(third)
    coding.reset()

    assert [second, third, fourth] == inflate(*apart, coding.shared(fourth))


def test_pieces_apart_leave_the_shared_stream_alone() -> None:
    """Encoding for others neither moves the shared stream nor counts in its CRC and size."""
    coding, undisturbed = coding_of(), coding_of()
    first, second, third = frames(3)
    expected = [undisturbed.shared(first), undisturbed.shared(third)]
    pieces = [coding.shared(first)]
    coding.apart(second)
    pieces.append(coding.shared(third))

    assert (expected, undisturbed.crc, undisturbed.size) == (pieces, coding.crc, coding.size)


def test_crc_and_size_run_over_what_was_shared() -> None:
    """Both are those of all shared bytes, resets or not."""
    coding = coding_of()
    coding.shared(b"abc")
    coding.reset()
    coding.shared(b"defg")

    assert (zlib.crc32(b"abcdefg"), 7) == (coding.crc, coding.size)


@pytest.mark.parametrize(("contexts", "has_context"), [(1, True), (0, False)])
def test_a_context_is_taken_from_the_budget(contexts: int, *, has_context: bool) -> None:
    """A coding has a context when the budget had one left."""
    assert has_context == coding_of(contexts=contexts).has_context


@pytest.mark.parametrize("level", LEVELS)
def test_without_a_context_shared_pieces_are_valid_anywhere(level: int) -> None:
    """Past the budget, pieces decode in any order, and a reset changes nothing."""
    coding = coding_of(level, contexts=0)
    pieces = [coding.shared(plain) for plain in payloads()]
    coding.reset()
    pieces.append(coding.shared(b"last"))
    pieces.reverse()

    assert [b"last", *reversed(payloads())] == inflate(*pieces)


def test_without_a_context_crc_and_size_are_kept() -> None:
    """Trailers need both, with a context or without."""
    coding = coding_of(contexts=0)
    coding.shared(b"abc")
    coding.shared(b"d")

    assert (zlib.crc32(b"abcd"), 4) == (coding.crc, coding.size)


def test_close_gives_the_context_back_once() -> None:
    """Closing twice gives back one context, not two."""
    budget = ContextBudget(2)
    budget.take()
    coding = GzipCoding(6, budget)
    coding.close()
    coding.close()

    assert (1, False) == (budget.in_use, coding.has_context)


def test_close_gives_back_nothing_that_was_not_taken() -> None:
    """A coding that found the budget used up leaves it as it is."""
    budget = ContextBudget(1)
    budget.take()
    GzipCoding(6, budget).close()

    assert 1 == budget.in_use


def test_a_stream_of_its_own_ends_properly() -> None:
    """Header, pieces and ending are a gzip file to Python's own reader."""
    trailer = GzipTrailer()
    body = GZIP_HEADER
    for plain in frames(3):
        trailer.add(plain)
        body += gzip_piece(plain, 6)

    assert b"".join(frames(3)) == gzip.decompress(body + trailer.ending())


def test_an_empty_stream_ends_properly() -> None:
    """A stream that was sent nothing is a valid, empty gzip file."""
    assert b"" == gzip.decompress(GZIP_HEADER + GzipTrailer().ending())


def test_a_trailer_counts_what_was_shared_between_join_and_leave() -> None:
    """Own bytes, a stay in one audience, own bytes, a stay in another: one CRC over all."""
    opening, before, shared, own, elsewhere, farewell = frames(6)
    first, second = coding_of(), coding_of(contexts=0)
    trailer = GzipTrailer()
    trailer.add(opening)
    body = GZIP_HEADER + gzip_piece(opening, 6)
    first.shared(before)
    first.reset()
    trailer.join(first)
    body += first.shared(shared)
    trailer.leave(first)
    first.shared(before)
    trailer.add(own)
    body += gzip_piece(own, 6)
    trailer.join(second)
    body += second.shared(elsewhere)
    trailer.leave(second)
    trailer.add(farewell)
    body += gzip_piece(farewell, 6)

    assert opening + shared + own + elsewhere + farewell == gzip.decompress(body + trailer.ending())


def test_a_stay_in_which_nothing_was_shared_changes_nothing() -> None:
    """Join and leave without a write between leave the trailer as it was."""
    coding = coding_of()
    coding.shared(b"earlier")
    trailer, untouched = GzipTrailer(), GzipTrailer()
    for each in (trailer, untouched):
        each.add(b"opening")
    trailer.join(coding)
    trailer.leave(coding)

    assert untouched.ending() == trailer.ending()


def test_the_size_is_counted_modulo_4_gib() -> None:
    """A stream past 4 GiB ends with its size modulo 2**32 (RFC 1952 section 2.3.1)."""
    coding = coding_of()
    trailer = GzipTrailer()
    trailer.join(coding)
    coding.size += (1 << 32) + 5  # as if so much had been shared
    trailer.leave(coding)

    assert (5).to_bytes(4, "little") == trailer.ending()[-4:]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("identity", b"data"),
        ("gzip", gzip_piece(b"data", 6)),
        ("zstd", zstd_piece(b"data")),
    ],
)
def test_a_piece_for_one_connection_is_in_its_coding(encoding: str, expected: bytes) -> None:
    """The negotiated coding decides how bytes for one connection are encoded."""
    assert expected == piece(encoding, b"data", 6)
