"""What a lost connection has sent and nobody has read: it stays in the socket.

The event loop closes a connection that breaks, together with the bytes in it. A second
descriptor of the same socket, made while it was well, still gets at them.
"""

import socket
from typing import Final

MAX_UNREAD_BYTES: Final = 1 << 20
"""Where reading stops; a Unix socket holds 208 KiB by default."""

_PIECE_BYTES: Final = 65_536


def second_descriptor(sock: socket.socket | None) -> socket.socket | None:
    """Return a second descriptor of a connection; None where there is none to spare."""
    if sock is None:
        return None
    try:
        return socket.fromfd(sock.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError:
        return None


def take_unread(spare: socket.socket) -> bytes:
    """Return what lies in a connection's socket, without waiting for more, and close it."""
    pieces = []
    size = 0
    with spare:
        spare.setblocking(False)  # noqa: FBT003 - the socket module's signature
        try:
            while size < MAX_UNREAD_BYTES and (piece := spare.recv(_PIECE_BYTES)):
                pieces.append(piece)
                size += len(piece)
        except OSError:
            pass
    return b"".join(pieces)
