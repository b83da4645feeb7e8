"""Claim: an idle connection costs 4 KiB, in a shared gzip stream 5 KiB, in one of its own 40 KiB.

Resident memory of the server before and after 10,000 connections of one kind are opened, by
their number; what the kernel holds for them is not in it. Before, a hundred of that kind were
opened, so that what is made once was made, and both times memory had come to rest. Sessions
were there before: they are the user's, connected or not. The collector of cyclic garbage has no
say in this, as opening a connection leaves none.

    python -m bench.memory [--runs 5] [--connections 10000] [SERVER ...]
"""

import argparse
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final, NamedTuple

import msgspec

from bench.broadcast import price
from bench.machine import LOAD_CORE, allow_descriptors, describe, pin
from bench.measured import Processes
from bench.servers import names_among, running
from bench.sseserver import HOST, PRICES, measured_server, price_message, stream_request
from bench.traders import ORDERS, session, tell
from sseserver import __version__

CONNECTIONS: Final = 10_000
DEFAULT_SERVERS: Final = ("sseserver", "nchan", "better-sse")

_SYMBOLS: Final = 100
"""Prices in the snapshot of a connection."""

_WARM_UP_CONNECTIONS: Final = 100
_TIMEOUT_SECONDS: Final = 30.0
_RECEIVED_BYTES: Final = 65_536
_REST_SECONDS: Final = 0.5
_MAX_REST_SECONDS: Final = 20.0
_NO_LINGERING: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: ten thousand connections that are closed leave no TIME_WAIT."""


class Kind(NamedTuple):
    """A kind of connection to sseserver.

    Attributes:
        name: What it is called in the table.
        path: The stream.
        coding: Its content coding.
        is_private: Each connection is another user's.
        target_kib: What one may cost.
        max_contexts: Limit of gzip contexts in the server.
    """

    name: str
    path: str
    coding: str
    is_private: bool
    target_kib: float
    max_contexts: int = 1_000_000


KINDS: Final = (
    Kind("plain", PRICES, "identity", is_private=False, target_kib=4),
    Kind("shared gzip", PRICES, "gzip", is_private=False, target_kib=5),
    Kind("zstd", PRICES, "zstd", is_private=False, target_kib=5),
    Kind("private plain", ORDERS, "identity", is_private=True, target_kib=4),
    Kind("private gzip", ORDERS, "gzip", is_private=True, target_kib=40),
    Kind("private gzip, no context", ORDERS, "gzip", is_private=True, target_kib=5, max_contexts=0),
)
"""By default only 4096 private gzip streams have a context; here all of them, or none."""


class Memory(msgspec.Struct, frozen=True):
    """What one idle connection costs: medians over the runs."""

    server: str
    version: str
    kind: str
    connections: int
    kib_each: float
    target_kib: float | None = None


def measure_kind(kind: Kind, *, connections: int = CONNECTIONS, runs: int = 5) -> Memory:
    """Measure one kind of connection to sseserver, in each run on a server of its own.

    Args:
        kind: Which kind.
        connections: How many.
        runs: How often.
    """
    users = [f"user-{number}" for number in range(_WARM_UP_CONNECTIONS + connections)]
    names = [user if kind.is_private else None for user in users]
    requests = [stream_request(kind.path, coding=kind.coding, session=name) for name in names]

    def run() -> float:
        with measured_server({"compression.max_contexts": kind.max_contexts}) as server:
            tell(server.ingest_path, [price_message(price(n)) for n in range(_SYMBOLS)])
            tell(server.ingest_path, [session(user) for user in users])
            return kib_each(server.processes, HOST, server.port, requests)

    return Memory(
        "sseserver",
        __version__,
        kind.name,
        connections,
        median(run() for _ in range(runs)),
        kind.target_kib,
    )


def measure_peer(name: str, *, connections: int = CONNECTIONS, runs: int = 5) -> Memory | None:
    """Measure the connections of a peer; None when it is not here.

    Args:
        name: Which peer.
        connections: How many.
        runs: How often, each time on a process of its own.
    """
    results: list[float] = []
    version = kind = ""
    for _ in range(runs):
        with running(name) as peer:
            if peer is None:
                return None
            version, kind = peer.version, peer.coding
            requests = [peer.request] * (_WARM_UP_CONNECTIONS + connections)
            results.append(kib_each(Processes(peer.pids), peer.host, peer.port, requests))
    return Memory(name, version, kind, connections, median(results))


def kib_each(processes: Processes, host: str, port: int, requests: Sequence[bytes]) -> float:
    """Open a connection for each request and return KiB of resident memory for each.

    Args:
        processes: Of the server.
        host: Its address.
        port: Its port.
        requests: The first hundred are not counted.
    """
    with ExitStack() as stack:
        for request in requests[:_WARM_UP_CONNECTIONS]:
            stack.enter_context(_opened(host, port, request))
        before = _kib_at_rest(processes)
        for request in requests[_WARM_UP_CONNECTIONS:]:
            stack.enter_context(_opened(host, port, request))
        after = _kib_at_rest(processes)
    return (after - before) / (len(requests) - _WARM_UP_CONNECTIONS)


def _opened(host: str, port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
    connection.sendall(request)
    said = connection.recv(_RECEIVED_BYTES)
    if not said.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"a connection was answered {said[:100]!r}")
    return connection


def _kib_at_rest(processes: Processes) -> float:
    """Return resident memory once it does not change any more."""
    deadline = time.monotonic() + _MAX_REST_SECONDS
    before, now = -1.0, processes.resident_kib()
    while now != before and time.monotonic() < deadline:
        time.sleep(_REST_SECONDS)
        before, now = now, processes.resident_kib()
    return now


def _results(servers: Sequence[str], connections: int, runs: int) -> Iterator[Memory]:
    for name in servers:
        if name != "sseserver":
            found = measure_peer(name, connections=connections, runs=runs)
            if found is not None:
                yield found
            continue
        for kind in KINDS:
            yield measure_kind(kind, connections=connections, runs=runs)


def main() -> None:
    """Measure every kind, then the peers that are named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers", nargs="*", metavar="SERVER", default=DEFAULT_SERVERS)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    allow_descriptors()
    pin(LOAD_CORE)
    print(f"{describe()}; {options.connections} connections, median of {options.runs} runs")
    print(f"{'server':<14} {'idle connection':<25} {'KiB each':>9} {'target':>7} {'ratio':>6}")
    first: Memory | None = None
    for found in _results(names_among(options.servers), options.connections, options.runs):
        first = first or found
        target = "" if found.target_kib is None else f"{found.target_kib:g}"
        print(
            f"{found.server:<14} {found.kind:<25} {found.kib_each:9.1f} {target:>7} "
            f"{found.kib_each / first.kib_each:5.1f}x"
        )


if __name__ == "__main__":
    main()
