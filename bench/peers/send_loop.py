"""A bare loop in C with one `send()` for each event and client: the limit of that way to write."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.installing import compiled
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import BACKLOG, HOST, place, running


@contextmanager
def send_loop(core: int) -> Iterator[Peer]:
    """Run the loop, compiled on first use."""
    program = compiled("send_loop.c")
    with place() as where:
        command = [program, HOST, str(where.port), where.feed_path, str(BACKLOG)]
        with running(command, core, where) as pids:
            yield Peer(
                "send-loop",
                "C",
                HOST,
                where.port,
                stream_request(),
                f"unix:{where.feed_path}",
                line,
                pids,
            )
