"""aiohttp-sse on the server of aiohttp."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.installing import SERVERS, python, python_version
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import HOST, place, running


@contextmanager
def aiohttp_sse(core: int) -> Iterator[Peer]:
    """Run aiohttp-sse on uvloop."""
    interpreter = python()
    with place() as where:
        command = [interpreter, str(SERVERS / "aiohttp_sse_app.py")]
        with running(command, core, where) as pids:
            yield Peer(
                "aiohttp-sse",
                f"{python_version('aiohttp-sse')} on aiohttp {python_version('aiohttp')}",
                HOST,
                where.port,
                stream_request(),
                f"unix:{where.feed_path}",
                line,
                pids,
            )
