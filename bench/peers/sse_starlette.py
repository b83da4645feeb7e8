"""sse-starlette on uvicorn: the usual way to SSE with Starlette and FastAPI."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.installing import SERVERS, python, python_version
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import BACKLOG, HOST, place, running


@contextmanager
def sse_starlette(core: int) -> Iterator[Peer]:
    """Run sse-starlette on one uvicorn worker with uvloop and httptools."""
    interpreter = python()
    with place() as where:
        command = [
            *(interpreter, "-m", "uvicorn", "sse_starlette_app:app"),
            *("--host", HOST, "--port", str(where.port), "--backlog", str(BACKLOG)),
            *("--loop", "uvloop", "--http", "httptools", "--lifespan", "on"),
            *("--no-access-log", "--log-level", "warning"),
            *("--timeout-graceful-shutdown", "1"),  # by default it waits for open streams
        ]
        with running(command, core, where, {"PYTHONPATH": str(SERVERS)}) as pids:
            yield Peer(
                "sse-starlette",
                f"{python_version('sse-starlette')} on uvicorn {python_version('uvicorn')}",
                HOST,
                where.port,
                stream_request(),
                f"unix:{where.feed_path}",
                line,
                pids,
            )
