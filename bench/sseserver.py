"""sseserver under measurement: the real program on its own core, with its counters readable."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.machine import SERVER_CORE, allow_descriptors, pinned
from bench.measured import Processes
from bench.peers.peer import Peer
from sseserver import __version__

HOST: Final = "127.0.0.1"
PRICES: Final = "/api/stream/prices"

_POLL_SECONDS: Final = 0.02


class MeasuredServer(NamedTuple):
    """A running server: its process ID, port and ingest socket."""

    pid: int
    port: int
    ingest_path: str

    @property
    def processes(self) -> Processes:
        """What is measured: the server is one process."""
        return Processes((self.pid,))

    def counters(self) -> dict[str, float]:
        """Return what `/metrics` says, by the name (and labels) of each sample."""
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@contextmanager
def measured_server(
    settings: Mapping[str, Any] | None = None, core: int = SERVER_CORE
) -> Iterator[MeasuredServer]:
    """Run the server on one core for as long as the block lasts.

    Args:
        settings: Configuration keys (`batching.window_ms`) and their values.
        core: Where it runs.
    """
    allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="sseserver-") as name:
        folder = Path(name)
        config = folder / "config.toml"
        config.write_text(_configuration(folder, settings or {}), encoding="utf-8")
        with (folder / "log").open("wb") as output:
            process = subprocess.Popen(
                [
                    *pinned(core),
                    *(sys.executable, "-m", "sseserver", "serve", "--config", str(config)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield MeasuredServer(process.pid, *_listening(process, folder / "log"))
        finally:
            process.terminate()
            process.wait()


@contextmanager
def sseserver(core: int = SERVER_CORE) -> Iterator[Peer]:
    """Run the server as one among its peers: prices go to everybody, none is held back."""
    with measured_server({"batching.threshold_per_second": 1_000_000}, core) as server:
        yield Peer(
            "sseserver",
            __version__,
            HOST,
            server.port,
            stream_request(),
            f"unix:{server.ingest_path}",
            price_message,
            server.processes.pids,
        )


def stream_request(
    path: str = PRICES, *, coding: str = "identity", session: str | None = None
) -> bytes:
    """Return the request that opens a stream, as a browser of that user would send it."""
    cookie = "" if session is None else f"Cookie: session={session}\r\n"
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        f"Accept-Encoding: {coding}\r\n{cookie}\r\n"
    ).encode("ascii")


def price_message(data: bytes) -> bytes:
    """Render one price for the ingest port; it is answered, as a careful feed would have it."""
    return b'{"ref":1,"type":"price:update","data":%b}\n' % data


def _configuration(folder: Path, settings: Mapping[str, Any]) -> str:
    merged = {
        "server.port": 0,
        "server.drain_seconds": 1,
        "ingest.path": f"{folder}/ingest.sock",
        "limits.attempts_per_minute_per_ip": 0,
        "log.level": "info",
        "log.format": "json",
        **settings,
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in merged.items())


def _listening(process: "subprocess.Popen[bytes]", log: Path) -> tuple[int, str]:
    """Return port and ingest path once both sockets accept."""
    while process.poll() is None:
        for line in log.read_bytes().splitlines():
            entry = json.loads(line)
            if entry["event"] == "listening":
                return entry["port"], entry["ingest_path"]
        time.sleep(_POLL_SECONDS)
    raise SystemExit(log.read_text(encoding="utf-8"))
