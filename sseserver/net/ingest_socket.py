"""The Unix socket of the ingest port: bound, and taken away again, without harm to others.

A socket file outlives a server that was killed, and carries no sign of whether somebody still
listens. So a path is probed before it is taken, and given up only while it is still ours:
another server may have been started on it meanwhile.

Source: contract section 1.
"""

import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final, Protocol, cast

from sseserver.config import IngestConfig
from sseserver.errors import StartError

_PROBE_SECONDS: Final = 1.0
_BACKLOG: Final = 128
_CREDENTIALS: Final = struct.Struct("=iii")
"""`struct ucred`: process, user, group (unix(7), SO_PEERCRED)."""


class CredentialSocket(Protocol):
    """What both `socket.socket` and the event loop's stand-in can do."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return a socket option as bytes."""
        ...


class IngestSocket:
    """A listening Unix socket and the file it stands under.

    A stale socket file is replaced; a live one, and any other kind of file, is left alone.

    Args:
        config: Path and mode.

    Attributes:
        listener: Accepts feeds, once the event loop takes it.

    Raises:
        StartError: The path cannot be used; nothing is left behind.
    """

    def __init__(self, config: IngestConfig) -> None:
        self._path = Path(config.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale_socket(self._path)
            self._bind(int(config.mode, 8))
        except (OSError, ValueError) as error:
            self.listener.close()
            raise StartError(f"cannot listen on {self._path}: {error}") from error
        except StartError:
            self.listener.close()
            raise
        self.listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
        self._identity = _identity(self._path)

    def remove(self) -> None:
        """Remove the file, unless another one stands in its place; only the first call counts.

        To be called before `listener` is closed: until then no other file can have its inode.
        """
        identity, self._identity = self._identity, None
        if identity is not None and identity == _identity(self._path):
            self._path.unlink(missing_ok=True)

    def _bind(self, mode: int) -> None:
        mask = os.umask(0o777 & ~mode)
        try:
            self.listener.bind(str(self._path))
        finally:
            os.umask(mask)
        self.listener.listen(_BACKLOG)


def peer_uid(sock: CredentialSocket | None) -> int | None:
    """Return the user ID of the process at the other end; None where nobody says."""
    if sock is None or not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return cast("int", _CREDENTIALS.unpack(credentials)[1])


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells one file from another, None where there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot listen on {path}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise
        else:
            words = "another server answers there; stop it, or use another --ingest"
            raise StartError(f"cannot listen on {path}: {words}")
    path.unlink(missing_ok=True)
