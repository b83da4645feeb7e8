"""The server under measurement: the real program on its own core, with its memory readable."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SERVER_CORE = 0
LOAD_CORE = 1


class MeasuredServer(NamedTuple):
    """A running server: its process ID, port and ingest socket."""

    pid: int
    port: int
    ingest_path: str

    def resident_kib(self) -> float:
        """Return the resident memory of the process, in KiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time of the process so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def pin(core: int) -> None:
    """Keep this process on one core, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def _pinned(core: int) -> list[str]:
    """Return the words that start a command on one core."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(cores[core % len(cores)])]


@contextmanager
def measured_server(settings: Mapping[str, Any] | None = None) -> Iterator[MeasuredServer]:
    """Start the server on `SERVER_CORE` and stop it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        merged = {
            "server.port": 0,
            "server.drain_seconds": 1,
            "ingest.path": f"{folder}/ingest.sock",
            "limits.attempts_per_minute_per_ip": 0,
            "log.level": "info",
            "log.format": "json",
            **(settings or {}),
        }
        config.write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in merged.items()),
            encoding="utf-8",
        )
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *_pinned(SERVER_CORE),
                    *(sys.executable, "-m", "sseserver", "serve", "--config", str(config)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield MeasuredServer(process.pid, *_listening(process, Path(folder)))
        finally:
            process.terminate()
            process.wait()


def _listening(process: "subprocess.Popen[bytes]", folder: Path) -> tuple[int, str]:
    """Return port and ingest path once both sockets accept."""
    while process.poll() is None:
        for line in (folder / "log").read_bytes().splitlines():
            entry = json.loads(line)
            if entry["event"] == "listening":
                return entry["port"], entry["ingest_path"]
        time.sleep(0.02)
    raise SystemExit((folder / "log").read_text(encoding="utf-8"))
