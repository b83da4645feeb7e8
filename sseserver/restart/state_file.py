"""The state file on disk: whole or not there, whatever happens while it is written.

    16 bytes  what it is
     1 byte   `R` while a server runs on it, `D` once a drain wrote it
    ...       records in one zstd stream, each behind its length in 4 bytes
    32 bytes  SHA-256 of that stream

It is written aside, synced, and renamed over the older one. The one byte is the only thing that
is ever changed in place: a server that starts on a file which a drain wrote says with it that
facts may be acknowledged from now on that are not in the file. That needs no space on the disk,
so that a full one cannot make a crash look like a drain.

Source: contract section 7; design, "State files".
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from sseserver.errors import StartError, StateFileError

MAX_RECORD_BYTES: Final = 1 << 30
MAX_PLAIN_BYTES: Final = 1 << 32
"""What a file may unpack to; past it, it is a bomb."""

_MAGIC: Final = b"sseserver state\n"
_RUNNING: Final = b"R"
_DRAINED: Final = b"D"
_HEAD_BYTES: Final = len(_MAGIC) + 1
_DIGEST_BYTES: Final = 32
_READ_BYTES: Final = 1 << 20
_LENGTH_BYTES: Final = 4
_ZSTD_LEVEL: Final = 1


class Saved(NamedTuple):
    """A file that was read.

    `is_drained` says that it holds everything that was ever acknowledged.
    """

    records: list[bytes]
    is_drained: bool


class StateFileWriter:
    """Writes a state file; until `commit` nothing is seen of it.

    Args:
        path: Where it shall be.

    Raises:
        OSError: It cannot be written; from every method. `abandon` then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = _aside(path)
        self._aside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._aside, flags, 0o600), "wb")
        self._packer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        self._digest = hashlib.sha256()
        self._file.write(_MAGIC + _RUNNING)

    def write(self, records: list[bytes]) -> None:
        """Add records."""
        framed = (part for one in records for part in (len(one).to_bytes(_LENGTH_BYTES), one))
        self._add(self._packer.compress(b"".join(framed)))

    def commit(self, *, is_drained: bool) -> None:
        """Put the file where it shall be."""
        self._add(self._packer.flush())
        self._file.write(self._digest.digest())
        if is_drained:
            self._file.seek(len(_MAGIC))
            self._file.write(_DRAINED)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._aside.replace(self._path)
        _sync_folder(self._path.parent)

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # what could not be written cannot be flushed either
            self._file.close()
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)

    def _add(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let no other server use a state file inside the block.

    Two of them would overwrite each other's: what one has acknowledged would be missing in a
    file that says that nothing is. The system gives the lock back when the process ends,
    however it does.

    Raises:
        StartError: Another server uses it, or nothing can be written there.
    """
    side = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartError(f"cannot write {side}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        words = "another server uses it; stop it, or use another state.path"
        raise StartError(f"cannot use {path}: {words}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def read(path: Path) -> Saved | None:
    """Return what the last server left, None where there is nothing.

    Raises:
        StateFileError: It is damaged, a bomb, or something else.
        StartError: It cannot be read, whatever it holds.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StartError(f"cannot use {path}: it is no regular file")
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror or error}") from error
    is_whole = len(data) >= _HEAD_BYTES + _DIGEST_BYTES and data.startswith(_MAGIC)
    if not is_whole or data[len(_MAGIC) : _HEAD_BYTES] not in (_RUNNING, _DRAINED):
        raise StateFileError("it is not a state file")
    packed = memoryview(data)[_HEAD_BYTES:-_DIGEST_BYTES]
    if hashlib.sha256(packed).digest() != data[-_DIGEST_BYTES:]:
        raise StateFileError("its checksum does not match")
    return Saved(list(_records(packed)), data[len(_MAGIC) : _HEAD_BYTES] == _DRAINED)


def mark_running(path: Path) -> None:
    """Say in a file, where there is one, that what is acknowledged from now on is not in it.

    Raises:
        StartError: It cannot be written to, so nothing could be saved either.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, _RUNNING, len(_MAGIC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StartError(f"cannot write to {path}: {error.strerror or error}") from error


def set_aside(path: Path) -> Path:
    """Move a file that cannot be used out of the way, over an older such file.

    Raises:
        StartError: It stays where it is.
    """
    damaged = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(damaged)
    except OSError as error:
        raise StartError(f"cannot set {path} aside: {error.strerror or error}") from error
    return damaged


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _records(packed: memoryview) -> Iterator[bytes]:
    size = 0
    pending = bytearray()
    try:
        for plain in zstandard.ZstdDecompressor().read_to_iter(packed, write_size=_READ_BYTES):
            size += len(plain)
            if size > MAX_PLAIN_BYTES:
                raise StateFileError(f"it unpacks to more than {MAX_PLAIN_BYTES} bytes")
            pending += plain
            yield from _take_whole(pending)
    except zstandard.ZstdError as error:
        raise StateFileError(f"it cannot be unpacked: {error}") from error
    if pending:
        raise StateFileError("its last record is cut off")


def _take_whole(pending: bytearray) -> Iterator[bytes]:
    start = 0
    while len(pending) - start >= _LENGTH_BYTES:
        length = int.from_bytes(pending[start : start + _LENGTH_BYTES])
        if length > MAX_RECORD_BYTES:
            raise StateFileError("a record is too long")
        end = start + _LENGTH_BYTES + length
        if len(pending) < end:
            break
        yield bytes(pending[start + _LENGTH_BYTES : end])
        start = end
    del pending[:start]
