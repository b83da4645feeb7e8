"""Where the server's time goes under the load of one bench: a flame graph and a table.

py-spy looks at the stack of the server's process, from outside, while the load runs. Only time
in which the process works is counted. *Own* time is spent in a function itself and in the C code
that it calls (msgspec, the kernel's send path); what uvloop does stands under `Runner.run`.

    python -m bench.profile SCENARIO [--seconds 5] [--native]
    make profile SCENARIO=fan_out
"""

import argparse
import html
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from bench import ingest_rate, latency, private_facts, specification_load
from bench.broadcast import broadcast
from bench.load import Outcome, run
from bench.machine import LOAD_CORE, describe, pinned
from bench.sseserver import measured_server, sseserver

FUNCTIONS: Final = 15

_BUILD: Final = Path(__file__).parent / "build"
_WARM_UP_SECONDS: Final = 2.0
_CONNECTED_SECONDS: Final = 1.5
"""Into the warm-up: by then all clients are there, and the load is what it will be."""
_SAMPLES_PER_SECOND: Final = 239
"""No divisor of 1000: what happens once a millisecond would be met every time or never."""

_FAN_OUT_RATE: Final = 2000.0
"""The target of `bench.fan_out`."""


class Running(NamedTuple):
    """A server to be looked at.

    Attributes:
        pid: Its process.
        work: Puts the load on it for so many seconds, after a warm-up of `_WARM_UP_SECONDS`.
    """

    pid: int
    work: Callable[[float], Outcome]


Scenario: TypeAlias = Callable[[], AbstractContextManager[Running]]


@contextmanager
def _prices(rate: float) -> Iterator[Running]:
    """Prices to all clients, none held back."""
    with sseserver() as peer:
        yield Running(
            peer.pids[0],
            lambda seconds: broadcast(peer, rate, warmup=_WARM_UP_SECONDS, seconds=seconds),
        )


@contextmanager
def _specification_load() -> Iterator[Running]:
    with measured_server() as server:
        yield Running(
            server.pid,
            lambda seconds: run(
                specification_load.load(
                    server, specification_load.SYMBOLS, warmup=_WARM_UP_SECONDS, seconds=seconds
                ),
                server.processes,
            ),
        )


@contextmanager
def _ingest_rate() -> Iterator[Running]:
    with measured_server() as server:
        yield Running(
            server.pid,
            lambda seconds: run(
                ingest_rate.load(
                    server, ingest_rate.TARGET, warmup=_WARM_UP_SECONDS, seconds=seconds
                ),
                server.processes,
            ),
        )


@contextmanager
def _private_facts() -> Iterator[Running]:
    with measured_server() as server:
        private_facts.put_sessions(server)
        yield Running(
            server.pid,
            lambda seconds: run(
                private_facts.load(
                    server, private_facts.TARGET, warmup=_WARM_UP_SECONDS, seconds=seconds
                ),
                server.processes,
            ),
        )


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "fan_out": lambda: _prices(_FAN_OUT_RATE),
    "latency": lambda: _prices(latency.RATE),
    "specification_load": _specification_load,
    "private_facts": _private_facts,
    "ingest_rate": _ingest_rate,
}
"""Each bench at the load of its claim."""


class Frame(NamedTuple):
    """One box of a flame graph: a line of a function, below the lines that led to it."""

    function: str
    line: int
    depth: float
    start: int
    samples: int


class Function(NamedTuple):
    """What one function cost, as shares of the time in which the process worked."""

    name: str
    own: float
    total: float
    hottest_line: int
    """Its line with most own time; 0 for native code."""


_boxes: Final = re.compile(
    r"<title>(?P<label>[^<]*) \([\d,]+ samples, [^<]*</title>"
    r'<rect [^>]*\by="(?P<depth>[\d.]+)"[^>]*\bfg:x="(?P<start>\d+)" fg:w="(?P<samples>\d+)"'
).finditer
_source_line: Final = re.compile(r"(?P<function>.*):(?P<line>\d+)\)").fullmatch


def frames(flame_graph: str) -> list[Frame]:
    """Return the boxes of a flame graph that py-spy made, but for the one below all."""
    found = []
    for box in _boxes(flame_graph):
        label = html.unescape(box["label"])
        at = _source_line(label)
        found.append(
            Frame(
                label if at is None else f"{at['function']})",
                0 if at is None else int(at["line"]),
                float(box["depth"]),
                int(box["start"]),
                int(box["samples"]),
            )
        )
    return [frame for frame in found if frame.function != "all"]


def hottest(found: Iterable[Frame]) -> list[Function]:
    """Return the functions of a flame graph, by own time, the largest first."""
    own_by_line: Counter[tuple[str, int]] = Counter()
    totals: Counter[str] = Counter()
    below: list[Frame] = []
    for frame in sorted(found, key=lambda frame: (frame.start, frame.depth)):
        while below and frame.start >= below[-1].start + below[-1].samples:
            below.pop()
        if below:
            own_by_line[below[-1].function, below[-1].line] -= frame.samples
        own_by_line[frame.function, frame.line] += frame.samples
        if all(frame.function != other.function for other in below):
            totals[frame.function] += frame.samples
        below.append(frame)
    everything = own_by_line.total()
    own: Counter[str] = Counter()
    lines: dict[str, int] = {}
    for (function, line), samples in own_by_line.most_common():
        own[function] += samples
        lines.setdefault(function, line)
    return [
        Function(name, samples / everything, totals[name] / everything, lines[name])
        for name, samples in own.most_common()
    ]


def record(scenario: Scenario, path: Path, *, seconds: float, native: bool) -> Outcome:
    """Put the load of a scenario on a server and write its flame graph.

    Args:
        scenario: One of `SCENARIOS`.
        path: Where the SVG goes.
        seconds: How long to look.
        native: Look into C code too, which slows the server down.
    """
    command = [
        *(*pinned(LOAD_CORE), str(Path(sys.executable).with_name("py-spy")), "record"),
        *("--rate", str(_SAMPLES_PER_SECOND), "--duration", f"{seconds:.0f}"),
        *("--output", str(path)),
        *(["--native"] if native else []),
    ]
    with scenario() as running, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(running.work, seconds)
        time.sleep(_CONNECTED_SECONDS)
        subprocess.run([*command, "--pid", str(running.pid)], check=True, capture_output=True)
        return outcome.result()


def main() -> None:
    """Profile the scenario that is named and print its hottest functions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--native", action="store_true", help="look into C code too")
    options = parser.parse_args()
    _BUILD.mkdir(exist_ok=True)
    path = _BUILD / f"profile-{options.scenario}.svg"
    outcome = record(
        SCENARIOS[options.scenario], path, seconds=options.seconds, native=options.native
    )
    print(f"{describe()}; {options.scenario}")
    print(
        f"{outcome.events_sent / outcome.seconds:,.0f} events/s in, "
        f"{outcome.deliveries_per_second:,.0f} deliveries/s, "
        f"p99 {outcome.latency_us.p99 / 1000:.1f} ms, server {outcome.server_share:.0%} "
        f"of its core {'; '.join(outcome.faults())}"
    )
    print(f"{'own':>6} {'total':>6}  function, and its hottest line")
    for function in hottest(frames(path.read_text(encoding="utf-8")))[:FUNCTIONS]:
        print(
            f"{function.own:6.1%} {function.total:6.1%}  {function.name}"
            f"{f' {function.hottest_line}' if function.hottest_line else ''}"
        )
    print(f"flame graph: {path}")


if __name__ == "__main__":
    main()
