"""Claim: an idle connection costs under 8 KiB, and under 48 KiB with a private gzip stream.

Opens idle connections of each kind, reads the resident memory of the server before and after,
and prints KiB per connection. Each kind runs against a server of its own, warmed up first.

    python -m bench.bench_memory [--connections 1000]
"""

import argparse
import asyncio
from collections.abc import Callable
from typing import NamedTuple

from bench.machine import LOAD_CORE, allow_descriptors, describe, pin
from bench.sseserver import MeasuredServer, measured_server

WARM_UP_CONNECTIONS = 100


class Kind(NamedTuple):
    """A kind of connection: its path, the headers it sends, and its budget in KiB."""

    name: str
    path: str
    encoding: str
    is_private: bool
    budget_kib: float


KINDS = (
    Kind("plain, shared prices", "/api/stream/prices", "identity", is_private=False, budget_kib=8),
    Kind(
        "gzip, shared filtered prices",
        "/api/stream/prices?symbols=S1,S2",
        "gzip",
        is_private=False,
        budget_kib=8,
    ),
    Kind("zstd, shared prices", "/api/stream/prices", "zstd", is_private=False, budget_kib=8),
    Kind("plain, private orders", "/api/stream/orders", "identity", is_private=True, budget_kib=8),
    Kind("gzip, private orders", "/api/stream/orders", "gzip", is_private=True, budget_kib=48),
)


async def open_idle(
    server: MeasuredServer, kind: Kind, names: list[str]
) -> list[asyncio.StreamWriter]:
    """Open one connection for each user, and wait until each has its snapshot."""
    if kind.is_private:
        _, feed = await asyncio.open_unix_connection(server.ingest_path)
        for name in names:
            feed.write(
                b'{"op":"session.put","sessionId":"%b","userId":"%b"}\n'
                % (name.encode(), name.encode())
            )
        await feed.drain()
        feed.close()
        await feed.wait_closed()
    writers = []
    for name in names:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=4096)
        writer.write(
            f"GET {kind.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: session={name}\r\n"
            f"Accept-Encoding: {kind.encoding}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readuntil(b"\r\n")
        writers.append(writer)
    return writers


async def measure(kind: Kind, connections: int) -> float:
    """Return KiB of resident memory per idle connection."""
    with measured_server({"limits.connections_per_user": 500}) as server:
        warm = await open_idle(server, kind, [f"warm-{n}" for n in range(WARM_UP_CONNECTIONS)])
        before = server.processes.resident_kib()
        writers = await open_idle(server, kind, [f"user-{n}" for n in range(connections)])
        after = server.processes.resident_kib()
        for writer in (*warm, *writers):
            writer.close()
    return (after - before) / connections


def main(report: Callable[[str], None] = print) -> None:
    """Measure every kind and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    connections = parser.parse_args().connections
    allow_descriptors()
    pin(LOAD_CORE)
    report(f"{describe()}, {connections} connections")
    report(f"{'idle connection':32} {'KiB each':>9} {'budget':>7}")
    for kind in KINDS:
        kib = asyncio.run(measure(kind, connections))
        verdict = "" if kib <= kind.budget_kib else "  over budget"
        report(f"{kind.name:32} {kib:9.1f} {kind.budget_kib:7.0f}{verdict}")


if __name__ == "__main__":
    main()
