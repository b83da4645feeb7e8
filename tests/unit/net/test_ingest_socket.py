"""Tests of `sseserver.net.ingest_socket`."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sseserver.config import IngestConfig
from sseserver.errors import StartError
from sseserver.net.ingest_socket import IngestSocket, peer_uid


@contextmanager
def bound(path: Path, mode: str = "0660") -> Iterator[IngestSocket]:
    """Bind a path for a while."""
    ingest_socket = IngestSocket(IngestConfig(path=str(path), mode=mode))
    with closing(ingest_socket.listener):
        yield ingest_socket


def refusal(path: Path) -> str:
    """Return why a path cannot be bound, its name left out."""
    with pytest.raises(StartError) as refused:
        IngestSocket(IngestConfig(path=str(path)))
    text = str(refused.value)
    assert text.startswith(f"cannot listen on {path}: ")
    return text.removeprefix(f"cannot listen on {path}: ")


def leave_stale(path: Path) -> None:
    """Leave the socket file of a server that was killed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize("mode", ["0660", "600", "0777"])
def test_the_socket_has_the_configured_mode(tmp_path: Path, mode: str) -> None:
    """The file has its mode from the start, whatever the process's umask, which stays."""
    before = os.umask(0o077)
    try:
        with bound(tmp_path / "s", mode):
            found = stat.S_IMODE((tmp_path / "s").stat().st_mode)
        during = os.umask(before)
    finally:
        os.umask(before)

    assert (found, during) == (int(mode, 8), 0o077)


def test_the_socket_accepts_without_blocking(tmp_path: Path) -> None:
    """A feed can connect before the event loop takes the listener, which never blocks."""
    with bound(tmp_path / "s") as ingest_socket, socket.socket(socket.AF_UNIX) as feed:
        blocking = ingest_socket.listener.getblocking()
        feed.connect(str(tmp_path / "s"))
        peer, _ = ingest_socket.listener.accept()
        with peer:
            uid = peer_uid(peer)

    assert (blocking, uid) == (False, os.getuid())


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """Where nobody answers the file is taken over."""
    leave_stale(tmp_path / "s")
    with bound(tmp_path / "s"), socket.socket(socket.AF_UNIX) as feed:
        assert feed.connect_ex(str(tmp_path / "s")) == 0


def test_a_live_socket_is_left_alone(tmp_path: Path) -> None:
    """Where somebody answers the start is refused, and the other server goes on."""
    with bound(tmp_path / "s"), socket.socket(socket.AF_UNIX) as feed:
        words = refusal(tmp_path / "s")

        assert words == "another server answers there; stop it, or use another --ingest"
        assert feed.connect_ex(str(tmp_path / "s")) == 0


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_anything_but_a_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    """A regular file, a folder and a symbolic link are in the way, and stay."""
    path = tmp_path / "s"
    leave_stale(tmp_path / "other")
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "other")
    before = path.lstat()

    assert refusal(path) == "a file that is no socket is in the way"
    assert path.lstat() == before


def test_a_socket_that_cannot_be_probed_is_left_alone(tmp_path: Path) -> None:
    """A live server whose queue of connections is full does not lose its path."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        words = refusal(path)

    assert words.endswith("Resource temporarily unavailable")
    assert path.exists()


@pytest.mark.parametrize("name", ["missing/s", "a\0b"])
def test_a_path_that_cannot_exist_is_one_clear_line(tmp_path: Path, name: str) -> None:
    """Trouble with the path is told in one line, not as a traceback."""
    words = refusal(tmp_path / name)

    assert words
    assert "\n" not in words


def test_the_file_is_removed_at_the_end(tmp_path: Path) -> None:
    """What was bound is taken away; twice is once."""
    with bound(tmp_path / "s") as ingest_socket:
        ingest_socket.remove()
        ingest_socket.remove()

    assert list(tmp_path.iterdir()) == []


def test_a_file_is_removed_once(tmp_path: Path) -> None:
    """A later file is never taken for ours, even where it was given the same inode number."""
    path = tmp_path / "s"
    with bound(path) as ingest_socket:
        ingest_socket.remove()
    with bound(path), socket.socket(socket.AF_UNIX) as feed:
        ingest_socket.remove()

        assert feed.connect_ex(str(path)) == 0


@pytest.mark.parametrize("kind", ["socket", "file"])
def test_the_file_of_somebody_else_is_not_removed(tmp_path: Path, kind: str) -> None:
    """What stands under the path by then stays, if it is not what was bound."""
    path = tmp_path / "s"
    with bound(path) as ingest_socket:
        path.unlink()
        if kind == "socket":
            with bound(path), socket.socket(socket.AF_UNIX) as feed:
                ingest_socket.remove()
                answers = feed.connect_ex(str(path)) == 0
        else:
            path.write_text("precious")
            ingest_socket.remove()
            answers = path.read_text() == "precious"

    assert answers


def test_nobody_says_who_the_peer_is() -> None:
    """Without a socket the user is not known."""
    assert peer_uid(None) is None
