"""Socket options of client connections, and what the kernel knows about them (Linux).

Outside Linux the options that do not exist are left out, and `bytes_taken` is unknown.
"""

import fcntl
import socket
import struct
import sys
import termios
from typing import Final, NamedTuple, Protocol

SEND_BUFFER_BYTES: Final = 65_536
"""Bounds what the kernel hides of a slow peer: with its own sizing it swallowed 0.9 MB for each
stalled client before any back-pressure showed (design section 4). It doubles this."""

NOT_SENT_LOW_WATER_BYTES: Final = 16_384

USER_TIMEOUT_MS: Final = 60_000
"""A peer that acknowledges nothing for this long is dead (RFC 5482)."""

PROBE_IDLE_SECONDS: Final = 30
PROBE_INTERVAL_SECONDS: Final = 5
PROBE_COUNT: Final = 3
"""Keepalive probes find peers that died while nothing was sent (field notes D12)."""

_TCP_NOTSENT_LOWAT: Final = 25
_TCP_USER_TIMEOUT: Final = 18
_BYTES_ACKED: Final = struct.Struct("=Q")
_BYTES_ACKED_OFFSET: Final = 120
"""`tcpi_bytes_acked` in `struct tcp_info` (linux/tcp.h, since Linux 4.1)."""


class OptionSocket(Protocol):
    """What both `socket.socket` and the event loop's stand-in can do."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return the bytes of one option."""
        ...


class Progress(NamedTuple):
    """What a peer has taken of what the kernel was handed.

    Attributes:
        acknowledged_bytes: Since the connection began.
        waiting_bytes: Handed to the kernel, not acknowledged yet.
    """

    acknowledged_bytes: int
    waiting_bytes: int


def set_client_options(listener: socket.socket) -> None:
    """Set on a listener what its connections need: they begin as copies of it (tcp(7)).

    Eight calls once, and not for each connection of a storm.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        tcp = socket.IPPROTO_TCP
        listener.setsockopt(tcp, socket.TCP_KEEPIDLE, PROBE_IDLE_SECONDS)
        listener.setsockopt(tcp, socket.TCP_KEEPINTVL, PROBE_INTERVAL_SECONDS)
        listener.setsockopt(tcp, socket.TCP_KEEPCNT, PROBE_COUNT)
        listener.setsockopt(tcp, _TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        listener.setsockopt(tcp, _TCP_NOTSENT_LOWAT, NOT_SENT_LOW_WATER_BYTES)


def progress_of(sock: OptionSocket) -> Progress | None:
    """Return what the peer has taken so far; None where the kernel does not say."""
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        waiting = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return None
    if len(info) < _BYTES_ACKED_OFFSET + _BYTES_ACKED.size:
        return None
    (acknowledged,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_OFFSET)
    return Progress(acknowledged, int.from_bytes(waiting, sys.byteorder))
