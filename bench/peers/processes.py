"""Starts a server pinned to a core, waits until it answers, and ends it with all its children."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from bench.machine import allow_descriptors, pinned
from bench.peers.peer import PeerFailedError, stream_request

HOST: Final = "127.0.0.1"

BACKLOG: Final = 4096
"""Pending connections at every peer: a storm of thousands must meet no retransmitted SYN."""

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02


class Place(NamedTuple):
    """Where one server lives: a folder of its own and a free port."""

    folder: Path
    port: int

    @property
    def feed_path(self) -> str:
        """The Unix socket that takes events."""
        return f"{self.folder}/feed.sock"


@contextmanager
def place() -> Iterator[Place]:
    """Make a folder and find a port for one server; the folder goes at the end."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        yield Place(Path(folder), port)


@contextmanager
def running(
    command: Sequence[str],
    core: int,
    where: Place,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[int, ...]]:
    """Run a server on one core for as long as the block lasts.

    It is told the port and the feed's path by `PEER_PORT` and `PEER_FEED`, too.

    Yields:
        The IDs of all its processes, once it answers.

    Raises:
        PeerFailedError: It ended or did not answer in `START_SECONDS`.
    """
    allow_descriptors()
    log = where.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*pinned(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PEER_HOST": HOST,
                "PEER_PORT": str(where.port),
                "PEER_FEED": where.feed_path,
                "PEER_BACKLOG": str(BACKLOG),
                **(environment or {}),
            },
            start_new_session=True,  # so that its children can be ended with it
        )
    try:
        _wait_for_answer(process, where, log)
        yield process.pid, *_descendants(process.pid)
    finally:
        _end(process)


def _wait_for_answer(process: "subprocess.Popen[bytes]", where: Place, log: Path) -> None:
    """Return once the server has opened a stream for us."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((HOST, where.port), timeout=1) as stream:
            stream.sendall(stream_request())
            if stream.recv(64).startswith(b"HTTP/1.1 200 "):
                return
        time.sleep(_POLL_SECONDS)
    said = log.read_text(encoding="utf-8", errors="replace")
    raise PeerFailedError(f"no answer on port {where.port}; it said:\n{said}")


def _descendants(pid: int) -> Iterator[int]:
    """Yield the IDs of all processes below one."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text(encoding="ascii").split()):
            yield child
            yield from _descendants(child)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and whatever is left of its children."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
