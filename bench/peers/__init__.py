"""The servers that sseserver is measured beside, each set up in its usual best way on one core.

Every peer broadcasts each event of its feed to every open stream. What may differ between them
is what their users would choose: framework, settings, and how a frame is made. What is here:

    peer.py          what a bench is told about a running peer
    processes.py     starts a server pinned to a core, waits until it answers, ends it
    installing.py    the peers' own virtual environment and node_modules, from their locks
    nchan.py …       one module for each peer
    servers/         the programs themselves; they import nothing of this tree
    checking.py      proves a peer: every event reaches every client

A bench takes what it needs by name and skips what is not there:

    with PEERS["nchan"](core) as peer:
        ...
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Final

from bench.peers.aiohttp_sse import aiohttp_sse
from bench.peers.better_sse import better_sse
from bench.peers.express import express, express_gzip
from bench.peers.granian import granian
from bench.peers.nchan import nchan
from bench.peers.peer import Peer, PeerFailedError, PeerMissingError
from bench.peers.send_loop import send_loop
from bench.peers.sse_starlette import sse_starlette

__all__ = ["PEERS", "Peer", "PeerFailedError", "PeerMissingError"]

PEERS: Final[Mapping[str, Callable[[int], AbstractContextManager[Peer]]]] = {
    "nchan": nchan,
    "better-sse": better_sse,
    "express": express,
    "express-gzip": express_gzip,
    "sse-starlette": sse_starlette,
    "aiohttp-sse": aiohttp_sse,
    "granian": granian,
    "send-loop": send_loop,
}
