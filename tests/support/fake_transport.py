"""A transport without a socket: bytes in, bytes out, and what the peer takes is up to the test."""

import asyncio
from typing import Any


class FakeTransport(asyncio.Transport):
    """What a protocol needs of a transport, with asyncio's flow control.

    Attributes:
        sent: What the peer has taken.
        is_open: Neither closed nor aborted.
        is_aborted: Cut off: what was not taken is lost.
        has_eof: Our side is closed.
        is_reading: Bytes from the peer may be delivered.
        takes_all: Whether the peer takes bytes as they are written.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        peer: tuple[str, int] | None = ("127.0.0.1", 50_000),
        *,
        sock: object = None,
        is_tls: bool = False,
    ) -> None:
        super().__init__({"peername": peer, "socket": sock})
        self._protocol = protocol
        self._is_tls = is_tls
        self._unsent = bytearray()
        self._high, self._low = 65_536, 16_384
        self._is_writing_paused = False
        self.sent = bytearray()
        self.is_open = True
        self.is_aborted = False
        self.has_eof = False
        self.is_reading_now = True
        self.takes_all = True
        protocol.connection_made(self)

    # ---- what the test does ----

    def receive(self, data: bytes) -> None:
        """Deliver bytes of the peer."""
        assert self.is_reading_now, "nothing is delivered while reading is paused"
        if self.is_open:
            self._protocol.data_received(data)

    def receive_eof(self) -> None:
        """Deliver the end of what the peer sends."""
        assert self.is_reading_now, "nothing is delivered while reading is paused"
        if not self._protocol.eof_received():
            self.close()

    def take(self, size: int | None = None) -> bytes:
        """Let the peer take what waits, or the first bytes of it; return all it has now."""
        taken = self._unsent[:size]
        del self._unsent[: len(taken)]
        self.sent += taken
        if self._is_writing_paused and len(self._unsent) <= self._low:
            self._is_writing_paused = False
            self._protocol.resume_writing()
        return bytes(self.sent)

    def lose(self, error: Exception | None = None) -> None:
        """Tell the protocol that the connection is gone."""
        self.is_open = False
        self._protocol.connection_lost(error)

    def take_sent(self) -> bytes:
        """Return what the peer has taken since the last call."""
        sent = bytes(self.sent)
        self.sent.clear()
        return sent

    # ---- what the protocol does ----

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True

    def is_reading(self) -> bool:
        return self.is_reading_now

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        assert low is not None
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: Any) -> None:
        assert not self.has_eof, "nothing is written after the end"
        self._unsent += data
        if self.takes_all:
            self.sent += self._unsent
            self._unsent.clear()
        elif len(self._unsent) > self._high and not self._is_writing_paused:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        assert not self.has_eof, "our side is closed once"
        self.has_eof = True

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open = False
        self.is_aborted = True
        self._unsent.clear()
