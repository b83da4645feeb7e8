"""Content codings of a stream: each event is decodable the moment it is sent.

**gzip** (RFC 1951, 1952). An audience shares one raw deflate context, flushed after every
write. A newcomer's stream is: gzip header, its own opening, then the shared pieces. That is
valid from the first shared piece on which no back-reference reaches behind, so the context is
reset by a full flush when members join; between resets newcomers get *plain pieces*, deflated
without any context and thus valid anywhere in any stream. Several gzip members in one stream
are not an option: browsers stop after the first (field notes D7). Rejected too: a full flush
after every event (the ratio of small events falls from 4.0 to 1.16).

**zstd** (RFC 8878). One whole frame per write, made once for all; there is no context. The first
bytes of a frame, always the same four, go out with the frame before it: httpx 0.28 takes a frame
that ends with the data for the end of the stream, and fails at the next one; a frame that has
begun it waits for, as every decoder does.

Contexts are small: `wbits` 12 and `memLevel` 5 cost 36 KiB and compress 600 price events to
17.7 % where zlib's defaults cost 207 KiB and reach 16.6 % (design section 2).
"""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

import zstandard

from sseserver.wire.checksum import shift_crc

GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, unknown operating system (RFC 1952 section 2.3)."""

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""What each zstd frame begins with (RFC 8878 section 3.1.1)."""

_FINAL_BLOCK: Final = b"\x03\x00"
_EMPTY_BLOCK: Final = b"\x00\x00\x00\xff\xff"
_WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5
_ZSTD_LEVEL: Final = 3

_zstd_frame: Final = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress


