"""granian: an ASGI server whose HTTP side is written in Rust."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench.peers.installing import SERVERS, python, python_version
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import BACKLOG, HOST, place, running

_BACKPRESSURE: Final = 32768
"""Requests at the same time. By default as many as the backlog: then no more streams open."""


@contextmanager
def granian(core: int) -> Iterator[Peer]:
    """Run a plain ASGI application on one granian worker with uvloop."""
    interpreter = python()
    with place() as where:
        command = [
            *(interpreter, "-m", "granian", "granian_app:app", "--interface", "asgi"),
            *("--host", HOST, "--port", str(where.port)),
            *("--backlog", str(BACKLOG), "--backpressure", str(_BACKPRESSURE)),
            *("--workers", "1", "--runtime-mode", "st", "--loop", "uvloop", "--http", "1"),
            *("--no-ws", "--log-level", "warning"),
            *("--workers-kill-timeout", "1"),  # by default it waits for open streams
        ]
        with running(command, core, where, {"PYTHONPATH": str(SERVERS)}) as pids:
            yield Peer(
                "granian",
                python_version("granian"),
                HOST,
                where.port,
                stream_request(),
                f"unix:{where.feed_path}",
                line,
                pids,
            )
