"""better-sse on Node.js: the library for SSE with channels."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers.installing import SERVERS, node, node_runtime_version, node_version
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import HOST, place, running


@contextmanager
def better_sse(core: int) -> Iterator[Peer]:
    """Run better-sse, broadcasting to a channel, on the HTTP server of Node.js."""
    program, environment = node()
    with place() as where:
        command = [program, str(SERVERS / "better_sse.cjs")]
        with running(command, core, where, environment) as pids:
            yield Peer(
                "better-sse",
                f"{node_version('better-sse')} on Node.js {node_runtime_version()}",
                HOST,
                where.port,
                stream_request(),
                f"unix:{where.feed_path}",
                line,
                pids,
            )
