"""The load client: a C program that opens streams, feeds events and measures what arrives.

It is compiled on the first use and kept under `bench/build/` until its source or the compiler
changes. `load.c` says how it works; here is what a bench asks of it.
"""

import hashlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bench.machine import LOAD_CORE, allow_descriptors, pinned
from bench.measured import Processes

MOMENT: Final = "@" * 20
"""Replaced by the moment at which a message is sent: monotonic time in nanoseconds."""

STAMP: Final = f'"t":"{MOMENT}"'
"""What an event must hold to be counted and timed."""

COUNTER: Final = '"n":"@@##########"'
"""What it may hold: its number is written here, and `counter_step` checks it."""

_SOURCE: Final = Path(__file__).parent
_BUILD: Final = _SOURCE.parent / "build"
_FLAGS: Final = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-lm")
_LIBRARIES: Final = {"zlib.h": ("-DHAVE_ZLIB", "-lz"), "zstd.h": ("-DHAVE_ZSTD", "-lzstd")}
"""Needed for gzip and zstd; the load client says itself what it lacks."""


class LoadError(Exception):
    """The load client could not do its work; the text says why."""


class Load(NamedTuple):
    """One run: who connects, what is fed, for how long.

    Attributes:
        host: Address of the server.
        port: Port of the server.
        requests: Raw HTTP requests, one a client.
        coding: Content coding of the streams: `identity`, `gzip` or `zstd`.
        feed: Where messages go, `unix:PATH` (lines) or `http:HOST:PORT` (requests).
        messages: What is sent, in turn; see `STAMP` and `COUNTER`.
        rate: Messages a second.
        warmup: Seconds before what is measured.
        seconds: Length of what is measured.
        drain: Seconds to wait afterwards for what is still under way.
        fan_out: Clients that get each event, if not all; ends the drain with the last event.
        ramp: Connections that may wait for their response head.
        stall: So many clients, the first, read nothing but their response head.
        storm: Requests to send all at once in the middle of what is measured.
        until: Text after which a stream of the storm counts as open.
        mark: What stands before `MOMENT`, where it is not the field `t`: a server may take one
            that it knows, such as a decimal `"volume":"`, for less than a field of our own.
        checks_ids: IDs must rise along each connection.
        counter_step: Counters must rise by this along each connection; 0: not checked.
    """

    host: str
    port: int
    requests: Sequence[bytes]
    coding: str = "identity"
    feed: str = ""
    messages: Sequence[bytes] = ()
    rate: float = 0.0
    warmup: float = 1.0
    seconds: float = 5.0
    drain: float = 2.0
    fan_out: int = 0
    ramp: int = 256
    stall: int = 0
    storm: Sequence[bytes] = ()
    until: str = ""
    mark: str = '"t":"'
    checks_ids: bool = False
    counter_step: int = 0


class Latency(msgspec.Struct, frozen=True):
    """Percentiles of one latency, in microseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    mean: float


class Storm(msgspec.Struct, frozen=True):
    """What became of the connections that came all at once."""

    clients: int
    connected: int
    opened: int
    failed: int
    failure: str
    seconds: float
    opened_per_second: float
    opening_us: Latency


class Outcome(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        events_sent: Messages stamped in the measured span; the feed may have been held back.
        delivered: Of these, how many arrived whole, over all clients that read.
        other_events: Events without a stamp over the whole run (`connected`, snapshots).
        latency_us: From the moment a message was due; what the feed was held back counts.
        latency_sent_us: From the moment a message was handed to the kernel.
        bytes_received: From the wire, from the begin of the span to the end of the drain.
        load_cpu_seconds: Processor time of the load client in the span.
        server_cpu_seconds: Processor time of the watched processes in the span.
        failure: Why the first of `failed` clients failed.
        refusal: What the first of `refused` messages was answered.
    """

    clients: int
    connected: int
    connect_seconds: float
    failed: int
    failure: str
    stalled_closed: int
    events_sent: int
    events_sent_total: int
    acknowledged: int
    refused: int
    refusal: str
    feed_lag_ms_max: float
    delivered: int
    other_events: int
    holes: int
    duplicates: int
    order_errors: int
    bytes_received: int
    bytes_decoded: int
    seconds: float
    deliveries_per_second: float
    latency_us: Latency
    latency_sent_us: Latency
    load_cpu_seconds: float
    server_cpu_seconds: float = 0.0
    storm: Storm | None = None

    @property
    def load_share(self) -> float:
        """Share of its core that the load client used: near 1, it is what was measured."""
        return self.load_cpu_seconds / self.seconds

    @property
    def server_share(self) -> float:
        """Share of its core that the server used."""
        return self.server_cpu_seconds / self.seconds

    def missing(self, fan_out: int) -> int:
        """Return how many deliveries are missing when each event has `fan_out` receivers."""
        return self.events_sent * fan_out - self.delivered

    def faults(self) -> list[str]:
        """Say what went wrong that must not at any load."""
        counts = {
            f"clients failed ({self.failure})": self.failed,
            f"messages refused ({self.refusal})": self.refused,
            "holes in counters": self.holes,
            "events twice or out of turn": self.duplicates,
            "IDs out of order": self.order_errors,
        }
        return [f"{count} {what}" for what, count in counts.items() if count]


