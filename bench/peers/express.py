"""Express on Node.js, without and with its compression middleware."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from bench.peers.installing import SERVERS, node, node_runtime_version, node_version
from bench.peers.peer import Peer, line, stream_request
from bench.peers.processes import HOST, place, running


@contextmanager
def express(core: int) -> Iterator[Peer]:
    """Run Express, which writes each event to each response."""
    version = f"{node_version('express')} on Node.js {node_runtime_version()}"
    with _express("express", version, core, "identity") as peer:
        yield peer


@contextmanager
def express_gzip(core: int) -> Iterator[Peer]:
    """Run Express with `compression`: `res.flush()` after each write, as its manual says."""
    version = (
        f"{node_version('express')} with compression {node_version('compression')}"
        f" on Node.js {node_runtime_version()}"
    )
    with _express("express-gzip", version, core, "gzip") as peer:
        yield peer


@contextmanager
def _express(
    name: str, version: str, core: int, coding: Literal["identity", "gzip"]
) -> Iterator[Peer]:
    program, environment = node()
    with place() as where:
        command = [program, str(SERVERS / "express.cjs"), coding]
        with running(command, core, where, environment) as pids:
            yield Peer(
                name,
                version,
                HOST,
                where.port,
                stream_request(coding),
                f"unix:{where.feed_path}",
                line,
                pids,
                coding,
            )
