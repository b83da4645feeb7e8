"""A connection of an audience whose peer decodes every write at once, as a browser does."""

import zlib
from collections.abc import Callable
from typing import Any

from sseserver.wire.compression import GzipTrailer, epilogue, piece, prologue
from sseserver.wire.sse_frame import LAST_CHUNK, chunk
from tests.support.stream_client import Dechunker, ZstdFrames

LEVEL = 6


class FakeMember:
    """Decodes what it is sent, write by write (`sseserver.delivery.audience.Member`).

    Attributes:
        writes: The bytes objects that were written, without the coding's prologue.
        plain: What each of them said to the peer before the next one came.
    """

    write: Callable[[bytes], None]

    def __init__(self, encoding: str = "identity", *, is_chunked: bool = False) -> None:
        self.encoding = encoding
        self.is_chunked = is_chunked
        self.trailer = GzipTrailer() if encoding == "gzip" else None
        self.write = self._take
        self.writes: list[bytes] = []
        self.plain: list[bytes] = []
        self._dechunker = Dechunker()
        self._decoder: Any = None
        if encoding == "zstd":
            self._decoder = ZstdFrames()
        if encoding == "gzip":
            self._decoder = zlib.decompressobj(31)
        if encoding != "identity":
            self._decode(self._framed(prologue(encoding)))

    def write_apart(self, plain: bytes) -> None:
        """Take bytes that are written to this connection alone."""
        if self.trailer is not None:
            self.trailer.add(plain)
        self.write(self._framed(piece(self.encoding, plain, LEVEL)))

    def end(self) -> None:
        """Take the end of the stream, after the member has left its audience."""
        ending = epilogue(self.encoding, self.trailer)
        if ending:
            self._decode(self._framed(ending))
        if self.is_chunked:
            self._decode(LAST_CHUNK)

    @property
    def is_ended_properly(self) -> bool:
        """Whether the last chunk has arrived, and a trailer that fits all that was decoded."""
        has_ended_chunks = self._dechunker.is_ended or not self.is_chunked
        has_ended_coding = self._decoder is None or self._decoder.eof
        return bool(has_ended_chunks and has_ended_coding)

    def _take(self, data: bytes) -> None:
        self.writes.append(data)
        self.plain.append(self._decode(data))

    def _decode(self, data: bytes) -> bytes:
        if self.is_chunked:
            data = self._dechunker.feed(data)
        return data if self._decoder is None else bytes(self._decoder.decompress(data))

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self.is_chunked else data