def gzip_piece(plain: bytes, level: int) -> bytes:
    """Return deflated bytes that refer to nothing before them: valid anywhere in a stream."""
    context = zlib.compressobj(level, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
    return context.compress(plain) + context.flush(zlib.Z_SYNC_FLUSH)


def zstd_piece(plain: bytes) -> bytes:
    """Return a whole zstd frame, moved on by the magic number: that of the next is its end.

    Decoders join frames (RFC 8878 section 3).
    """
    return _zstd_frame(plain)[len(ZSTD_MAGIC) :] + ZSTD_MAGIC


class ContextBudget:
    """Counts the running gzip contexts of the process (`compression.max_contexts`)."""

    __slots__ = ("in_use", "max_contexts")

    def __init__(self, max_contexts: int) -> None:
        self.max_contexts = max_contexts
        self.in_use = 0

    def take(self) -> bool:
        """Reserve one context; False when all are in use."""
        if self.in_use >= self.max_contexts:
            return False
        self.in_use += 1
        return True

    def give_back(self) -> None:
        """Return one context that `take` reserved."""
        self.in_use -= 1


class Coding(Protocol):
    """Turns the plain bytes of a stream into what goes on the wire."""

    def shared(self, plain: bytes) -> bytes:
        """Encode for every synchronised member of the audience, once."""
        ...

    def apart(self, plain: bytes) -> bytes:
        """Encode for receivers at any other place of their stream: valid anywhere."""
        ...

    def close(self) -> None:
        """Give back what the coding holds."""
        ...


class PlainCoding:
    """A coding without memory: the same bytes are valid at every place of every stream."""

    __slots__ = ("shared",)

    def __init__(self, encode: Callable[[bytes], bytes]) -> None:
        self.shared = encode

    @property
    def apart(self) -> Callable[[bytes], bytes]:
        """Encode for receivers at any place of their stream."""
        return self.shared

    def close(self) -> None:
        """Hold nothing, give back nothing."""


class GzipCoding:
    """The deflate stream that an audience shares.

    `crc` and `size` run over the plain bytes of everything shared, whoever received it:
    `GzipTrailer` takes a member's part out of them.

    Args:
        level: zlib level, 0 to 9.
        budget: Where the context is counted. Without a free one, shared pieces are
            compressed without a context too, at a lower ratio.
    """

    __slots__ = ("_budget", "_context", "_level", "crc", "size")

    def __init__(self, level: int, budget: ContextBudget) -> None:
        self._level = level
        self._budget = budget
        self._context = (
            zlib.compressobj(level, zlib.DEFLATED, -_WINDOW_BITS, _MEMORY_LEVEL)
            if budget.take()
            else None
        )
        self.crc = 0
        self.size = 0

    @property
    def has_context(self) -> bool:
        """Whether shared pieces refer to earlier ones."""
        return self._context is not None

    def shared(self, plain: bytes) -> bytes:
        """Return the next piece of the shared stream, ended by a sync flush."""
        self.crc = zlib.crc32(plain, self.crc)
        self.size += len(plain)
        if self._context is None:
            return self.apart(plain)
        return self._context.compress(plain) + self._context.flush(zlib.Z_SYNC_FLUSH)

    def apart(self, plain: bytes) -> bytes:
        """Return a piece that refers to nothing before it."""
        return gzip_piece(plain, self._level)

    def reset(self) -> None:
        """Let no later shared piece refer behind this point.

        The empty block that the full flush puts out says nothing, so nobody is sent it.
        """
        if self._context is not None:
            emitted = self._context.flush(zlib.Z_FULL_FLUSH)
            assert emitted in (b"", _EMPTY_BLOCK)

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context = None
            self._budget.give_back()


class GzipTrailer:
    """CRC and size of the plain bytes that one connection received (RFC 1952 section 2.3.1)."""

    __slots__ = ("_crc", "_joined_crc", "_joined_size", "_size")

    def __init__(self) -> None:
        self._crc = 0
        self._size = 0
        self._joined_crc = 0
        self._joined_size = 0

    def add(self, plain: bytes) -> None:
        """Count bytes that were written to this connection alone."""
        self._crc = zlib.crc32(plain, self._crc)
        self._size += len(plain)

    def join(self, coding: GzipCoding) -> None:
        """Start to receive what `coding` shares."""
        self._joined_crc = coding.crc
        self._joined_size = coding.size

    def leave(self, coding: GzipCoding) -> None:
        """Stop to receive what `coding` shares, and count what it shared since `join`."""
        length = coding.size - self._joined_size
        self._crc = shift_crc(self._crc ^ self._joined_crc, length) ^ coding.crc
        self._size += length

    def ending(self) -> bytes:
        """Return the last bytes of the stream: a final empty block, CRC-32 and size."""
        return (
            _FINAL_BLOCK
            + self._crc.to_bytes(4, "little")
            + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        )


def _identity(plain: bytes) -> bytes:
    return plain


IDENTITY: Final = PlainCoding(_identity)
ZSTD: Final = PlainCoding(zstd_piece)


def prologue(encoding: str) -> bytes:
    """Return what a stream in this coding begins with, before its first piece."""
    return {"gzip": GZIP_HEADER, "zstd": ZSTD_MAGIC}.get(encoding, b"")


def epilogue(encoding: str, trailer: GzipTrailer | None) -> bytes:
    """Return what a stream in this coding ends with, after its last piece.

    Args:
        encoding: `identity`, `gzip` or `zstd`.
        trailer: What a gzip stream has carried; None for other codings.
    """
    if trailer is not None:
        return trailer.ending()
    return _zstd_frame(b"")[len(ZSTD_MAGIC) :] if encoding == "zstd" else b""


def piece(encoding: str, plain: bytes, gzip_level: int) -> bytes:
    """Encode bytes for one connection at any place of its stream.

    Args:
        encoding: `identity`, `gzip` or `zstd`.
        plain: What the peer shall read.
        gzip_level: zlib level, 0 to 9.
    """
    match encoding:
        case "gzip":
            return gzip_piece(plain, gzip_level)
        case "zstd":
            return zstd_piece(plain)
        case _:
            return plain
