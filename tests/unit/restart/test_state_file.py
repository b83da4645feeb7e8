"""Tests of `sseserver.restart.state_file`."""

import errno
import hashlib
import os
import resource
import stat
from pathlib import Path

import pytest
import zstandard

from sseserver.errors import StartError, StateFileError
from sseserver.restart import state_file
from sseserver.restart.state_file import (
    StateFileWriter,
    locked,
    mark_running,
    read,
    set_aside,
)

RECORDS = [b"first", b"", b"x" * 3_000_000, b"last"]
HEAD_BYTES = 17


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file shall be."""
    return tmp_path / "state"


def write(path: Path, records: list[bytes], *, is_drained: bool = False) -> bytes:
    """Write a file, each record at a time, and return its bytes."""
    writer = StateFileWriter(path)
    for record in records:
        writer.write([record])
    writer.commit(is_drained=is_drained)
    return path.read_bytes()


def with_stream(stream: bytes) -> bytes:
    """Return a whole file around any bytes in place of the zstd stream."""
    return b"sseserver state\nR" + stream + hashlib.sha256(stream).digest()


@pytest.mark.parametrize("is_drained", [True, False])
def test_what_is_written_is_read(path: Path, *, is_drained: bool) -> None:
    """Records of any size, and whether a drain wrote them."""
    write(path, RECORDS, is_drained=is_drained)

    assert (RECORDS, is_drained) == read(path)


def test_nothing_is_there_before_the_first_save(path: Path) -> None:
    """A first start is no error."""
    assert read(path) is None


def test_only_its_owner_reads_it_from_its_birth_on(path: Path) -> None:
    """Whatever the umask, before it is renamed too."""
    before = os.umask(0)
    try:
        writer = StateFileWriter(path)
        [aside] = path.parent.iterdir()
        modes = [stat.S_IMODE(aside.stat().st_mode)]
        writer.commit(is_drained=False)
        modes.append(stat.S_IMODE(path.stat().st_mode))
    finally:
        os.umask(before)

    assert [0o600, 0o600] == modes


def test_until_it_is_whole_the_older_one_stands(path: Path) -> None:
    """And what a killed server left aside is in nobody's way."""
    write(path, [b"older"])
    path.with_name("state.new").write_bytes(b"sseserver st")
    older = read(path)
    write(path, [b"newest"])

    assert older is not None
    assert [b"older"] == older.records
    assert [path] == list(path.parent.iterdir())


def test_an_abandoned_one_leaves_nothing(path: Path) -> None:
    """Neither in its place nor aside."""
    writer = StateFileWriter(path)
    writer.write(RECORDS)
    writer.abandon()

    assert [] == list(path.parent.iterdir())


def test_nobody_is_led_elsewhere_by_a_link(path: Path, tmp_path: Path) -> None:
    """What lies aside is replaced, not followed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path.with_name("state.new").symlink_to(victim)
    write(path, RECORDS)

    assert b"precious" == victim.read_bytes()


def test_a_full_disk_is_told_and_leaves_the_older_one(path: Path) -> None:
    """With the error of the system; a limit of file sizes is a disk without space."""
    write(path, [b"older"])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = StateFileWriter(path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(OSError) as error:  # noqa: PT011 - its number is looked at
            writer.write([os.urandom(1_000_000)])
        writer.abandon()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    older = read(path)

    assert errno.EFBIG == error.value.errno
    assert older is not None
    assert [b"older"] == older.records
    assert [path] == list(path.parent.iterdir())


def test_a_server_that_runs_on_it_says_so_in_place(path: Path) -> None:
    """What is acknowledged from now on is not in it."""
    write(path, RECORDS, is_drained=True)
    mark_running(path)

    assert (RECORDS, False) == read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"sseserver state\n",
        b"{}",
        b"\0" * 4096,
        with_stream(zstandard.compress(b"\0\0\0\1a")).replace(b"\nR", b"\nX"),
        with_stream(b"not zstd"),
        with_stream(zstandard.compress(b"\0\0\0\5four")),
        with_stream(zstandard.compress(b"\0\0")),
        with_stream(zstandard.compress(b"\xff\xff\xff\xff")),
    ],
)
def test_what_is_none_is_refused(path: Path, content: bytes) -> None:
    """Empty, foreign, of an unknown kind, not packed, cut off in a record."""
    path.write_bytes(content)
    with pytest.raises(StateFileError):
        read(path)


def test_every_changed_byte_is_noticed(path: Path) -> None:
    """One bit of any byte, but the one that says how it was written."""
    whole = write(path, [b"some", b"records"])
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(StateFileError):
            read(path)


def test_every_cut_is_noticed(path: Path) -> None:
    """A file system that lost its end, wherever."""
    whole = write(path, [b"some", b"records"])
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateFileError):
            read(path)


def test_a_bomb_is_refused_before_it_fills_the_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small file may unpack to no more than a large one."""
    monkeypatch.setattr(state_file, "MAX_PLAIN_BYTES", 4_000_000)
    record = b"\0" * 1_000_000
    frame = len(record).to_bytes(4) + record
    path.write_bytes(with_stream(zstandard.compress(frame * 3)))
    small = read(path)
    path.write_bytes(with_stream(zstandard.compress(frame * 5)))
    with pytest.raises(StateFileError, match="unpacks to more"):
        read(path)

    assert small is not None
    assert 3 == len(small.records)


def test_a_damaged_one_is_set_aside(path: Path) -> None:
    """Over an older one, so that they do not fill the disk."""
    path.write_bytes(b"first")
    set_aside(path)
    path.write_bytes(b"second")
    aside = set_aside(path)

    assert (path.with_name("state.damaged"), b"second") == (aside, aside.read_bytes())
    assert not path.exists()


def test_what_cannot_be_opened_ends_the_start(path: Path) -> None:
    """Nothing may be overwritten that could not be read."""
    path.mkdir()
    for use in (read, mark_running):
        with pytest.raises(StartError, match=str(path)):
            use(path)


def test_what_cannot_be_set_aside_ends_the_start(path: Path) -> None:
    """One clear line."""
    path.write_bytes(b"damaged")
    path.with_name("state.damaged").mkdir()
    with pytest.raises(StartError, match="cannot set"):
        set_aside(path)


def test_two_servers_never_use_one_file(path: Path) -> None:
    """The second is told in one line; when the first has gone, the file is free."""
    with locked(path), pytest.raises(StartError, match="another server uses it"), locked(path):
        pass
    with locked(path):
        pass


def test_what_is_no_regular_file_ends_the_start(path: Path) -> None:
    """A pipe would be read for ever."""
    os.mkfifo(path)
    with pytest.raises(StartError, match="no regular file"):
        read(path)