def run(load: Load, watched: Processes | None = None) -> Outcome:
    """Run the load client on its core and return what it measured.

    Args:
        load: What to do.
        watched: Processes whose processor time in the measured span is asked for.

    Raises:
        LoadError: It could not be built, or gave up.
    """
    allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        command = [*pinned(LOAD_CORE), str(_built()), *_options(load, Path(folder))]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                return _follow(process, watched or Processes(()))
            finally:
                process.terminate()


def _follow(process: "subprocess.Popen[bytes]", watched: Processes) -> Outcome:
    assert process.stdout is not None
    assert process.stderr is not None
    began = cpu_seconds = 0.0
    for line in process.stdout:
        match line:
            case b"connected\n":
                pass
            case b"begin\n":
                began = watched.cpu_seconds()
            case b"end\n":
                cpu_seconds = watched.cpu_seconds() - began
            case _:
                outcome = msgspec.json.decode(line, type=Outcome)
                return msgspec.structs.replace(outcome, server_cpu_seconds=cpu_seconds)
    raise LoadError(process.stderr.read().decode().strip() or "the load client was killed")


def _options(load: Load, folder: Path) -> list[str]:
    """Return the command line of a run; what is long goes into files."""
    options = {
        "--host": load.host,
        "--port": str(load.port),
        "--requests": _write_records(folder / "requests", load.requests),
        "--coding": load.coding,
        "--rate": str(load.rate),
        "--warmup": str(load.warmup),
        "--seconds": str(load.seconds),
        "--drain": str(load.drain),
        "--fan-out": str(load.fan_out),
        "--clients-ramp": str(load.ramp),
        "--stall": str(load.stall),
        "--mark": load.mark,
        "--check-counter": str(load.counter_step),
    }
    if load.feed:
        options["--feed"] = load.feed
        options["--events"] = _write_records(folder / "messages", load.messages)
    if load.storm:
        options["--storm"] = _write_records(folder / "storm", load.storm)
        options["--until"] = load.until
    words = [word for option in options.items() for word in option]
    return [*words, "--check-ids"] if load.checks_ids else words


def _write_records(path: Path, records: Sequence[bytes]) -> str:
    """Write byte strings, each after its length (4 bytes, little-endian)."""
    path.write_bytes(b"".join(struct.pack("<I", len(record)) + record for record in records))
    return str(path)


@cache
def _built() -> Path:
    """Return the program, compiled now unless it has been."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LoadError("the load client needs a C compiler (Debian: gcc, libc6-dev)")
    sources = sorted(_SOURCE.glob("*.c"))
    flags = [*_FLAGS, *_library_flags(compiler)]
    digest = hashlib.sha256(" ".join([_version(compiler), *flags]).encode())
    for path in (*sources, *sorted(_SOURCE.glob("*.h"))):
        digest.update(path.read_bytes())
    program = _BUILD / f"load-{digest.hexdigest()[:16]}"
    if not program.exists():
        _compile([compiler, *map(str, sources), *flags], program)
    return program


def _compile(command: list[str], program: Path) -> None:
    _BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_BUILD) as folder:
        made = Path(folder) / program.name
        done = subprocess.run(
            [*command, "-o", str(made)], check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise LoadError(f"the load client did not compile:\n{done.stderr}")
        for outdated in _BUILD.glob("load-*"):
            outdated.unlink()
        made.rename(program)


def _library_flags(compiler: str) -> list[str]:
    """Return what turns on the codings whose headers are installed."""
    flags: list[str] = []
    for header, words in _LIBRARIES.items():
        test = [compiler, "-fsyntax-only", "-include", header, "-x", "c", "/dev/null"]
        if subprocess.run(test, check=False, capture_output=True).returncode == 0:
            flags.extend(words)
    return flags


def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.partition("\n")[0]
